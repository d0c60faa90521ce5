"""The actions by which submissions are filed, and the P-Modes of them that open no case."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from gateway.agreements.pmode import PMode

#: The service of the contract by which submissions are filed and answered.
FILING_SERVICE: Final = "urn:single-window:services:declaration"
#: The Function of the submission that a message of each action carries.
FILING_FUNCTIONS: Final[Mapping[str, str]] = {
    "Submit": "9",
    "Supplement": "35",
    "Amend": "13",
    "Withdraw": "1",
}
#: The action by which a submission of each Function is filed.
FILING_ACTIONS: Final[Mapping[str, str]] = {function: action for action, function in FILING_FUNCTIONS.items()}
_RESULT_ACTION: Final = "Result"
#: The actions of the service that the hub sends.
_HUB_ACTIONS: Final = (_RESULT_ACTION, "Notice")


def list_filing_services(pmodes: Iterable[PMode]) -> frozenset[str]:
    """Return the services of one agreement by which submissions are filed.

    These are the service of the contract, and each service by which a message is delivered to a case, or a
    Result is sent.
    """
    case_services = (
        pmode.service for pmode in pmodes if pmode.deliver_to == "case" or pmode.action == _RESULT_ACTION
    )
    return frozenset((FILING_SERVICE, *case_services))


def is_filing_message(
    service: str | None, action: str | None, filing_services: Collection[str | None]
) -> bool:
    """Return whether a message of a service and action is meant to be a submission.

    `filing_services` are those of its agreement by which submissions are filed. In the service of the
    contract, an action of another name than the contract gives is a mistake of the agreement.
    """
    if service == FILING_SERVICE:
        return action not in _HUB_ACTIONS
    return action in FILING_FUNCTIONS and service in filing_services


def list_mailbox_filings(pmodes: Iterable[PMode]) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement by which submissions are filed, and that deliver to the mailbox."""
    all_pmodes = tuple(pmodes)
    filing_services = list_filing_services(all_pmodes)
    return tuple(
        pmode
        for pmode in all_pmodes
        if pmode.deliver_to == "mailbox" and is_filing_message(pmode.service, pmode.action, filing_services)
    )


def describe_mailbox_filing(pmode: PMode) -> str:
    """Return the effect on a submission of a P-Mode from `list_mailbox_filings`, and the remedy."""
    if pmode.action not in FILING_FUNCTIONS:
        return (
            f"P-Mode {pmode.id} delivers {pmode.action} to the mailbox: what comes gets its receipt, and no "
            f"case and no answer; submissions are filed by {', '.join(FILING_FUNCTIONS)}"
        )
    return (
        f"P-Mode {pmode.id} delivers {pmode.action} to the mailbox: a submission gets its receipt, and no "
        "case and no answer; say `deliver_to: case`, or load it and run "
        "`gateway agreement override --deliver-to case`"
    )
