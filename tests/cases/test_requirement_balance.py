"""What is left of a certificate: exact in every unit of its dimension, never below zero, in any order."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.cases import (
    DeclaredUses,
    GrantedQuantity,
    RequirementBalance,
    RequirementUse,
    ValidatedUses,
    add_used_quantity,
    compute_remaining_quantity,
    format_left_quantity,
    read_declared_uses,
    select_granted_quantities,
    validate_declared_uses,
)
from gateway.errors import GatewayError
from gateway.wire import WCO_DEC
from tests.kit.house import bundle

UNITS = bundle().units
TODAY = date(2026, 11, 22)
MASS = ("KGM", "TNE", "GRM", "LBR", "ONZ", "MGM", "STN")
QUANTITY = st.decimals(Decimal("0.000001"), Decimal(9999), places=6)
AMOUNT = st.tuples(QUANTITY, st.sampled_from(MASS))


def kilograms(amounts: list[tuple[Decimal, str]]) -> Fraction:
    return sum((Fraction(one) * UNITS.units[unit].factor for one, unit in amounts), Fraction(0))


def used_by(amounts: list[tuple[Decimal, str]]) -> dict[str, Decimal]:
    used: Mapping[str, str] = {}
    for quantity, unit in amounts:
        used = add_used_quantity(used, unit, quantity)
    return {unit: Decimal(text) for unit, text in used.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(AMOUNT, max_size=12), st.randoms(use_true_random=False), st.sampled_from(MASS))
def test_uses_and_returns_in_any_order_keep_the_sum(amounts, random, unit):
    """Half of what was used is given back, before or after other uses: the rest is used, exactly."""
    returned = amounts[::2]
    changes = [*amounts, *((-one, unit_) for one, unit_ in returned)]
    random.shuffle(changes)
    whole = (Decimal("99999999.5"), "TNE")
    left = compute_remaining_quantity([GrantedQuantity(*whole)], used_by(changes), unit, UNITS)
    assert left is not None
    assert left * UNITS.units[unit].factor == kilograms([whole]) - kilograms(amounts[1::2])
    assert used_by([*amounts, *((-one, unit_) for one, unit_ in amounts)]) == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(AMOUNT, min_size=1, max_size=6), st.lists(AMOUNT, min_size=1, max_size=10))
def test_never_is_more_taken_than_was_granted(granted, wanted):
    """Whatever is asked in whatever units, what is taken fits, and what is refused would not have fitted."""
    balance = RequirementBalance("KFDA", "C", tuple(GrantedQuantity(*one) for one in granted))
    uses = tuple(RequirementUse(1, "C", one, unit) for one, unit in wanted)
    judged = validate_declared_uses(DeclaredUses(uses), [balance], TODAY, UNITS)
    taken = [(use.quantity, use.unit) for use, _ in judged.usable_uses]
    assert kilograms(taken) <= kilograms(granted)
    assert len(judged.usable_uses) + len(judged.problems) == len(wanted)
    assert {one.problem.id for one in judged.problems} <= {"GW411"}
    if kilograms(wanted) <= kilograms(granted):
        assert judged.problems == ()


def judge(used: RequirementUse, *known: RequirementBalance, importer: str = "") -> list[tuple[str, str]]:
    judged = validate_declared_uses(DeclaredUses((used,), importer), known, TODAY, UNITS)
    return [(one.problem.id, one.detail) for one in (*judged.problems, *judged.warnings)]


def balance(*granted: tuple[str, str], agency: str = "KFDA", holder: str = "") -> RequirementBalance:
    amounts = tuple(GrantedQuantity(Decimal(one), unit) for one, unit in granted)
    return RequirementBalance(agency, "C", amounts, {}, holder)


def use(quantity: str, unit: str) -> RequirementUse:
    return RequirementUse(1, "C", Decimal(quantity), unit, "p")


def test_the_sentence_names_what_is_left_in_the_unit_of_the_declaration():
    assert judge(use("0.1", "TNE"), balance(("99.9999", "KGM"))) == [
        ("GW411", "requirement C of KFDA: 0.1 TNE used, 0.0999999 TNE left")
    ]
    # A remainder that is no finite decimal is rounded down, never up.
    assert judge(use("4", "LBR"), balance(("1", "KGM"))) == [
        ("GW411", "requirement C of KFDA: 4 LBR used, 2.204622 LBR left")
    ]


def test_dimensions_are_kept_apart():
    both = balance(("10", "KGM"), ("5", "LTR"))
    assert judge(use("10000", "GRM"), both) == judge(use("5000", "MLT"), both) == []
    assert judge(use("1", "MTR"), both) == [
        ("GW412", "requirement C of KFDA is in KGM and LTR, which cannot be converted to MTR")
    ]
    assert judge(use("1", ""), both)[0][0] == "GW412"
    # A unit that the table does not have is converted to itself only.
    assert judge(use("2", "NMB"), balance(("2", "NMB"))) == []
    assert judge(use("2", "C62"), balance(("2", "NMB")))[0][0] == "GW412"


@pytest.mark.parametrize(
    ("granted", "used", "wanted"),
    [
        (("100", "KGM"), {"OLD": "0.06"}, ("1", "KGM")),
        (("100", "KGM"), {"KGM": "1", "OLD": "0.06"}, ("1", "KGM")),
        (("0.1", "OLD"), {"KGM": "60"}, ("0.05", "OLD")),
    ],
)
def test_a_use_in_a_unit_that_the_table_has_lost_leaves_nothing_to_take(granted, used, wanted):
    """To leave it out of the sum would let the certificate be used twice."""
    one = replace(balance(granted), used={unit: Decimal(text) for unit, text in used.items()})
    ((problem, detail),) = judge(use(*wanted), one)
    unit, quantity = list(used.items())[-1]
    assert problem == "GW412"
    assert f"{quantity} {unit} of it is used, which the table of units in force cannot compare" in detail


def test_a_use_that_can_be_compared_with_a_grant_is_no_lost_one():
    one = replace(balance(("2", "NMB"), ("10", "KGM")), used={"NMB": Decimal(1), "GRM": Decimal(500)})
    assert judge(use("1", "NMB"), one) == judge(use("9.5", "KGM"), one) == []
    # The agency has granted it in another dimension since; both are known, and kept apart.
    assert judge(use("1", "LTR"), replace(balance(("5", "LTR")), used={"KGM": Decimal(1)})) == []


def test_the_number_of_two_agencies_is_not_guessed():
    kfda, kpta = balance(("1", "KGM"), holder="1"), balance(("1", "KGM"), agency="KPTA", holder="2")
    assert judge(use("1", "KGM"), kfda, kpta, importer="2") == []
    either = [balance(("1", "KGM")), balance(("1", "KGM"), agency="KPTA")]
    assert "KFDA and KPTA have each issued" in judge(use("1", "KGM"), *either)[0][1]
    # A line may say whose number it is; then another agency's is not known.
    named = replace(use("1", "KGM"), agency="KPTA")
    assert judge(named, *either) == []
    (unknown,) = validate_declared_uses(DeclaredUses((named,)), either[:1], TODAY, UNITS).warnings
    assert unknown.detail == "the ledger does not know requirement C of KPTA; nothing is written off"


@pytest.mark.parametrize(
    ("approved_for", "declared", "is_used"),
    [
        ("import", "import", True),
        ("export", "export", True),
        ("import", "export", False),
        ("export", "import", False),
        (None, "import", True),
        ("export", None, True),
    ],
)
def test_a_certificate_is_used_in_its_direction_alone(
    approved_for: str | None, declared: str | None, is_used: bool
):
    known = replace(balance(("1", "KGM")), direction=approved_for)
    judged = validate_declared_uses(
        DeclaredUses((use("1", "KGM"),), direction=declared), [known], TODAY, UNITS
    )
    assert len(judged.usable_uses) == is_used
    words = f"requirement C of KFDA is for {approved_for}; this is an {declared} declaration"
    assert [(finding.problem.id, finding.detail) for finding in judged.problems] == (
        [] if is_used else [("GW412", words)]
    )


def test_of_two_certificates_of_one_number_the_direction_names_the_one_that_is_used():
    kfda, kpta = (
        replace(balance(("1", "KGM"), agency=agency), direction=direction)
        for agency, direction in (("KFDA", "import"), ("KPTA", "export"))
    )
    for direction, agency in (("import", "KFDA"), ("export", "KPTA")):
        declared = DeclaredUses((use("1", "KGM"),), direction=direction)
        judged = validate_declared_uses(declared, [kfda, kpta], TODAY, UNITS)
        assert [used.agency for _, used in judged.usable_uses] == [agency]


def judge_traders(*known: RequirementBalance, importer: str = "I", exporter: str = "E") -> ValidatedUses:
    """Judge a declaration of an importer and an exporter that uses certificate C."""
    return validate_declared_uses(DeclaredUses((use("1", "KGM"),), importer, exporter), known, TODAY, UNITS)


@pytest.mark.parametrize(
    ("holder", "is_used"), [("I", True), ("E", True), ("", True), ("X", False), ("IE", False), ("i", False)]
)
def test_importer_and_exporter_use_what_was_issued_to_them_and_nobody_else_does(holder: str, is_used: bool):
    judged = judge_traders(balance(("1", "KGM"), holder=holder))
    assert len(judged.usable_uses) == is_used
    assert [(finding.problem.id, finding.detail) for finding in judged.problems] == (
        [] if is_used else [("GW412", "requirement C was issued to another importer or exporter")]
    )


def test_of_two_certificates_of_one_number_the_holder_names_the_one_that_is_used():
    """That of the exporter is taken as well as that of the importer, and another trader's never."""
    kfda, kpta = (
        balance(("1", "KGM"), agency=agency, holder=holder)
        for agency, holder in (("KFDA", "E"), ("KPTA", "X"))
    )
    assert [used.agency for _, used in judge_traders(kpta, kfda).usable_uses] == ["KFDA"]
    (finding,) = judge_traders(kfda, replace(kpta, holder="I")).problems
    assert "KFDA and KPTA have each issued a requirement C" in finding.detail


