"""Takes one fragment of a large message (ebMS 3.0 part 2 §4.3.2), in the transaction that stores its message.

The row of its group is locked first. A fragment that contradicts its group is not stored, and the group is
refused in the same transaction: its stored fragments are removed, and no other fragment is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import PMode, SplittingTerms
from gateway.errors import (
    FRAGMENT_CONTRADICTED,
    FRAGMENT_MISSING,
    FRAGMENT_SPACE,
    OUR_MISTAKE,
    PROBLEMS,
    SIGNER_MISMATCH,
    GatewayError,
)
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub, ReceivedMessage
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.outbox.signal_outbox import OutgoingPost, SealedSignal, enqueue_post
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, FragmentHeader, GroupTally, Parcel
from gateway.store import (
    FragmentGroupRow,
    NewGroup,
    StateEvent,
    fragment_groups,
    get_database_state,
    messages,
    octet_removal,
    read_transaction,
    remove_unnamed_objects,
    write_transaction,
)

_COUNT_PATH: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment/mf:FragmentCount"


def refuse_group(conn: Connection, row: FragmentGroupRow, problem: GatewayError, now: datetime) -> None:
    """Refuse a locked group, and queue the task that notifies its sender and removes its fragments."""
    fragment_groups.set_refused(conn, row.id, problem, now)
    data: Mapping[str, Any] = {"group": row.group_id, "problem": problem.problem.id, "code": problem.code}
    record_evidence(conn, "fragments_refused", "fragments", row.id, None, data, now)
    enqueue_task(conn, "drop_fragments", "fragments", row.id, f"fragments-drop:{row.id}", now)


def expire_fragments(hub: Hub, group: int, end_lease: FinishLease) -> None:
    """Refuse a group that is still open at the end of its join interval (EBMS:0051)."""
    now = hub.clock()
    with write_transaction(hub.engine, "fragments.expired") as conn:
        row = fragment_groups.lock_by_id(conn, group)
        if row is not None and row.state == "OPEN":
            refuse_group(conn, row, _make_late_problem(row), now)
        end_lease(conn)


def _make_late_problem(row: FragmentGroupRow) -> GatewayError:
    tally = None if row.tally is None else GroupTally.from_json(row.tally)
    arrived_count = 0 if tally is None else tally.came
    count = "an unknown number" if tally is None or tally.stated.count is None else str(tally.stated.count)
    detail = f"{arrived_count} of {count} fragments came until {row.expires_at.isoformat(timespec='seconds')}"
    return GatewayError(FRAGMENT_MISSING, detail, _COUNT_PATH)


def drop_fragments(hub: Hub, group: int, end_lease: FinishLease) -> None:
    """Queue the error to the sender of a refused message, and remove the octets of its fragments."""
    with read_transaction(hub.engine) as conn:
        row = fragment_groups.find_by_id(conn, group)
        fragments = fragment_groups.list_fragment_messages(conn, group)
        first = hub.make_parcel(*messages.open_parcel(conn, fragments[0])) if fragments else None
    sealed_error = None if row is None or first is None else _seal_error(hub, row, first)
    now = hub.clock()
    with write_transaction(hub.engine, "fragments.dropped") as conn:
        if row is not None and sealed_error is not None:
            post = OutgoingPost(
                sealed_error.endpoint, row.from_party, f"fragments-error:{group}", row.group_id
            )
            enqueue_post(conn, post, sealed_error.answer, now)
        removed = octet_removal.remove_octets(conn, (), tuple(fragments), now)
        data = {"digests": list(removed.digests), "octets": removed.octets, "by": "hub"}
        record_evidence(conn, "purged", "fragments", group, None, data, now)
        end_lease(conn)
    # Where the process dies here, the sweep removes them.
    remove_unnamed_objects(hub.engine, removed.digests)


def _seal_error(hub: Hub, row: FragmentGroupRow, parcel: Parcel) -> SealedSignal | None:
    """Return the error about a source message, None where its sender has no address for it.

    Part 2 §4.4.2: the group has the name of the source message.
    """
    register, protocol = hub.refresh_snapshot(), PROTOCOLS[row.protocol]
    unit = protocol.read_sent_header(parcel, hub.limits).unit
    context = hub.make_protocol_context(register)
    pmode = register.book.find_by_id(row.agreement_id, row.pmode_id, context.now)
    if pmode is None or pmode.reply_endpoint is None or not isinstance(unit, UserMessage):
        return None
    source_unit = replace(unit, message_id=row.group_id, payloads=())
    assert row.problem is not None, "a refused group has a problem"
    problem = GatewayError(PROBLEMS[row.problem], row.detail or "", _COUNT_PATH, code=row.code or "")
    signal = protocol.make_error_signal(problem, source_unit, context)
    if signal is None:
        return None
    return SealedSignal.from_parcel(pmode.reply_endpoint, protocol.seal((signal,), pmode, context))


_ACTOR: Final = "receive"
_GROUP_PATH: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment/mf:GroupId"


@dataclass(frozen=True, slots=True)
class _AgreedFragment:
    """The header of a fragment, the name of its sender, and the P-Mode and terms for such messages."""

    header: FragmentHeader
    sender: str
    pmode: PMode
    terms: SplittingTerms


@dataclass(frozen=True, slots=True)
class GroupedFragment:
    """A fragment that may be stored: its locked group, and the tally of the group with this fragment.

    The tally is None for a fragment that was stored before.
    """

    group_row_id: int
    header: FragmentHeader
    tally: GroupTally | None


def get_max_message_size(hub: Hub, terms: SplittingTerms) -> int:
    """Return the octets of the largest message that is joined; only an object store spares memory."""
    if get_database_state(hub.engine).objects is not None:
        return terms.message_size
    return min(terms.message_size, hub.limits.body)


def lock_fragment_group(
    conn: Connection, arrival: ReceivedMessage, unit: UserMessage
) -> GroupedFragment | GatewayError:
    """Lock the group of a fragment and return both; return the problem for which it is not taken.

    A problem may have refused the group: the caller commits that.
    """
    fragment = _require_fragment(arrival, unit)
    header, now = fragment.header, arrival.context.now
    row = fragment_groups.lock_by_name(conn, fragment.sender, header.group)
    if row is None:
        lack = _find_opening_problem(conn, arrival.hub, fragment)
        if lack is not None:
            return lack
        row = _open_group(conn, arrival.protocol.name, fragment, now)
    if row.state == "REFUSED":
        detail = "another fragment of this group was refused"
        return GatewayError(FRAGMENT_CONTRADICTED, detail, _GROUP_PATH, code="EBMS:0040")
    if messages.find_by_message_id(conn, "in", fragment.sender, unit.message_id) is not None:
        return GroupedFragment(row.id, header, None)
    try:
        return GroupedFragment(row.id, header, _tally_fragment(conn, arrival, row, fragment))
    except GatewayError as problem:
        # Only this fragment is refused if another key of the sender signed it, or if the group has ended.
        if row.state == "OPEN" and problem.problem is not SIGNER_MISMATCH and not problem.problem.ours:
            refuse_group(conn, row, problem, now)
        return problem


def _require_fragment(arrival: ReceivedMessage, unit: UserMessage) -> _AgreedFragment:
    header, pmode = arrival.opened.fragment_header, arrival.opened.pmode
    if header is None or pmode is None or pmode.splitting is None:
        raise GatewayError(OUR_MISTAKE, "nothing is agreed of splitting")
    return _AgreedFragment(header, arrival.context.get_party_name(unit.sender), pmode, pmode.splitting)


def _find_opening_problem(conn: Connection, hub: Hub, fragment: _AgreedFragment) -> GatewayError | None:
    """Return the problem for which no new group is opened, None where there is room for one."""
    most = fragment.terms.open_groups
    if fragment_groups.count_open_groups(conn, fragment.sender) >= most:
        return GatewayError(FRAGMENT_SPACE, f"{most} messages of this sender are incomplete", _GROUP_PATH)
    return _find_shortage(hub, fragment.header)


def _find_shortage(hub: Hub, header: FragmentHeader) -> GatewayError | None:
    """Return the problem if the disk lacks space for the stated size of the message and its fragments."""
    octets = (header.message_size or 0) + (header.compressed_size or header.message_size or 0)
    shortage = get_database_state(hub.engine).reserve.find_shortage(octets)
    return None if shortage is None else GatewayError(FRAGMENT_SPACE, shortage.detail, _GROUP_PATH)


def _open_group(
    conn: Connection, protocol: str, fragment: _AgreedFragment, now: datetime
) -> FragmentGroupRow:
    """Open a group, and queue the task that ends it where fragments are missing for too long."""
    expires_at = now + timedelta(seconds=fragment.terms.join_interval)
    group = NewGroup(
        fragment.header.group,
        fragment.sender,
        protocol,
        fragment.pmode.agreement,
        fragment.pmode.id,
        expires_at,
    )
    row = fragment_groups.open_group(conn, group, now)
    key = f"fragments-end:{row.id}"
    enqueue_task(conn, "expire_fragments", "fragments", row.id, key, now, due_at=row.expires_at)
    return row


def _tally_fragment(
    conn: Connection, arrival: ReceivedMessage, row: FragmentGroupRow, fragment: _AgreedFragment
) -> GroupTally:
    """Return the tally of a group with one more fragment; raise GatewayError if it contradicts the others."""
    if fragment.pmode.id != row.pmode_id:
        detail = f"the first fragment was of P-Mode {row.pmode_id}"
        raise GatewayError(FRAGMENT_CONTRADICTED, detail, _GROUP_PATH, code="EBMS:0053")
    tally = None if row.tally is None else GroupTally.from_json(row.tally)
    max_message_size = get_max_message_size(arrival.hub, fragment.terms)
    is_repeated = fragment_groups.has_fragment(conn, row.id, fragment.header.number)
    new_tally = arrival.protocol.tally_opened_fragment(
        tally, arrival.opened, max_message_size, is_repeated=is_repeated
    )
    shortage = _find_shortage(arrival.hub, fragment.header)
    if shortage is not None:
        raise shortage
    return new_tally


def store_fragment(conn: Connection, grouped_fragment: GroupedFragment, message: int, now: datetime) -> None:
    """Store that a new message is a fragment; the last one queues the task that joins them."""
    assert grouped_fragment.tally is not None  # it is new
    fragment_groups.insert_fragment(
        conn, grouped_fragment.group_row_id, grouped_fragment.header.number, message
    )
    complete = grouped_fragment.tally.is_complete
    fragment_groups.set_tally(
        conn, grouped_fragment.group_row_id, grouped_fragment.tally.to_json(), is_complete=complete
    )
    messages.apply_event(conn, message, StateEvent("process", now, _ACTOR))
    if complete:
        key = f"fragments-join:{grouped_fragment.group_row_id}"
        enqueue_task(conn, "join_fragments", "fragments", grouped_fragment.group_row_id, key, now)
