"""Who may manage whose account, as a table."""

from __future__ import annotations

import pytest

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    RoleChange,
    find_role_problem,
    may_manage_account,
    may_manage_organisation,
)

HUB = Organisation(OrganisationKind.OPERATOR, "hub")
KPTA = Organisation(OrganisationKind.AGENCY, "KPTA")
KFDA = Organisation(OrganisationKind.AGENCY, "KFDA")
BROKER = Organisation(OrganisationKind.PARTY, "broker1")
OWN = "You manage accounts of your own organisation only."
KIND = "A role belongs to another kind of organisation."
LAST = "You cannot take the management of accounts away from yourself."


@pytest.mark.parametrize(
    ("manager", "place", "may"),
    [(HUB, KPTA, True), (HUB, HUB, True), (KPTA, KPTA, True), (KPTA, KFDA, False), (KPTA, HUB, False)],
)
def test_an_organisation_manages_itself_and_the_operator_all(
    manager: Organisation, place: Organisation, may: bool
) -> None:
    assert may_manage_organisation(manager, place) is may


@pytest.mark.parametrize(
    ("manager", "places", "may"),
    [
        (KPTA, [KPTA], True),
        (KPTA, [KPTA, HUB], False),
        (KPTA, [KPTA, KFDA], False),
        (KPTA, [], False),
        (HUB, [], True),
        (HUB, [KPTA, BROKER, HUB], True),
    ],
)
def test_a_whole_account_belongs_to_who_manages_all_of_it(
    manager: Organisation, places: list[Organisation], may: bool
) -> None:
    assert may_manage_account(manager, places) is may


@pytest.mark.parametrize(
    ("manager", "place", "before", "after", "own", "problem"),
    [
        (KPTA, KPTA, "", "officer approver", False, None),
        (KPTA, KPTA, "head", "", False, None),
        (KPTA, KFDA, "", "officer", False, OWN),
        (KPTA, HUB, "", "administrator", False, OWN),
        (KPTA, KPTA, "", "administrator", False, KIND),
        (KPTA, KPTA, "", "manager", False, KIND),
        (KPTA, KPTA, "", "nothing", False, KIND),
        (HUB, BROKER, "", "manager", False, None),
        (HUB, BROKER, "", "officer", False, KIND),
        (KPTA, KPTA, "head", "officer", True, LAST),
        (KPTA, KPTA, "head", "", True, LAST),
        (HUB, HUB, "administrator", "operator", True, LAST),
        (HUB, HUB, "administrator", "operator administrator", True, None),
        (HUB, KPTA, "officer", "", True, None),
    ],
)
def test_roles_are_given_within_bounds(
    manager: Organisation, place: Organisation, before: str, after: str, own: bool, problem: str | None
) -> None:
    change = RoleChange(place, frozenset(before.split()), frozenset(after.split()), own)
    assert find_role_problem(manager, change) == problem