def test_a_declaration_that_names_no_trader_uses_no_certificate_of_one():
    judged = judge_traders(balance(("1", "KGM"), holder="I"), importer="", exporter="")
    assert [finding.problem.id for finding in judged.problems] == ["GW412"]


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        ({}, None),
        ({"suspended": True}, "is suspended until KFDA answers"),
        ({"reopened": True}, "cannot be used until KFDA decides again"),
        ({"revoked": True}, "of KFDA is revoked"),
        ({"valid_until": TODAY}, None),
        ({"valid_until": TODAY - timedelta(days=1)}, f"was valid until {TODAY - timedelta(days=1)}"),
        ({"unlimited": True, "granted": ()}, None),
        ({"used": {"GRM": Decimal(1)}}, "0.999 KGM left"),
    ],
)
def test_a_certificate_is_used_while_it_stands_and_something_is_left(
    standing: dict[str, Any], words: str | None
):
    findings = judge(use("1", "KGM"), replace(balance(("1", "KGM")), **standing))
    if words is None:
        assert findings == []
    else:
        ((_, detail),) = findings
        assert words in detail


def test_a_use_of_a_declaration_that_came_in_time_is_not_refused_for_the_last_day():
    """The day alone is not looked at: what is revoked stays so."""
    certificate = replace(balance(("1", "KGM")), valid_until=TODAY - timedelta(days=1))
    in_time = replace(use("1", "KGM"), in_time=True)
    assert judge(in_time, certificate) == []
    assert [problem for problem, _ in judge(in_time, replace(certificate, revoked=True))] == ["GW412"]


