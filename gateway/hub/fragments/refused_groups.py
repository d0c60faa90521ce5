"""Refuses a message in fragments: its sender is told, and what came of it is removed (part 2 §4.3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import FRAGMENT_MISSING, PROBLEMS, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease, OutgoingPost, enqueue_post, enqueue_task
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, GroupTally, Parcel
from gateway.store import (
    HttpResponse,
    fragment_groups,
    messages,
    octet_removal,
    read_transaction,
    remove_unnamed_objects,
    write_transaction,
)

__all__ = ["drop_fragments", "expire_fragments", "refuse_group"]

_COUNT: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment/mf:FragmentCount"


@dataclass(frozen=True, slots=True)
class _SealedError:
    """A sealed error about a source message, and where it is posted."""

    endpoint: str
    answer: HttpResponse


def refuse_group(conn: Connection, row: Any, problem: GatewayError, now: datetime) -> None:
    """Refuse a locked group, and queue the task that tells its sender and removes what came of it."""
    fragment_groups.set_refused(conn, row.id, problem, now)
    data: Mapping[str, Any] = {"group": row.group_id, "problem": problem.problem.id, "code": problem.code}
    record_evidence(conn, "fragments_refused", "fragments", row.id, None, data, now)
    enqueue_task(conn, "drop_fragments", ("fragments", row.id), f"fragments-drop:{row.id}", now)


def expire_fragments(hub: Hub, group: int, finish: FinishLease) -> None:
    """Refuse a group that is still open at the end of its join interval (EBMS:0051)."""
    now = hub.clock()
    with write_transaction(hub.engine, "fragments.expired") as conn:
        row = fragment_groups.lock_by_id(conn, group)
        if row is not None and row.state == "OPEN":
            refuse_group(conn, row, _make_late_problem(row), now)
        finish(conn)


def _make_late_problem(row: Any) -> GatewayError:
    tally = None if row.tally is None else GroupTally.from_json(row.tally)
    came = 0 if tally is None else tally.came
    count = "an unknown number" if tally is None or tally.stated.count is None else str(tally.stated.count)
    detail = f"{came} of {count} fragments came until {row.expires_at.isoformat(timespec='seconds')}"
    return GatewayError(FRAGMENT_MISSING, detail, _COUNT)


def drop_fragments(hub: Hub, group: int, finish: FinishLease) -> None:
    """Tell the sender that its message is refused, and remove the octets of its fragments."""
    with read_transaction(hub.engine) as conn:
        row = fragment_groups.find_by_id(conn, group)
        came = fragment_groups.list_messages(conn, group)
        first = hub.make_parcel(*messages.open_parcel(conn, came[0])) if came else None
    told = None if row is None or first is None else _seal_error(hub, row, first)
    now = hub.clock()
    with write_transaction(hub.engine, "fragments.dropped") as conn:
        if row is not None and told is not None:
            post = OutgoingPost(told.endpoint, row.from_party, f"fragments-error:{group}", row.group_id)
            enqueue_post(conn, post, told.answer, now)
        removed = octet_removal.remove_octets(conn, (), tuple(came), now)
        data = {"digests": list(removed.digests), "octets": removed.octets, "by": "hub"}
        record_evidence(conn, "purged", "fragments", group, None, data, now)
        finish(conn)
    # Where the process dies here, the sweep removes them.
    remove_unnamed_objects(hub.engine, removed.digests)


def _seal_error(hub: Hub, row: Any, parcel: Parcel) -> _SealedError | None:
    """Return the error about a source message, None where its sender has no address for it.

    Part 2 §4.4.2: the group has the name of the source message.
    """
    knowledge, protocol = hub.refresh_snapshot(), PROTOCOLS[row.protocol]
    unit = protocol.read_sent_header(parcel, hub.limits).unit
    context = hub.make_protocol_context(knowledge)
    pmode = knowledge.book.find_by_id(row.agreement_id, row.pmode_id, context.now)
    if pmode is None or pmode.reply_endpoint is None or not isinstance(unit, UserMessage):
        return None
    about = replace(unit, message_id=row.group_id, payloads=())
    problem = GatewayError(PROBLEMS[row.problem], row.detail, _COUNT, code=row.code)
    signal = protocol.make_error_signal(problem, about, context)
    if signal is None:
        return None
    sealed = protocol.seal((signal,), pmode, context)
    answer = HttpResponse(200, dict(sealed.headers), sealed.read_octets())
    return _SealedError(pmode.reply_endpoint, answer)
