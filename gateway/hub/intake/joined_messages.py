"""Joins the fragments of a large message, and takes the whole as a message that has come in one piece.

The octets are streamed: from the fragments, through gzip, into the object store. Only the row of the group
stores the progress, so a process that is killed is repeated from the beginning, with the same outcome.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from gateway.errors import KEY_UNAVAILABLE, OUR_MISTAKE, GatewayError, confirm_refusal
from gateway.hub.hub import Hub, ReceivedMessage
from gateway.hub.intake.fragment_intake import get_max_message_size, refuse_group
from gateway.hub.intake.receive import JoinedMessage, accept_joined_message, prepare_joined_message
from gateway.hub.outbox.local_tasks import FinishLease
from gateway.hub.register.trusted_register import RegisterSnapshot, StaleSnapshotError
from gateway.message_model import Body
from gateway.protocols import PROTOCOLS, GroupTally, OpenedMessage, Parcel, ProtocolContext
from gateway.store import FragmentGroupRow, fragment_groups, keep_body, read_transaction, write_transaction

_ATTEMPTS: Final = 3


def join_fragments(hub: Hub, group: int, end_lease: FinishLease) -> None:
    """Store the message that a complete group is, with its receipt; or refuse the group.

    A problem of the hub itself refuses nothing: it is raised, and the task is repeated.
    """
    with read_transaction(hub.engine) as conn:
        row = fragment_groups.find_by_id(conn, group)
    if row is None or row.state != "COMPLETE":
        _end_task(hub, end_lease)
        return
    try:
        _join_pieces(hub, row, fragment_groups.list_pieces(hub.engine, group), end_lease)
    except GatewayError as problem:
        if problem.problem.ours or problem.problem is KEY_UNAVAILABLE:
            raise
        with write_transaction(hub.engine, "fragments.refused") as conn:
            locked = fragment_groups.lock_by_id(conn, group)
            if locked is not None and locked.state == "COMPLETE":
                refuse_group(conn, locked, problem, hub.clock())
            end_lease(conn)


def _end_task(hub: Hub, end_lease: FinishLease) -> None:
    with write_transaction(hub.engine, "fragments.joined_before") as conn:
        end_lease(conn)


def _join_pieces(hub: Hub, row: FragmentGroupRow, pieces: tuple[Body, ...], end_lease: FinishLease) -> None:
    """Join the fragments `pieces` of a complete group, and store the message with the end of the lease.

    The message is opened again if the register has changed meanwhile; raises GW901 if it changes too often.
    """
    protocol, tally = PROTOCOLS[row.protocol], GroupTally.from_json(row.tally)
    register = hub.refresh_snapshot()
    pmode = register.book.find_by_id(row.agreement_id, row.pmode_id, hub.clock())
    terms = None if pmode is None else pmode.splitting
    max_message_size = hub.limits.body if terms is None else get_max_message_size(hub, terms)
    joined_parcel = protocol.join_fragments(tally, pieces, max_message_size)
    parcel = Parcel(joined_parcel.headers, keep_body(hub.engine, joined_parcel.body))
    for _ in range(_ATTEMPTS):
        register = hub.refresh_snapshot()
        context = hub.make_protocol_context(register)
        wide = replace(context, limits=replace(context.limits, body=max_message_size))
        opened = confirm_refusal(partial(protocol.open_joined, tally, parcel, wide))
        try:
            arrival = _make_arrival(hub, row, opened, context, register)
            _store_joined_message(hub, row, arrival, tally, end_lease)
        except StaleSnapshotError:
            continue
        return
    raise GatewayError(OUR_MISTAKE, "the register changes too fast")


def _make_arrival(
    hub: Hub,
    row: FragmentGroupRow,
    opened: OpenedMessage,
    context: ProtocolContext,
    register: RegisterSnapshot,
) -> ReceivedMessage:
    return ReceivedMessage(hub, PROTOCOLS[row.protocol], opened, context, register, is_connected=False)


def _store_joined_message(
    hub: Hub, row: FragmentGroupRow, arrival: ReceivedMessage, tally: GroupTally, end_lease: FinishLease
) -> None:
    """Store a joined message and end the lease; only the latter if its group is not complete any more."""
    group_facts = {"group": tally.group, "fragments": tally.came, "signer": tally.signer}
    joined_message: JoinedMessage = prepare_joined_message(arrival, group_facts)
    with write_transaction(hub.engine, "fragments.joined") as conn:
        hub.register.check_snapshot_current(conn, arrival.register_snapshot)
        locked = fragment_groups.lock_by_id(conn, row.id)
        if locked is not None and locked.state == "COMPLETE":
            message = accept_joined_message(conn, arrival, joined_message)
            fragment_groups.set_joined(conn, row.id, message, arrival.context.now)
        end_lease(conn)