def test_the_certificates_of_two_agencies_under_one_number_are_used_up_apart():
    uses = tuple(replace(use("1", "KGM"), agency=agency) for agency in ("KFDA", "KPTA", "KFDA"))
    certificates = [balance(("1", "KGM"), agency=agency) for agency in ("KFDA", "KPTA")]
    judged = validate_declared_uses(DeclaredUses(uses), certificates, TODAY, UNITS)
    assert [requirement.agency for _, requirement in judged.usable_uses] == ["KFDA", "KPTA"]
    assert [finding.detail for finding in judged.problems] == [
        "requirement C of KFDA: 1 KGM used, 0 KGM left"
    ]


def test_an_unknown_number_is_a_warning():
    judged = validate_declared_uses(DeclaredUses((use("1", "KGM"),)), [], TODAY, UNITS)
    assert (judged.problems, judged.usable_uses) == ((), ())
    assert [one.problem.id for one in judged.warnings] == ["GW413"]


def test_the_goods_that_two_laws_allow_count_once():
    said = [
        (("r", 1), GrantedQuantity(Decimal(100), "KGM")),
        (("r", 1), GrantedQuantity(Decimal("0.06"), "TNE")),
        (("r", 2), GrantedQuantity(Decimal(5), "KGM")),
        (("r", 1), GrantedQuantity(Decimal(3), "LTR")),
    ]
    found = select_granted_quantities(said, UNITS)
    assert compute_remaining_quantity(found, {}, "KGM", UNITS) == 65
    assert compute_remaining_quantity(found, {}, "LTR", UNITS) == 3


