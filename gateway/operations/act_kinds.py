"""The acts of operators on the console: each has the words of the verb that does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gateway.agreements import read_agreement
from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError
from gateway.hub import check_bundle_period, check_removed_documents, load_publisher_rules
from gateway.operations.account_acts import perform_account_act
from gateway.operations.agreement_acts import load_checked_agreement, suspend_agreement
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.mapping_activation import (
    CheckedFolder,
    activate_folder,
    check_compared_mappings,
    check_used_units,
    compare_with_active,
    describe_mapping_changes,
    read_published_mappings,
)
from gateway.operations.operator_acts import (
    admit_messages,
    change_deliveries,
    hold_lanes,
    release_lanes,
    set_party_status,
    switch_agency,
    try_lanes,
    waive_or_settle_fee,
)
from gateway.operations.plain_values import format_count
from gateway.store import mapping_bundles

#: The most deliveries that one act on the console changes; the verbs take more.
MAX_DELIVERIES: Final = 200


@dataclass(frozen=True, slots=True)
class ActKind:
    """A kind of act: its name, its kind of subject, and whether it changes the trust of the hub.

    One that gives access, to a person, to a partner or to other rules, needs a recent proof of who does it.
    """

    act: str
    subject_kind: str
    changes_trust: bool = False
    gives_access: bool = False


#: Every act by its words.
ACT_KINDS: Final[Mapping[str, ActKind]] = {
    one.act: one
    for one in (
        ActKind("queue try", "queue"),
        ActKind("queue hold", "queue"),
        ActKind("queue release", "queue"),
        ActKind("queue requeue", "deliveries"),
        ActKind("queue cancel", "deliveries"),
        ActKind("message admit", "messages"),
        ActKind("agency console", "agency"),
        ActKind("agency back", "agency"),
        ActKind("party suspend", "party"),
        ActKind("party resume", "party", gives_access=True),
        ActKind("agreement load", "file", changes_trust=True, gives_access=True),
        ActKind("agreement suspend", "agreement", changes_trust=True),
        ActKind("map use", "file", changes_trust=True, gives_access=True),
        ActKind("account add", "account", gives_access=True),
        ActKind("account role", "account", gives_access=True),
        ActKind("account invite", "account", gives_access=True),
        ActKind("fees waive", "fee"),
        ActKind("fees settle", "fee"),
    )
}


@dataclass(frozen=True, slots=True)
class ActOrder:
    """One act to be done: its name, its parameters, and the file that was uploaded for it (`file_octets`)."""

    act: str
    parameters: Mapping[str, Any]
    file_octets: bytes | None = None
    file_name: str = ""

    @property
    def verb(self) -> str:
        """Return the words of the verb that does the same."""
        return "agency console" if self.act == "agency back" else self.act

    @property
    def deliveries(self) -> tuple[int, ...]:
        """Return the deliveries that the act is about."""
        return tuple(self.parameters.get("deliveries", ()))

    @property
    def messages(self) -> tuple[int, ...]:
        """Return the messages that the act is about."""
        return tuple(self.parameters.get("messages", ()))

    @property
    def lanes(self) -> tuple[str, ...]:
        """Return the lanes that the act is about."""
        return tuple(self.parameters.get("lanes", ()))


def describe_order(order: ActOrder) -> str:
    """Return the subject of the act, as the audit names it."""
    parameters = order.parameters
    if order.deliveries:
        return f"delivery {', '.join(map(str, order.deliveries))}"
    if order.messages:
        return f"message {', '.join(map(str, order.messages))}"
    if order.lanes:
        return f"lane {', '.join(order.lanes)}"
    if parameters.get("fee"):
        return f"fee {parameters['fee']}"
    if order.act.startswith("account "):
        return f"account {parameters.get('name', '')}"
    subject = (
        ", ".join(parameters.get("agreements", ())) or parameters.get("party") or parameters.get("agency")
    )
    subject = subject or parameters.get("bundle", "")[:16]
    subject_kind = "mappings" if order.act == "map use" else order.act.split()[0]
    return f"{subject_kind} {subject}"


def read_order_mappings(order: ActOrder, settings: Settings, at: datetime) -> CheckedFolder | None:
    """Return the mappings that an act puts into force; None for an act of another kind.

    It is called before the transaction of the act, because the proofs of mappings take seconds. Raises GW502
    for mappings that do not load or whose proofs fail, GW514 and GW515 for a bundle file of another publisher
    or another period, and GW808 for an unknown act or one without its subject.
    """
    act_kind = ACT_KINDS.get(order.act)
    if act_kind is None:
        raise GatewayError(MISUSE, f"there is no act {order.act[:40]}", "act")
    _check_subject(order, act_kind)
    return read_uploaded_mappings(order.file_octets or b"", settings, at) if order.act == "map use" else None


def read_uploaded_mappings(octets: bytes, settings: Settings, at: datetime) -> CheckedFolder:
    """Return uploaded mappings that come into force at once; raise as `read_order_mappings` does."""
    folder = read_published_mappings(octets, load_publisher_rules(settings), at)
    if folder.bundle_file is not None:
        check_bundle_period(folder.bundle_file, at, ZoneInfo(settings.hub.time_zone))
    return folder


def _check_subject(order: ActOrder, act_kind: ActKind) -> None:
    """Raise GW808 unless `order` names the subject that its kind of act needs, and not too many."""
    has_subject = {
        "deliveries": bool(order.deliveries) and not order.lanes,
        "messages": bool(order.messages),
        "queue": bool(order.deliveries) != bool(order.lanes),
        "party": bool(order.parameters.get("party")),
        "agency": bool(order.parameters.get("agency")),
        "agreement": bool(order.parameters.get("agreements")),
        "file": order.file_octets is not None,
        "account": bool(order.parameters.get("name")),
        "fee": bool(order.parameters.get("fee")),
    }
    if not has_subject[act_kind.subject_kind]:
        raise GatewayError(MISUSE, f"{order.act} names nothing that it could act on", "act")
    for subject_kind, subject_ids in (("delivery", order.deliveries), ("message", order.messages)):
        if len(subject_ids) > MAX_DELIVERIES:
            raise GatewayError(
                MISUSE, f"an act may be about at most {MAX_DELIVERIES} deliveries at once", subject_kind
            )


def perform_act(change: DatabaseChange, order: ActOrder, folder: CheckedFolder | None = None) -> str:
    """Do an act in the transaction of its audit; return its result as a sentence."""
    subject_word, verb = order.act.split()
    if subject_word == "queue":
        return _change_queue(change, order, verb)
    if subject_word == "message":
        admitted_ids = admit_messages(change, order.messages)
        return f"Queued the admission of {format_count(len(admitted_ids), 'message')}: {_join(admitted_ids)}."
    if subject_word == "party":
        party_status = {"suspend": "SUSPENDED", "resume": "ACTIVE"}[verb]
        return set_party_status(change, order.parameters["party"], party_status)
    if subject_word == "agency":
        return _switch_agency(change, order.parameters["agency"], is_switched_back=verb == "back")
    if subject_word == "account":
        return perform_account_act(change, order.act, order.parameters)
    if subject_word == "fees":
        return _end_fee(change, verb, order.parameters["fee"])
    if subject_word == "map":
        return _activate_mappings(change, order, folder)
    if verb == "suspend":
        return "".join(
            suspend_agreement(change, agreement_id) for agreement_id in order.parameters["agreements"]
        )
    return _load_agreement(change, order)


def _change_queue(change: DatabaseChange, order: ActOrder, act: str) -> str:
    """Do `act` (such as hold or release) on the deliveries of `order`, or on its lanes; return the result."""
    if order.deliveries:
        rows_after = change_deliveries(change, act, order.deliveries)
        states = ", ".join(sorted({row["state"] for row in rows_after.values()}))
        count_text = format_count(len(rows_after), "delivery", "deliveries")
        return f"{count_text} {'is' if len(rows_after) == 1 else 'are'} {states} now: {_join(rows_after)}."
    if act == "hold":
        waiting = sum(backlog.waiting for backlog in hold_lanes(change, order.lanes).values())
        return f"Held lane {', '.join(order.lanes)}; {format_count(waiting, 'delivery', 'deliveries')} wait."
    if act == "release":
        return f"Released lane {', '.join(release_lanes(change, order.lanes))}."
    due_count = sum(len(due_ids) for due_ids in try_lanes(change, order.lanes).values())
    return f"Due now in lane {', '.join(order.lanes)}: {format_count(due_count, 'delivery', 'deliveries')}."


def _end_fee(change: DatabaseChange, verb: str, fee_number: str) -> str:
    fee_row = waive_or_settle_fee(change, verb, fee_number)
    if fee_row is None:
        raise GatewayError(MISUSE, f"there is no fee {fee_number[:60]!r}", "fee")
    return f"Fee {fee_row.number} is {fee_row.state}."


def _switch_agency(change: DatabaseChange, agency: str, *, is_switched_back: bool) -> str:
    """Let officers decide at the console for `agency`, or switch it back; return the result as a sentence."""
    switch = switch_agency(change, agency, is_switched_back=is_switched_back)
    open_text = format_count(switch.undecided_count, "undecided application")
    if is_switched_back:
        return f"Agency {agency} gets new applications in its own system again; {open_text} in the mailbox."
    backlog = format_count(switch.backlog.waiting, "delivery", "deliveries")
    return f"The officers of agency {agency} decide at the console; {backlog} of its lane go to the mailbox."


def _join(names: Sequence[Any] | Mapping[Any, Any]) -> str:
    return ", ".join(map(str, names))


def _load_agreement(change: DatabaseChange, order: ActOrder) -> str:
    """Load the agreement file of `order`; return the result as a sentence; raise if it is refused."""
    file_octets, file_name = order.file_octets or b"", order.file_name
    document = read_agreement(file_octets, file_name)
    accepts_warnings = bool(order.parameters.get("accepted"))
    _, problem = load_checked_agreement(
        change, document, file_octets, file_name, accepts_warnings=accepts_warnings
    )
    if problem is not None:
        raise problem
    pmode_text = format_count(len(document.pmodes), "P-Mode")
    return f"Agreement {_join(order.parameters['agreements'])} is loaded with {pmode_text}."


def _activate_mappings(change: DatabaseChange, order: ActOrder, folder: CheckedFolder | None) -> str:
    """Put the mappings in `folder` into force; return the result as a sentence.

    Raises an error if other mappings came into force since the order was made.
    """
    assert folder is not None, "the folder was read by `read_order_mappings`"
    # The mappings in force must still be those that the person compared with.
    check_compared_mappings(change, order.parameters["over"])
    change_summary = order.parameters["changes"]
    if not activate_folder(change, folder, change_summary):
        return "These mappings are in force already; nothing was changed."
    return f"In force from the next message on: {format_count(len(change_summary['documents']), 'document')}."


def describe_mapping_order(
    conn: Connection, folder: CheckedFolder, removed_documents: Sequence[str], at: datetime
) -> dict[str, Any]:
    """Return the parameters of an act that activates mappings.

    They are the digest of the active mappings (`over`), that of the new ones (`bundle`), and how the new
    ones differ (`changes`). Raises GW507 for a document that the new mappings no longer have and that
    `removed_documents` does not name, GW502 for a unit that they no longer have and in which quantities are
    counted.
    """
    changes, active_bundle = compare_with_active(conn, folder, at)
    check_used_units(conn, active_bundle, folder.bundle)
    check_removed_documents(changes, removed_documents)
    return {
        "over": mapping_bundles.find_active_digest(conn, at),
        "bundle": folder.bundle.digest,
        "changes": describe_mapping_changes(changes, folder.bundle, active_bundle),
    }
