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
from gateway.operations.agreement_acts import load_judged_agreement, suspend_agreement
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.mapping_activation import (
    CheckedFolder,
    activate_folder,
    check_compared_mappings,
    check_counted_units,
    compare_with_active,
    describe_mapping_changes,
    read_offered_mappings,
)
from gateway.operations.operator_acts import (
    admit_messages,
    change_account_roles,
    change_deliveries,
    end_fee,
    hold_lanes,
    release_lanes,
    set_party_status,
    switch_agency,
    try_lanes,
)
from gateway.operations.plain_values import count_things
from gateway.store import mapping_bundles

#: The most deliveries that one act on the console changes; the verbs take more.
MOST_DELIVERIES: Final = 200


@dataclass(frozen=True, slots=True)
class ActKind:
    """A kind of act: its name, its kind of subject, and whether it changes the trust of the hub."""

    name: str
    subject: str
    is_trust: bool = False


#: Every act by its words.
ACT_KINDS: Final[Mapping[str, ActKind]] = {
    one.name: one
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
        ActKind("party resume", "party"),
        ActKind("agreement load", "file", is_trust=True),
        ActKind("agreement suspend", "agreement", is_trust=True),
        ActKind("map use", "file", is_trust=True),
        ActKind("account role", "account"),
        ActKind("fees waive", "fee"),
        ActKind("fees settle", "fee"),
    )
}


@dataclass(frozen=True, slots=True)
class ActOrder:
    """One act to be done: its name, its parameters, and the file that was uploaded for it (`content`)."""

    act: str
    parameters: Mapping[str, Any]
    content: bytes | None = None
    content_name: str = ""

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
    if order.act == "account role":
        return f"account {parameters.get('name', '')}"
    subject = (
        ", ".join(parameters.get("agreements", ())) or parameters.get("party") or parameters.get("agency")
    )
    subject = subject or parameters.get("bundle", "")[:16]
    kind = "mappings" if order.act == "map use" else order.act.split()[0]
    return f"{kind} {subject}"


def prepare_order(order: ActOrder, settings: Settings, at: datetime) -> CheckedFolder | None:
    """Return the mappings that an act puts into force; None for an act of another kind.

    It is called before the transaction of the act, because the proofs of mappings take seconds. Raises GW502
    for mappings that do not load or whose proofs fail, GW514 and GW515 for a bundle file of another publisher
    or another period, and GW808 for an unknown act or one without its subject.
    """
    kind = ACT_KINDS.get(order.act)
    if kind is None:
        raise GatewayError(MISUSE, f"there is no act {order.act[:40]}", "act")
    _check_subject(order, kind)
    return read_uploaded_mappings(order.content or b"", settings, at) if order.act == "map use" else None


def read_uploaded_mappings(octets: bytes, settings: Settings, at: datetime) -> CheckedFolder:
    """Return uploaded mappings that come into force at once; raise as `prepare_order` does."""
    folder = read_offered_mappings(octets, load_publisher_rules(settings), at)
    if folder.file is not None:
        check_bundle_period(folder.file, at, ZoneInfo(settings.hub.time_zone))
    return folder


def _check_subject(order: ActOrder, kind: ActKind) -> None:
    subjects = {
        "deliveries": bool(order.deliveries) and not order.lanes,
        "messages": bool(order.messages),
        "queue": bool(order.deliveries) != bool(order.lanes),
        "party": bool(order.parameters.get("party")),
        "agency": bool(order.parameters.get("agency")),
        "agreement": bool(order.parameters.get("agreements")),
        "file": order.content is not None,
        "account": bool(order.parameters.get("account")),
        "fee": bool(order.parameters.get("fee")),
    }
    if not subjects[kind.subject]:
        raise GatewayError(MISUSE, f"{order.act} names nothing that it could act on", "act")
    for name, numbers in (("delivery", order.deliveries), ("message", order.messages)):
        if len(numbers) > MOST_DELIVERIES:
            raise GatewayError(MISUSE, f"an act is about at most {MOST_DELIVERIES} at once", name)