def test_what_is_left_is_written_exactly():
    assert [format_left_quantity(Fraction(one)) for one in ("0", "1/8", "1/3", "1000000")] == [
        *("0", "0.125", "0.333333", "1000000"),
    ]


def declaration(quantity: str, number: str = "C-1") -> etree._Element:
    text = f"""<Declaration xmlns="{WCO_DEC}"><Exporter><ID>E</ID></Exporter><GoodsShipment>
    <GovernmentAgencyGoodsItem><SequenceNumeric>7</SequenceNumeric><AdditionalDocument><ID>{number}</ID>
    <WriteOff><QuantityQuantity unitCode="KGM">{quantity}</QuantityQuantity></WriteOff></AdditionalDocument>
    <AdditionalDocument><ID>without quantity</ID></AdditionalDocument></GovernmentAgencyGoodsItem>
    <Importer><ID>I</ID></Importer></GoodsShipment></Declaration>"""
    return etree.fromstring(text)


def test_a_number_is_the_same_however_it_is_composed():
    number = "제2026-7호"
    claim = read_declared_uses(declaration("1", unicodedata.normalize("NFD", number)))
    assert [use.number for use in claim.uses] == [number]


def test_the_declaration_names_certificate_and_quantity():
    claim = read_declared_uses(declaration("2.50"))
    pointer = "42A/67A[1]/68A[7]/02A[1]/22C[1]/502"
    assert claim == DeclaredUses(
        (RequirementUse(7, "C-1", Decimal("2.50"), "KGM", pointer),), importer="I", exporter="E"
    )
    assert read_declared_uses(declaration("0.0")).uses == ()
    # Who issued it is an agency of the mappings, or nobody that the ledger knows.
    stated = declaration("1")
    issuer = etree.SubElement(stated.find(".//{*}AdditionalDocument"), f"{{{WCO_DEC}}}Submitter")
    etree.SubElement(issuer, f"{{{WCO_DEC}}}Name").text = " KFDA "
    assert [read_declared_uses(stated, known).uses[0].agency for known in ({"KFDA"}, {"KPTA"})] == [
        "KFDA", "",
    ]  # fmt: skip
    assert read_declared_uses(declaration("1", number="")).uses == ()


@pytest.mark.parametrize(("quantity", "problem"), [("-1", "GW404"), ("NaN", "GW402"), ("x", "GW402")])
def test_a_quantity_that_is_none_is_refused(quantity, problem):
    with pytest.raises(GatewayError) as caught:
        read_declared_uses(declaration(quantity))
    assert caught.value.problem.id == problem
    assert caught.value.location.endswith("/502")
