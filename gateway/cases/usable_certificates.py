"""Judges whether what an agency approved under a number is a certificate that declarations can use.

While its agency is asked whether it cancels the application, a certificate is suspended. What was approved
before an amendment waits for the next decision. An item that an amendment has removed does not come back
into its case; what its agency says of it ranks among the decisions on that item, and an approval that is
the latest of them is a certificate of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = [
    "ApprovedApplication",
    "CertificateStanding",
    "ItemRemoval",
    "PastDecision",
    "judge_certificate",
    "judge_past_certificate",
]


class CertificateStanding(StrEnum):
    """Whether a certificate can be used, now, or when its agency has answered or decided again."""

    USABLE = "usable"
    SUSPENDED = "suspended"
    REOPENED = "reopened"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class ApprovedApplication:
    """An application that is not cancelled; `asked`: its agency is asked whether it cancels it.

    `withdrawn`: so is its case. `kept`: its agency has refused to cancel what the certificate approves.
    """

    asked: bool = False
    withdrawn: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True)
class ItemRemoval:
    """The removal of an item from its application; `alone`: other items stayed there.

    Of an item alone no agency is asked.
    """

    alone: bool


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One decision on an item and law that was amended or removed; `key` is its row in the store.

    One that is `lapsed` was overtaken by an amendment of an item that was still there. `afterwards` is one
    that came when the item had been removed.
    """

    key: int
    issued_at: datetime
    notice_number: str
    approves: bool
    lapsed: bool = False
    afterwards: bool = False


def judge_certificate(application: ApprovedApplication) -> CertificateStanding:
    """Judge the certificate of an approval in force."""
    if application.asked and not (application.withdrawn and application.kept):
        return CertificateStanding.SUSPENDED
    if application.withdrawn and not application.kept:
        return CertificateStanding.LAPSED
    return CertificateStanding.USABLE


def judge_past_certificate(
    key: int, said: Iterable[PastDecision], application: ApprovedApplication, removal: ItemRemoval | None
) -> CertificateStanding:
    """Judge the certificate of an approval (`key`) that does not count in its case any more.

    `said` is every decision on its item and law that does not count, and `removal` how the item left the
    application, if it did. Nothing that counts was said of the item since.
    """
    undecided = CertificateStanding.LAPSED if application.withdrawn else CertificateStanding.REOPENED
    known = [one for one in said if not one.lapsed]
    if removal is None or not known:
        return undecided
    last = max(known, key=lambda one: (one.issued_at, one.notice_number))
    if last.key != key or not last.approves:
        return CertificateStanding.LAPSED
    if application.asked:
        return CertificateStanding.SUSPENDED
    if removal.alone and not last.afterwards:
        return undecided
    return CertificateStanding.USABLE
