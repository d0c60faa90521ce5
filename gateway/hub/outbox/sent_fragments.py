"""Sends a large message to a partner in fragments (ebMS 3.0 part 2 §4.3.1); the first that fails fails it.

Every fragment is sealed once, before the transaction that stores the whole: so each is sent with the same
octets, however often. Large ones are put into the object store as soon as they are sealed. The delivery of
the whole message queues one delivery for each fragment, and waits for the receipt of the whole: it says
that all were joined (eDelivery AS4 1.15 §1.5.6.6). The whole is never posted itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import PMode, SplittingTerms
from gateway.errors import ATTEMPTS_USED_UP, FRAGMENT_UNWANTED, OUR_MISTAKE, PROBLEMS, GatewayError
from gateway.evidence import STORED, describe_stored_message, record_evidence
from gateway.hub.completion.case_closing import run_closing_commit
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.outbox.signal_outbox import get_pull_seconds
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext, SplitPlan, choose_split_terms
from gateway.store import (
    DeliveryLease,
    DeliveryRow,
    NewDelivery,
    NewMessage,
    SentFragmentRow,
    StateEvent,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    fragment_groups,
    keep_body,
    make_attempt_outcome,
    messages,
    payloads,
    read_transaction,
    write_transaction,
)

_ACTOR: Final = "msh"
#: A message has somewhat more octets than agreed of its parts.
_OVERHEAD_OCTETS: Final = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class SealedFragment:
    """One sealed fragment: its MessageId, and its octets where they are kept."""

    message_id: str
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class SealedSplit:
    """A message that goes in fragments: the whole, which is neither signed nor sent, and its fragments."""

    source: Parcel
    fragments: tuple[SealedFragment, ...]
    terms: SplittingTerms

    def get_receipt_wait_seconds(self, pmode: PMode) -> int:
        """Return the seconds in which the receipt of the whole must come.

        The first fragment is sent for its time, and the receiver joins them within JoinInterval.
        """
        first = pmode.reliability.sending_limit if pmode.pull is None else get_pull_seconds(pmode)
        return first + self.terms.join_interval

    def get_fragment_wait_seconds(self, pmode: PMode) -> int:
        """Return for how many seconds fragments are posted, or wait to be pulled.

        Many large fragments go one after another: the last one is begun when the repeats of the first
        would be over. Each has the agreed attempts, while its message waits.
        """
        return self.get_receipt_wait_seconds(pmode) if pmode.pull is None else get_pull_seconds(pmode)


def seal_split(hub: Hub, unit: UserMessage, pmode: PMode, context: ProtocolContext) -> SealedSplit | None:
    """Return a message sealed in fragments; None where splitting is not agreed, or one fragment is enough.

    A message whose receipt cannot be posted to the hub is sent whole: the hub could not learn whether it was
    joined (part 2 §4.4.2, eDelivery AS4 1.15 §1.5.6.6). Raises GW102 for a message that is larger than
    agreed.
    """
    terms, core = pmode.splitting, PROTOCOLS[pmode.protocol]
    if terms is None or pmode.reply_endpoint is None:
        return None
    source = core.seal_source(unit, pmode)
    split_terms = choose_split_terms(source.body.octet_count, terms)
    if split_terms is None:
        return None
    source = Parcel(source.headers, keep_body(hub.engine, source.body))
    plan = core.plan_split(
        source, split_terms, replace(context.limits, body=terms.message_size + _OVERHEAD_OCTETS)
    )
    if plan.terms.compressed:
        plan = replace(plan, octets=keep_body(hub.engine, plan.octets))
    numbers = range(1, plan.fragment_count + 1)
    return SealedSplit(
        source, tuple(_seal_fragment(hub, plan, number, pmode, context) for number in numbers), terms
    )


def _seal_fragment(
    hub: Hub, plan: SplitPlan, number: int, pmode: PMode, context: ProtocolContext
) -> SealedFragment:
    """Return the fragment with this `number` (from 1) of a split message, sealed, with its MessageId."""
    core = PROTOCOLS[pmode.protocol]
    sealed = core.seal_agreed_fragment(plan, number, pmode, context)
    parcel = Parcel(sealed.headers, keep_body(hub.engine, sealed.body))
    sent = sealed.sent_unit or core.read_sent_header(parcel, context.limits)
    return SealedFragment(sent.unit.message_id, parcel)


def store_fragments(
    conn: Connection,
    split: SealedSplit,
    delivery_id: int,
    message_row_id: int,
    row: NewMessage,
    now: datetime,
) -> None:
    """Store the fragments of a message beside it.

    `delivery_id` and `message_row_id` are the row ids of the whole message, `row` is its stored message.
    """
    stored = [
        _store_fragment(conn, number, fragment, row, now)
        for number, fragment in enumerate(split.fragments, start=1)
    ]
    fragment_groups.insert_sent_group(conn, delivery_id, message_row_id, stored, now)


def _store_fragment(
    conn: Connection, number: int, fragment: SealedFragment, source_row: NewMessage, now: datetime
) -> int:
    """Store a sealed fragment as a sent message with evidence; return its row id.

    `source_row` is the row of the whole message, from which the other values are.
    """
    content = fragment.parcel.get_octets()
    identity = payloads.store_payload(conn, content, now)
    # Without the case: what applicants and operators read of that is the whole message.
    row = replace(
        source_row,
        message_id=fragment.message_id,
        kind="Fragment",
        identity_sha256=identity,
        parcel_headers=dict(fragment.parcel.headers),
        parcel=content,
        parcel_sha256=identity,
        payloads=(),
        case_id=None,
    )
    stored = messages.insert_own_message(conn, row, now, _ACTOR)
    messages.apply_event(conn, stored.id, StateEvent("process", now, _ACTOR))
    data = {
        "message_id": fragment.message_id,
        "group": source_row.message_id,
        "number": number,
        STORED: describe_stored_message(stored),
    }
    record_evidence(conn, "NRS", "message", stored.id, identity, data, now)
    return stored.id


def end_failed_fragment(
    conn: Connection, delivery: DeliveryLease | DeliveryRow, problem: GatewayError, now: datetime
) -> None:
    """Cancel a fragment that has failed, and queue the task that fails its whole message.

    Called in the transaction in which it fails. An operator repeats the whole message.
    """
    fragment = delivery.parameters["fragment"]
    deliveries.give_up_delivery(conn, delivery.id, now, _ACTOR, "its message fails")
    failure = {
        "problem": problem.problem.id,
        "detail": problem.detail[:500],
        "theirs": (problem.theirs or "")[:500],
        "number": fragment["number"],
        "round": fragment["round"],
    }
    key = f"fragment-failed:{delivery.id}"
    enqueue_task(conn, "fail_split", "delivery", fragment["whole"], key, now, said=failure)


_log = logging.getLogger(__name__)

_SPLIT_ACTOR: Final = "msh"
_UNWANTED: Final = "its message is not sent any more, or is sent anew"


def queue_fragments(hub: Hub, lease: DeliveryLease) -> None:
    """Queue the fragments of a message that have no receipt, and let the message wait for its own.

    The fragments go with the octets that were sealed. A repeat by an operator sends all fragments where all
    have receipts: then only the receipt of the whole message is missing. Raises GW604 where this receipt did
    not come in time.
    """
    now = hub.clock()
    with write_transaction(hub.engine, "fragments.queued") as conn:
        if not delivery_leases.lock_active_lease(conn, lease):
            return
        group = fragment_groups.find_sent_group(conn, lease.id)
        if group is None:
            raise GatewayError(OUR_MISTAKE, f"the fragments of delivery {lease.id} are gone")
        if group.state == "SENDING":
            detail = f"{group.count} fragments were sent, and no receipt of the whole message came"
            raise GatewayError(ATTEMPTS_USED_UP, detail, "splitting/join_interval")
        times = lease.parameters["split"]
        _queue_round(conn, lease, fragment_groups.list_sent_fragments(conn, lease.id), now)
        until = lease.expires_at or now + timedelta(seconds=times["wait"])
        delivery_leases.mark_sent(conn, lease, now, until)


def _queue_round(
    conn: Connection, lease: DeliveryLease, sent_fragments: Sequence[SentFragmentRow], now: datetime
) -> None:
    """Queue the fragments without a receipt once more, as the next round; all of them if all have receipts.

    Deliveries left of an earlier round are cancelled.
    """
    round_ = fragment_groups.begin_round(conn, lease.id)
    for row in fragment_groups.list_idle_deliveries(conn, lease.id):
        # One of a former round, which would find out by itself that it is not wanted.
        _cancel_delivery(conn, row, now)
    undelivered = [piece for piece in sent_fragments if piece.delivery_state != "DELIVERED"] or sent_fragments
    new = [_make_delivery(lease, piece, round_, now) for piece in undelivered]
    for piece, queued in zip(undelivered, deliveries.enqueue_deliveries(conn, new, now), strict=True):
        assert queued is not None  # the number of the round is new
        fragment_groups.set_fragment_delivery(conn, piece.message, queued)


def _make_delivery(lease: DeliveryLease, piece: SentFragmentRow, round_: int, now: datetime) -> NewDelivery:
    """Return the delivery of the fragment `piece` in a round; `lease` is that of the whole message."""
    parameters = {name: value for name, value in lease.parameters.items() if name != "split"}
    split = lease.parameters["split"]
    action_text = f"fragment {piece.number} of {split['count']} of {parameters['action']}"
    fragment = {"whole": lease.id, "number": piece.number, "round": round_}
    return NewDelivery(
        agent="msh",
        destination=lease.destination,
        lane=split["lane"],
        subject_type="fragment",
        subject_id=str(piece.message),
        dedupe_key=f"fragment:{piece.message}:{round_}",
        wire_id=piece.message_id,
        payload_sha256=piece.parcel_sha256,
        parameters={
            **parameters,
            "endpoint": split["endpoint"],
            "headers": dict(piece.parcel_headers),
            "action": action_text,
            "fragment": fragment,
        },
        expires_at=now + timedelta(seconds=split["live"]),
    )


def _cancel_delivery(conn: Connection, row: DeliveryRow, now: datetime) -> None:
    end = deliveries.give_up_delivery if row.state == "FAILED" else deliveries.cancel_delivery
    end(conn, row.id, now, _SPLIT_ACTOR, _UNWANTED)


def cancel_unwanted_fragment(conn: Connection, row: DeliveryRow, now: datetime) -> bool:
    """Cancel a locked, queued fragment that is to be pulled, as `drop_unwanted_fragment` does."""
    fragment = row.parameters.get("fragment")
    if fragment is None or fragment_groups.is_current_round(conn, fragment["whole"], fragment["round"]):
        return False
    _cancel_delivery(conn, row, now)
    return True


def drop_unwanted_fragment(hub: Hub, lease: DeliveryLease) -> bool:
    """Cancel a fragment whose message has a receipt, has failed, or is sent anew; return whether it was."""
    fragment, now = lease.parameters["fragment"], hub.clock()
    with read_transaction(hub.engine) as conn:
        if fragment_groups.is_current_round(conn, fragment["whole"], fragment["round"]):
            return False
    outcome = make_attempt_outcome(GatewayError(FRAGMENT_UNWANTED))
    with write_transaction(hub.engine, "fragments.unwanted") as conn:
        if delivery_leases.fail_delivery(conn, lease, now, outcome):
            deliveries.give_up_delivery(conn, lease.id, now, _SPLIT_ACTOR, _UNWANTED)
    return True


def fail_split(hub: Hub, whole_delivery_id: int, failure: Mapping[str, Any], end_lease: FinishLease) -> None:
    """Fail the delivery `whole_delivery_id` of a message in fragments, because one fragment has failed.

    `failure` has the problem (`problem`, `detail`, `theirs`), the `number` of the fragment, and its `round`:
    how often the fragments of the message had been queued. The waiting deliveries of the other fragments are
    cancelled; those that are being sent end by themselves. If the fragments were queued again after the
    failure, or the message has ended, only the lease ends.
    """
    now = hub.clock()

    def fail_whole(conn: Connection) -> DeliveryRow | None:
        current = fragment_groups.is_current_round(conn, whole_delivery_id, failure["round"])
        failed = _fail_whole(conn, whole_delivery_id, failure, now) if current else None
        end_lease(conn)
        return failed

    failed = run_closing_commit(hub.engine, "fragments.failed", whole_delivery_id, now, fail_whole)
    if failed is not None:
        _log.error(
            "the delivery has FAILED: %s at fragment %d of its message",
            *(failure["problem"], failure["number"]),
            extra={
                "partner": failed.destination,
                "delivery": whole_delivery_id,
                "problem": failure["problem"],
            },
        )


def _fail_whole(
    conn: Connection, whole_delivery_id: int, failure: Mapping[str, Any], now: datetime
) -> DeliveryRow | None:
    """Fail the delivery of a message and return it; None where it waits for nothing any more."""
    detail = f"fragment {failure['number']}: {failure['detail']}"
    problem = GatewayError(PROBLEMS[failure["problem"]], detail, theirs=failure["theirs"])
    outcome = make_attempt_outcome(problem)
    if not delivery_maintenance.apply_receipt_or_error(conn, whole_delivery_id, now, _SPLIT_ACTOR, outcome):
        return None
    fragment_groups.end_sent_group(conn, whole_delivery_id, now, has_receipt=False)
    for row in fragment_groups.list_idle_deliveries(conn, whole_delivery_id):
        _cancel_delivery(conn, row, now)
    delivery = deliveries.find_by_id(conn, whole_delivery_id)
    assert delivery is not None  # it was settled
    record_delivery_failure(conn, delivery, failure["problem"], now, fragment=failure["number"])
    return delivery


def record_delivery_failure(
    conn: Connection, delivery: DeliveryLease | DeliveryRow, problem: str, at: datetime, **more: Any
) -> None:
    """Record for case and operator that a message of the hub was given up, and the id of its problem."""
    data = {"message_id": delivery.wire_id or "", "error": "DeliveryFailure", "problem": problem, **more}
    record_evidence(conn, "DeliveryFailure", "delivery", delivery.id, delivery.payload_sha256, data, at)
