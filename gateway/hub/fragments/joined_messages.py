"""Joins the fragments of a large message, and takes the whole as a message that has come in one piece.

The octets are streamed: from the fragments, through gzip, into the object store. Nothing but the row of the
group says how far this is, so whoever is killed is repeated from the beginning, with the same outcome.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.errors import KEY_UNAVAILABLE, OUR_MISTAKE, GatewayError
from gateway.hub.fragments.fragment_intake import get_largest_message
from gateway.hub.fragments.refused_groups import refuse_group
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease
from gateway.hub.receive import JoinedMessage, accept_joined_message, prepare_joined_message
from gateway.hub.received_message import ReceivedMessage
from gateway.hub.register import RegisterSnapshot, StaleSnapshotError
from gateway.message_model import Body
from gateway.protocols import PROTOCOLS, GroupTally, OpenedMessage, Parcel, ProtocolContext
from gateway.store import fragment_groups, keep_body, read_transaction, write_transaction

__all__ = ["join_fragments"]

_ATTEMPTS: Final = 3


def join_fragments(hub: Hub, group: int, finish: FinishLease) -> None:
    """Store the message that a complete group is, with its receipt; or refuse the group.

    A problem of the hub itself refuses nothing: it is raised, and the task is repeated.
    """
    with read_transaction(hub.engine) as conn:
        row = fragment_groups.find_by_id(conn, group)
    if row is None or row.state != "COMPLETE":
        _end_task(hub, finish)
        return
    try:
        _join_pieces(hub, row, fragment_groups.list_pieces(hub.engine, group), finish)
    except GatewayError as problem:
        if problem.problem.ours or problem.problem is KEY_UNAVAILABLE:
            raise
        with write_transaction(hub.engine, "fragments.refused") as conn:
            locked = fragment_groups.lock_by_id(conn, group)
            if locked is not None and locked.state == "COMPLETE":
                refuse_group(conn, locked, problem, hub.clock())
            finish(conn)


def _end_task(hub: Hub, finish: FinishLease) -> None:
    with write_transaction(hub.engine, "fragments.joined_before") as conn:
        finish(conn)


def _join_pieces(hub: Hub, row: Any, pieces: tuple[Body, ...], finish: FinishLease) -> None:
    protocol, tally = PROTOCOLS[row.protocol], GroupTally.from_json(row.tally)
    knowledge = hub.refresh_snapshot()
    pmode = knowledge.book.find_by_id(row.agreement_id, row.pmode_id, hub.clock())
    terms = None if pmode is None else pmode.splitting
    most = hub.limits.body if terms is None else get_largest_message(hub, terms)
    joined = protocol.join_fragments(tally, pieces, most)
    parcel = Parcel(joined.headers, keep_body(hub.engine, joined.body))
    for _ in range(_ATTEMPTS):
        knowledge = hub.refresh_snapshot()
        context = hub.make_protocol_context(knowledge)
        wide = replace(context, limits=replace(context.limits, body=most))
        opened = protocol.open_joined(tally, parcel, wide)
        try:
            _store_joined(hub, row, _make_arrival(hub, row, opened, (context, knowledge)), tally, finish)
        except StaleSnapshotError:
            continue
        return
    raise GatewayError(OUR_MISTAKE, "the register changes too fast")


def _make_arrival(
    hub: Hub, row: Any, opened: OpenedMessage, known: tuple[ProtocolContext, RegisterSnapshot]
) -> ReceivedMessage:
    return ReceivedMessage(hub, PROTOCOLS[row.protocol], opened, *known, connected=False)


def _store_joined(
    hub: Hub, row: Any, arrival: ReceivedMessage, tally: GroupTally, finish: FinishLease
) -> None:
    said = {"group": tally.group, "fragments": tally.came, "signer": tally.signer}
    joined: JoinedMessage = prepare_joined_message(arrival, said)
    with write_transaction(hub.engine, "fragments.joined") as conn:
        hub.check_snapshot_current(conn, arrival.knowledge)
        locked = fragment_groups.lock_by_id(conn, row.id)
        if locked is not None and locked.state == "COMPLETE":
            message = accept_joined_message(conn, arrival, joined)
            fragment_groups.set_joined(conn, row.id, message, arrival.context.now)
        finish(conn)
