"""What a declaration used of a certificate before its amendment: who may keep it, and how much of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from gateway.cases import (
    DeclaredUses,
    FormerUse,
    GrantedQuantity,
    RequirementBalance,
    RequirementUse,
    ValidatedUses,
    validate_amended_uses,
)
from tests.kit.house import bundle

UNITS = bundle().units
LAST_DAY, DAY_AFTER = date(2026, 11, 22), date(2026, 11, 23)
#: 40 kg of certificate C were written off for item 1.
FORMER_USE = FormerUse(item=1, requirement_id=7, quantity=Decimal(40), unit="KGM")
#: The declaration names its importer, its exporter, both of them or neither.
TRADERS = {
    "both": {"importer": "I", "exporter": "E"},
    "the importer": {"importer": "I"},
    "the exporter": {"exporter": "E"},
    "neither": {},
}
#: Which certificates a declaration may use, by the traders that it names.
USED_HOLDERS = {
    "both": {"I", "E", ""},
    "the importer": {"I", ""},
    "the exporter": {"E", ""},
    "neither": {""},
}


def make_certificate(holder: str = "", granted: int = 100) -> RequirementBalance:
    """Return certificate C of KFDA, which is over, without the former use of the declaration."""
    return RequirementBalance(
        "KFDA",
        "C",
        (GrantedQuantity(Decimal(granted), "KGM"),),
        holder=holder,
        valid_until=LAST_DAY,
        requirement_id=7,
    )


def use(quantity: str = "40", unit: str = "KGM", *, item: int = 1, pointer: str = "/1") -> RequirementUse:
    return RequirementUse(item, "C", Decimal(quantity), unit, pointer)


def amend(
    certificate: RequirementBalance,
    *uses: RequirementUse,
    former_use: FormerUse = FORMER_USE,
    importer: str = "I",
    exporter: str = "E",
) -> ValidatedUses:
    """Judge an amendment on the day after the last day of the certificate; unchanged if no use is given."""
    declared_uses = DeclaredUses(uses or (use(),), importer, exporter)
    return validate_amended_uses(declared_uses, [former_use], [certificate], DAY_AFTER, UNITS)


def list_problems(judged: ValidatedUses) -> list[str]:
    return [finding.problem.id for finding in judged.problems]


@pytest.mark.parametrize("holder", ["I", "E", "", "X"])
@pytest.mark.parametrize("named", TRADERS)
def test_an_expired_certificate_stays_written_off_for_each_of_its_traders(named: str, holder: str) -> None:
    """An unchanged use is not judged again, unless the certificate is that of another trader."""
    judged = amend(make_certificate(holder), **({"importer": "", "exporter": ""} | TRADERS[named]))
    is_kept = holder in USED_HOLDERS[named]
    assert (len(judged.usable_uses), list_problems(judged)) == ((1, []) if is_kept else (0, ["GW412"]))


@pytest.mark.parametrize("holder", ["I", "E", ""])
def test_a_use_that_its_certificate_rejects_stays_idle_for_each_of_its_traders(holder: str) -> None:
    rejecting = replace(make_certificate(holder), revoked=True, rejects=True)
    given_back = replace(FORMER_USE, is_written_off=False)
    judged = amend(rejecting, former_use=given_back)
    assert (judged.idle_uses, judged.usable_uses, list_problems(judged)) == ((use(),), (), [])
    assert list_problems(amend(rejecting, use("41"), former_use=given_back)) == ["GW412"]
    other = amend(replace(rejecting, holder="X"), former_use=given_back)
    assert (other.idle_uses, list_problems(other)) == ((), ["GW412"])


@pytest.mark.parametrize("holder", ["I", "E", ""])
def test_a_use_whose_quantity_was_lost_stays_idle_for_each_of_its_traders(holder: str) -> None:
    """Too little is left of the certificate: an unchanged use is approved without it, a larger one not."""
    lost = replace(FORMER_USE, is_written_off=False, is_lost=True)
    judged = amend(make_certificate(holder, granted=30), former_use=lost)
    assert (judged.idle_uses, judged.usable_uses, list_problems(judged)) == ((use(),), (), [])
    larger = amend(make_certificate(holder, granted=30), use("41"), former_use=lost)
    assert (larger.idle_uses, list_problems(larger)) == ((), ["GW412"])


@pytest.mark.parametrize("holder", ["I", "E", ""])
def test_a_use_that_waits_continues_to_wait_for_each_of_its_traders(holder: str) -> None:
    """It was never written off: an unchanged use is only warned of, a larger one is refused."""
    waiting = replace(FORMER_USE, is_written_off=False, is_waiting=True)
    judged = amend(make_certificate(holder), former_use=waiting)
    assert (judged.unknown_uses, list_problems(judged)) == ((use(),), [])
    assert [finding.problem.id for finding in judged.warnings] == ["GW412"]
    larger = amend(make_certificate(holder), use("41"), former_use=waiting)
    assert (larger.unknown_uses, list_problems(larger)) == ((), ["GW412"])


@pytest.mark.parametrize(
    ("uses", "is_kept"),
    [
        ([use("0.04", "TNE")], True),
        ([use("0.0401", "TNE")], False),
        ([use("39.999")], True),
        ([use("40.001")], False),
        ([use("40", "LTR")], False),
        ([use(item=2)], False),
        ([replace(use(), number="D")], None),
        ([replace(use(), agency="KFDA")], True),
        ([replace(use(), agency="KPTA")], None),
        ([use("15"), use("25000", "GRM", pointer="/2")], True),
        ([use("15"), use("25001", "GRM", pointer="/2")], False),
    ],
)
def test_only_what_needs_no_more_than_before_stays_written_off(
    uses: list[RequirementUse], is_kept: bool | None
) -> None:
    """All lines of an item count together; a number or agency that the ledger does not know is unknown."""
    judged = amend(make_certificate(), *uses)
    if is_kept is None:
        assert (judged.unknown_uses, judged.usable_uses, judged.problems) == (tuple(uses), (), ())
    else:
        assert [used for used, _ in judged.usable_uses] == (uses if is_kept else [])
        assert list_problems(judged) == ([] if is_kept else ["GW412"] * len(uses))


@pytest.mark.parametrize(("quantity", "is_kept"), [("40", True), ("40.001", False)])
def test_the_former_quantity_counts_in_its_own_unit(quantity: str, is_kept: bool) -> None:
    former_use = replace(FORMER_USE, quantity=Decimal("0.04"), unit="TNE")
    judged = amend(make_certificate(), use(quantity), former_use=former_use)
    assert list_problems(judged) == ([] if is_kept else ["GW412"])


def test_a_use_that_was_given_back_and_is_not_lost_needs_its_quantity_again() -> None:
    """Its item is not rejected any more: what is left is checked again, the last day is not."""
    given_back = replace(FORMER_USE, is_written_off=False)
    assert list_problems(amend(make_certificate(granted=30), former_use=given_back)) == ["GW411"]
    assert list_problems(amend(make_certificate(granted=40), former_use=given_back)) == []


@pytest.mark.parametrize("is_first", [True, False])
def test_the_last_day_is_checked_for_no_item_that_gave_its_use_back(is_first: bool) -> None:
    given_back = [replace(FORMER_USE, item=item, is_written_off=False) for item in (1, 2)]
    if not is_first:
        given_back.reverse()
    declared = DeclaredUses((use(), use(item=2, pointer="/2")), "I", "E")
    judged = validate_amended_uses(declared, given_back, [make_certificate()], DAY_AFTER, UNITS)
    assert (len(judged.usable_uses), list_problems(judged)) == (2, [])
