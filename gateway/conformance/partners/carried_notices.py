"""Notices of an agency's own form, as content: the certificate of an application, and its rejection.

A certificate and a rejection are about a whole application, under every law of its document. What a plan
decides otherwise has no such notice: the agency says it by SubmitDecision.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

from gateway.conformance.partners.agency_documents import DecidingNotice, ItemDecision, ReceivedApplication
from gateway.conformance.partners.carried_records import CarriedContent

__all__ = ["make_decision_notice"]

_ZONE: Final = timezone(timedelta(hours=9))
_APPROVED: Final = {"APPROVED", "APPROVED_WITH_CONDITIONS"}


def make_decision_notice(
    application: ReceivedApplication, said: DecidingNotice, receipt: str
) -> tuple[str, CarriedContent] | None:
    """Return the name and the content of the notice that decides an application; None where there is none.

    `receipt` is the receipt number. A document with a type code of its own (GOVCBRFR2) has a certificate that
    repeats the request, which is not made here; one without has no rejection.
    """
    decisions = {one.decision for one in said.decisions}
    if application.type_code and decisions == {"REJECTED"} and said.status == "R04":
        return "GOVCBRRBJ", _make_rejection(application, said, receipt)
    if not application.type_code and decisions and decisions <= _APPROVED and said.status == "R01":
        return "CERTIFICATE", _make_certificate(application, said)
    return None


def _make_certificate(application: ReceivedApplication, said: DecidingNotice) -> CarriedContent:
    items: CarriedContent = {"ConsignmentItem": list(_list_certified_items(application, said))}
    return {
        "TypeCode": "CERTIFICATE",
        "Status": {"NameCode": said.status},
        "Declaration": {
            "TypeCode": application.document,
            "ID": application.number,
            "Consignment": items,
        },
        "ID": f"{application.number}-{said.number.rpartition('-')[0].rpartition('-')[2]}",
        "IssueDateTime": _format_moment(said.issued_at),
        "Authenticator": {"Name": application.document.partition("-")[0]},
    }


def _list_certified_items(application: ReceivedApplication, said: DecidingNotice) -> Iterator[CarriedContent]:
    """Yield the line of each item: its own identity in the request, the number of its permit, conditions."""
    first: dict[int, ItemDecision] = {}
    for one in said.decisions:
        first.setdefault(one.item, one)
    for item in application.items:
        one = first[item.number]
        content: CarriedContent = {"Commodity": {"ID": item.key}}
        if one.number is not None:
            content["AdditionalDocument"] = {"ID": one.number}
        if one.conditions:
            content["AdditionalInformation"] = {"Content": list(one.conditions)}
        yield content


def _make_rejection(application: ReceivedApplication, said: DecidingNotice, receipt: str) -> CarriedContent:
    return {
        "TypeCode": "GOVCBRRBJ",
        "Declaration": {
            "TypeCode": application.type_code,
            "ID": application.number,
            "FunctionalReferenceID": receipt[-20:],
            "Reason": "The application does not meet the requirement.",
        },
        "ID": said.number[-20:],
        "IssueDateTime": _format_moment(said.issued_at),
    }


def _format_moment(moment: datetime) -> str:
    """Return the first whole second that is not before a moment: what was told before stays older."""
    whole = moment.astimezone(_ZONE) + timedelta(microseconds=999_999)
    return whole.strftime("%Y%m%d%H%M%S")
