"""Which changes of access need two persons, and links that two persons make together."""

from __future__ import annotations

import pytest

from gateway.accounts import (
    LINK_CODE_OCTETS,
    Organisation,
    OrganisationKind,
    RoleChange,
    SecondPersonRules,
    digest_shared_link,
    digest_token,
    format_link_code,
)

HUB = Organisation(OrganisationKind.OPERATOR, "hub")
KPTA, KFDA = (Organisation(OrganisationKind.AGENCY, code) for code in ("KPTA", "KFDA"))
BROKER = Organisation(OrganisationKind.PARTY, "KPTA")  # a party may have the code of an agency
NOTHING = SecondPersonRules(frozenset(), frozenset())
FOUR_EYES = SecondPersonRules(frozenset(), frozenset({"KPTA"}))
QUEUE = SecondPersonRules(frozenset({"queue cancel"}), frozenset())
ROLES = SecondPersonRules(frozenset({"account role"}), frozenset())


@pytest.mark.parametrize(
    ("rules", "places"),
    [(NOTHING, ()), (FOUR_EYES, (HUB, KPTA)), (QUEUE, (HUB,)), (ROLES, (HUB,))],
)
def test_where_acts_need_two_persons(rules: SecondPersonRules, places: tuple[Organisation, ...]) -> None:
    assert tuple(filter(rules.needs_two_persons, (HUB, KPTA, KFDA, BROKER))) == places


@pytest.mark.parametrize(
    ("rules", "manager", "place", "before", "after", "expected"),
    [
        (NOTHING, HUB, KPTA, "", "head", False),
        (FOUR_EYES, HUB, KPTA, "", "head", True),
        (FOUR_EYES, KPTA, KPTA, "", "officer", True),
        (FOUR_EYES, KPTA, KPTA, "officer", "approver", True),
        (FOUR_EYES, KPTA, KPTA, "officer approver", "officer", False),
        (FOUR_EYES, KPTA, KPTA, "officer", "", False),
        (FOUR_EYES, KPTA, KPTA, "officer approver", "reader", False),
        (FOUR_EYES, KPTA, KPTA, "reader", "officer", True),
        (FOUR_EYES, HUB, HUB, "", "supervisor", True),
        (FOUR_EYES, KFDA, KFDA, "", "officer", False),
        (FOUR_EYES, BROKER, BROKER, "", "filer", False),
        (QUEUE, HUB, KPTA, "", "head", False),
        (ROLES, HUB, KFDA, "", "head", True),
        (ROLES, HUB, KFDA, "head", "", True),
        (ROLES, KFDA, KFDA, "", "head", False),
    ],
)
def test_which_changes_of_roles_wait(
    rules: SecondPersonRules,
    manager: Organisation,
    place: Organisation,
    before: str,
    after: str,
    expected: bool,
) -> None:
    change = RoleChange(place, frozenset(before.split()), frozenset(after.split()))
    assert rules.is_role_change_shared(manager, change) is expected


def test_a_link_waits_for_each_account_that_counts_as_one_of_two() -> None:
    assert FOUR_EYES.is_link_shared(HUB, [KFDA, KPTA])
    assert not FOUR_EYES.is_link_shared(HUB, [KFDA])
    assert not FOUR_EYES.is_link_shared(HUB, [])
    assert ROLES.is_link_shared(HUB, [])
    assert not ROLES.is_link_shared(KFDA, [KFDA])


def test_the_first_access_that_needs_two() -> None:
    assert FOUR_EYES.is_first_shared_access([KFDA, BROKER], KPTA)
    assert not FOUR_EYES.is_first_shared_access([KPTA], HUB)
    assert not FOUR_EYES.is_first_shared_access([], KFDA)


def test_the_code_of_a_link_may_be_typed_in_any_form() -> None:
    code = format_link_code(bytes(range(LINK_CODE_OCTETS)))
    assert code == "AAAQ-EAYE-AUDA-OCAJ"
    digest = digest_token("A" * 43)
    expected = digest_shared_link(digest, code)
    for typed in (code.lower(), code.replace("-", ""), f" {code.replace('-', ' – ')}\n"):
        assert digest_shared_link(digest, typed) == expected
    assert digest_shared_link(digest, "O1-10") == digest_shared_link(digest, "0IIO")
    for other in ("", code[:-1], f"{code}A", "\ud800"):
        assert digest_shared_link(digest, other) != expected
    assert digest_shared_link(digest_token("B" * 43), code) != expected
