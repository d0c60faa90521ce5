"""Whether what was approved for an application can be used: questions, amendments and removed items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from gateway.cases import (
    ApprovedApplication,
    CertificateUsability,
    ItemRemoval,
    PastDecision,
    derive_past_usability,
    derive_usability,
)

USABLE, SUSPENDED = CertificateUsability.USABLE, CertificateUsability.SUSPENDED
REOPENED, LAPSED = CertificateUsability.REOPENED, CertificateUsability.LAPSED
START = datetime(2026, 10, 1, tzinfo=UTC)
DROPPED, ALONE = ItemRemoval(has_remaining_items=False), ItemRemoval(has_remaining_items=True)
FREE = ApprovedApplication()
ASKED = ApprovedApplication(is_cancellation_asked=True)
WITHDRAWN = ApprovedApplication(is_case_withdrawn=True)


def said(
    key: int, minute: int, *, approves: bool = True, lapsed: bool = False, after: bool = False
) -> PastDecision:
    at = START + timedelta(minutes=minute)
    return PastDecision(key, at, f"N{key}", approves, is_lapsed=lapsed, is_after_removal=after)


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        (FREE, USABLE),
        (ASKED, SUSPENDED),
        (WITHDRAWN, LAPSED),
        (ApprovedApplication(is_cancellation_asked=True, is_cancellation_refused=True), SUSPENDED),
        (ApprovedApplication(is_cancellation_asked=True, is_case_withdrawn=True), SUSPENDED),
        (
            ApprovedApplication(
                is_cancellation_asked=True, is_case_withdrawn=True, is_cancellation_refused=True
            ),
            USABLE,
        ),
        (ApprovedApplication(is_case_withdrawn=True, is_cancellation_refused=True), USABLE),
    ],
)
def test_a_certificate_is_suspended_while_its_agency_is_asked(
    application: ApprovedApplication, expected: CertificateUsability
) -> None:
    assert derive_usability(application) is expected


@pytest.mark.parametrize(
    ("application", "expected"), [(FREE, USABLE), (ASKED, SUSPENDED), (WITHDRAWN, USABLE)]
)
def test_what_was_approved_stands_when_the_agency_keeps_the_removed_application(
    application: ApprovedApplication, expected: CertificateUsability
) -> None:
    for order in permutations([said(1, 0), said(2, 1, approves=False), said(3, 2, after=True)]):
        assert derive_past_usability(3, order, application, DROPPED) is expected
        assert derive_past_usability(1, order, application, DROPPED) is LAPSED
    assert derive_past_usability(1, [said(1, 0)], application, DROPPED) is expected


def test_the_latest_decision_on_a_removed_item_counts_whatever_came_first() -> None:
    for order in permutations([said(1, 0), said(2, 9, approves=False, after=True), said(3, 5, after=True)]):
        assert {derive_past_usability(key, order, FREE, DROPPED) for key in (1, 2, 3)} == {LAPSED}


def test_what_an_amendment_made_lapse_waits_for_another_decision() -> None:
    """It was about other goods; only what its agency says of the removed ones is a certificate."""
    old = said(1, 0, lapsed=True)
    for removal in (DROPPED, ALONE, None):
        assert derive_past_usability(1, [old], FREE, removal) is REOPENED
        assert derive_past_usability(1, [old], WITHDRAWN, removal) is LAPSED
    for removal in (DROPPED, ALONE):
        assert derive_past_usability(1, [old, said(2, 1, after=True)], FREE, removal) is LAPSED
        assert derive_past_usability(2, [old, said(2, 1, after=True)], FREE, removal) is USABLE


def test_an_item_that_is_removed_alone_is_approved_again() -> None:
    """Nobody asks its agency: the rest of the application goes on."""
    assert derive_past_usability(1, [said(1, 0)], FREE, ALONE) is REOPENED
    assert derive_past_usability(1, [said(1, 0)], ASKED, ALONE) is SUSPENDED
    assert derive_past_usability(1, [said(1, 0)], WITHDRAWN, ALONE) is LAPSED
    again = [said(1, 0), said(2, 1, after=True)]
    assert derive_past_usability(2, again, FREE, ALONE) is USABLE
    assert derive_past_usability(2, again, ASKED, ALONE) is SUSPENDED
