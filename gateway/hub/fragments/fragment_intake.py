"""Takes one fragment of a large message (ebMS 3.0 part 2 §4.3.2), in the transaction that stores its message.

The row of its group is locked first. A fragment that contradicts its group is not stored, and the group is
refused in the same transaction: what came of it is dropped, and nothing more is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import PMode, SplittingTerms
from gateway.errors import FRAGMENT_CONTRADICTED, FRAGMENT_SPACE, OUR_MISTAKE, SIGNER_MISMATCH, GatewayError
from gateway.hub.fragments.refused_groups import refuse_group
from gateway.hub.hub import Hub
from gateway.hub.outbox import enqueue_task
from gateway.hub.received_message import ReceivedMessage
from gateway.message_model import UserMessage
from gateway.protocols import FragmentHeader, GroupTally
from gateway.store import (
    NewGroup,
    StateEvent,
    find_object_store,
    fragment_groups,
    get_disk_reserve,
    messages,
)

__all__ = ["FragmentPlace", "find_fragment_place", "get_largest_message", "store_fragment"]

_ACTOR: Final = "receive"
_GROUP: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment/mf:GroupId"


@dataclass(frozen=True, slots=True)
class _AgreedFragment:
    """The header of a fragment, the name of its sender, and what is agreed of such messages."""

    header: FragmentHeader
    sender: str
    pmode: PMode
    terms: SplittingTerms


@dataclass(frozen=True, slots=True)
class FragmentPlace:
    """The place of a fragment that may be stored: its locked group, and what is then known of that.

    The tally of a fragment that was stored before is None.
    """

    group: int
    header: FragmentHeader
    tally: GroupTally | None


def get_largest_message(hub: Hub, terms: SplittingTerms) -> int:
    """Return the octets of the largest message that is joined; only an object store spares memory."""
    if find_object_store(hub.engine) is not None:
        return terms.message_size
    return min(terms.message_size, hub.limits.body)


def find_fragment_place(
    conn: Connection, arrival: ReceivedMessage, unit: UserMessage
) -> FragmentPlace | GatewayError:
    """Lock the group of a fragment and return its place; return the problem for which it is not taken.

    A problem may have refused the group: the caller commits that.
    """
    fragment = _require_fragment(arrival, unit)
    header, now = fragment.header, arrival.context.now
    row = fragment_groups.lock_by_name(conn, fragment.sender, header.group)
    if row is None:
        lack = _find_lack(conn, arrival.hub, fragment)
        if lack is not None:
            return lack
        row = _open_group(conn, arrival.protocol.name, fragment, now)
    if row.state == "REFUSED":
        detail = "another fragment of this group was refused"
        return GatewayError(FRAGMENT_CONTRADICTED, detail, _GROUP, code="EBMS:0040")
    if messages.find_by_message_id(conn, "in", fragment.sender, unit.message_id) is not None:
        return FragmentPlace(row.id, header, None)
    try:
        return FragmentPlace(row.id, header, _tally(conn, arrival, row, fragment))
    except GatewayError as problem:
        # What another key of the sender has signed is refused by itself, and so is what comes after the end.
        if row.state == "OPEN" and problem.problem is not SIGNER_MISMATCH and not problem.problem.ours:
            refuse_group(conn, row, problem, now)
        return problem


def _require_fragment(arrival: ReceivedMessage, unit: UserMessage) -> _AgreedFragment:
    header, pmode = arrival.opened.fragment, arrival.opened.pmode
    if header is None or pmode is None or pmode.splitting is None:
        raise GatewayError(OUR_MISTAKE, "nothing is agreed of splitting")
    return _AgreedFragment(header, arrival.context.get_party_name(unit.sender), pmode, pmode.splitting)


def _find_lack(conn: Connection, hub: Hub, fragment: _AgreedFragment) -> GatewayError | None:
    """Return the problem for which no new group is opened, None where there is room for one."""
    most = fragment.terms.open_groups
    if fragment_groups.count_open_groups(conn, fragment.sender) >= most:
        return GatewayError(FRAGMENT_SPACE, f"{most} messages of this sender are incomplete", _GROUP)
    return _find_shortage(hub, fragment.header)


def _find_shortage(hub: Hub, header: FragmentHeader) -> GatewayError | None:
    """Return the problem where the disk has no space for what the message states, and its fragments."""
    stated = (header.message_size or 0) + (header.compressed_size or header.message_size or 0)
    shortage = get_disk_reserve(hub.engine).find_shortage(stated)
    return None if shortage is None else GatewayError(FRAGMENT_SPACE, shortage.detail, _GROUP)


def _open_group(conn: Connection, protocol: str, fragment: _AgreedFragment, now: datetime) -> Any:
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
    enqueue_task(conn, "expire_fragments", ("fragments", row.id), key, now, due_at=row.expires_at)
    return row


def _tally(conn: Connection, arrival: ReceivedMessage, row: Any, fragment: _AgreedFragment) -> GroupTally:
    """Return what is known of a group with one more fragment; raise what it contradicts."""
    if fragment.pmode.id != row.pmode_id:
        detail = f"the first fragment was of P-Mode {row.pmode_id}"
        raise GatewayError(FRAGMENT_CONTRADICTED, detail, _GROUP, code="EBMS:0053")
    tally = None if row.tally is None else GroupTally.from_json(row.tally)
    most = get_largest_message(arrival.hub, fragment.terms)
    known = fragment_groups.has_number(conn, row.id, fragment.header.number)
    found = arrival.protocol.tally_opened_fragment(tally, arrival.opened, most, known=known)
    shortage = _find_shortage(arrival.hub, fragment.header)
    if shortage is not None:
        raise shortage
    return found


def store_fragment(conn: Connection, place: FragmentPlace, message: int, now: datetime) -> None:
    """Store that a new message is a fragment; the last one queues the task that joins them."""
    assert place.tally is not None  # it is new
    fragment_groups.insert_fragment(conn, place.group, place.header.number, message)
    complete = place.tally.is_complete
    fragment_groups.set_tally(conn, place.group, place.tally.to_json(), complete=complete)
    messages.apply_event(conn, message, StateEvent("process", now, _ACTOR))
    if complete:
        key = f"fragments-join:{place.group}"
        enqueue_task(conn, "join_fragments", ("fragments", place.group), key, now)