def perform_order(change: DatabaseChange, order: ActOrder, folder: CheckedFolder | None = None) -> str:
    """Do an act in the transaction of its audit; return its result as a sentence."""
    noun, verb = order.act.split()
    if noun == "queue":
        return _change_queue(change, order, verb)
    if noun == "message":
        admitted = admit_messages(change, order.messages)
        return f"Queued the admission of {count_things(len(admitted), 'message')}: {_join(admitted)}."
    if noun == "party":
        status = {"suspend": "SUSPENDED", "resume": "ACTIVE"}[verb]
        return set_party_status(change, order.parameters["party"], status)
    if noun == "agency":
        return _switch_agency(change, order.parameters["agency"], back=verb == "back")
    if noun == "account":
        return change_account_roles(change, order.parameters)
    if noun == "fees":
        return _end_fee(change, verb, order.parameters["fee"])
    if noun == "map":
        return _use_mappings(change, order, folder)
    if verb == "suspend":
        return "".join(suspend_agreement(change, name) for name in order.parameters["agreements"])
    return _load_agreement(change, order)


def _change_queue(change: DatabaseChange, order: ActOrder, act: str) -> str:
    if order.deliveries:
        after = change_deliveries(change, act, order.deliveries)
        states = ", ".join(sorted({row["state"] for row in after.values()}))
        counted = count_things(len(after), "delivery", "deliveries")
        return f"{counted} {'is' if len(after) == 1 else 'are'} {states} now: {_join(after)}."
    if act == "hold":
        waiting = sum(backlog.waiting for backlog in hold_lanes(change, order.lanes).values())
        return f"Held lane {', '.join(order.lanes)}; {count_things(waiting, 'delivery', 'deliveries')} wait."
    if act == "release":
        return f"Released lane {', '.join(release_lanes(change, order.lanes))}."
    due = sum(len(tried) for tried in try_lanes(change, order.lanes).values())
    return f"Due now in lane {', '.join(order.lanes)}: {count_things(due, 'delivery', 'deliveries')}."


def _end_fee(change: DatabaseChange, verb: str, number: str) -> str:
    row = end_fee(change, verb, number)
    if row is None:
        raise GatewayError(MISUSE, f"there is no fee {number[:60]!r}", "fee")
    return f"Fee {row.number} is {row.state}."


def _switch_agency(change: DatabaseChange, agency: str, *, back: bool) -> str:
    switch = switch_agency(change, agency, back=back)
    resting = count_things(switch.undecided, "undecided application")
    if back:
        return f"Agency {agency} gets new applications in its own system again; {resting} in the mailbox."
    waiting = count_things(switch.backlog.waiting, "delivery", "deliveries")
    return f"The officers of agency {agency} decide at the console; {waiting} of its lane go to the mailbox."


def _join(names: Sequence[Any] | Mapping[Any, Any]) -> str:
    return ", ".join(map(str, names))


def _load_agreement(change: DatabaseChange, order: ActOrder) -> str:
    content, name = order.content or b"", order.content_name
    document = read_agreement(content, name)
    accepted = bool(order.parameters.get("accepted"))
    _, problem = load_judged_agreement(change, document, content, name, accepted=accepted)
    if problem is not None:
        raise problem
    modes = count_things(len(document.pmodes), "P-Mode")
    return f"Agreement {_join(order.parameters['agreements'])} is loaded with {modes}."


def _use_mappings(change: DatabaseChange, order: ActOrder, folder: CheckedFolder | None) -> str:
    assert folder is not None, "the folder was read by `prepare_order`"
    # The mappings in force must still be those that the person compared with.
    check_compared_mappings(change, order.parameters["over"])
    changes = order.parameters["changes"]
    if not activate_folder(change, folder, changes):
        return "These mappings are in force already; nothing was changed."
    return f"In force from the next message on: {count_things(len(changes['documents']), 'document')}."


def describe_mapping_order(
    conn: Connection, folder: CheckedFolder, removed: Sequence[str], at: datetime
) -> dict[str, Any]:
    """Return the parameters of an act that activates mappings.

    They are the digest of the active mappings (`over`), that of the new ones (`bundle`), and how the new
    ones differ (`changes`). Raises GW507 for a document that the new mappings no longer have and that
    `removed` does not name, GW502 for a unit that they no longer have and in which quantities are counted.
    """
    changes, before = compare_with_active(conn, folder, at)
    check_counted_units(conn, before, folder.bundle)
    check_removed_documents(changes, removed)
    return {
        "over": mapping_bundles.find_active_digest(conn, at),
        "bundle": folder.bundle.digest,
        "changes": describe_mapping_changes(changes, folder.bundle, before),
    }
