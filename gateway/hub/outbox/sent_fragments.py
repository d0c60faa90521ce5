"""Seals a large message to a partner in fragments (ebMS 3.0 part 2 §4.3.1), and stores them with it.

Every fragment is sealed once, before the transaction that stores the whole: so each is sent with the same
octets, however often. Large ones are put into the object store as soon as they are sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.agreements import PMode, SplittingTerms
from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.hub.outbox.pull_lanes import get_pull_seconds
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext, SplitPlan, choose_split_terms
from gateway.store import (
    DeliveryLease,
    NewMessage,
    StateEvent,
    deliveries,
    keep_body,
    messages,
    payloads,
    sent_groups,
)

__all__ = ["SealedSplit", "end_failed_fragment", "seal_split", "store_fragments"]

_ACTOR: Final = "msh"
#: A message has somewhat more octets than agreed of its parts.
_AROUND: Final = 16 * 1024**2


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

    def get_wait(self, pmode: PMode) -> int:
        """Return the seconds in which the receipt of the whole must come.

        The first fragment is sent for its time, and the receiver joins them within JoinInterval.
        """
        first = pmode.reliability.sending_limit if pmode.pull is None else get_pull_seconds(pmode)
        return first + self.terms.join_interval

    def get_fragment_wait(self, pmode: PMode) -> int:
        """Return for how many seconds fragments are posted, or wait to be pulled.

        Many large fragments go one after another: the last one is begun when the repeats of the first
        would be over. Each has the agreed attempts, while its message waits.
        """
        return self.get_wait(pmode) if pmode.pull is None else get_pull_seconds(pmode)


def seal_split(hub: Hub, unit: UserMessage, pmode: PMode, context: ProtocolContext) -> SealedSplit | None:
    """Return a message sealed in fragments; None where that is not agreed, or where it fits into one.

    A message whose receipt cannot be posted to us goes whole: nobody would know whether it was joined
    (part 2 §4.4.2, eDelivery AS4 1.15 §1.5.6.6). Raises GW102 for a message that is larger than agreed.
    """
    terms, core = pmode.splitting, PROTOCOLS[pmode.protocol]
    if terms is None or pmode.reply_endpoint is None:
        return None
    source = core.seal_source(unit, pmode)
    wanted = choose_split_terms(source.body.octet_count, terms)
    if wanted is None:
        return None
    source = Parcel(source.headers, keep_body(hub.engine, source.body))
    plan = core.plan_split(source, wanted, replace(context.limits, body=terms.message_size + _AROUND))
    if plan.terms.compressed:
        plan = replace(plan, octets=keep_body(hub.engine, plan.octets))
    numbers = range(1, plan.fragment_count + 1)
    return SealedSplit(source, tuple(_seal_one(hub, plan, one, pmode, context) for one in numbers), terms)


def _seal_one(
    hub: Hub, plan: SplitPlan, number: int, pmode: PMode, context: ProtocolContext
) -> SealedFragment:
    core = PROTOCOLS[pmode.protocol]
    sealed = core.seal_agreed_fragment(plan, number, pmode, context)
    parcel = Parcel(sealed.headers, keep_body(hub.engine, sealed.body))
    sent = sealed.sent or core.read_sent_header(parcel, context.limits)
    return SealedFragment(sent.unit.message_id, parcel)


def store_fragments(
    conn: Connection, split: SealedSplit, whole: tuple[int, int], row: NewMessage, now: datetime
) -> None:
    """Store the fragments of a message beside it; `whole` is its delivery and its row, `row` what it is."""
    delivery, message = whole
    stored = [_store_one(conn, number, one, row, now) for number, one in enumerate(split.fragments, start=1)]
    sent_groups.insert_group(conn, delivery, message, stored, now)


def _store_one(
    conn: Connection, number: int, fragment: SealedFragment, whole: NewMessage, now: datetime
) -> int:
    content = fragment.parcel.get_octets()
    identity = payloads.store_payload(conn, content, now)
    # Without the case: what applicants and operators read of that is the whole message.
    row = replace(
        whole,
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
    messages.apply_event(conn, stored, StateEvent("process", now, _ACTOR))
    data = {"message_id": fragment.message_id, "group": whole.message_id, "number": number}
    record_evidence(conn, "NRS", "message", stored, identity, data, now)
    return stored


def end_failed_fragment(
    conn: Connection, delivery: DeliveryLease | Row[Any], problem: GatewayError, now: datetime
) -> None:
    """Cancel a fragment that has failed, and queue the task that fails its whole message.

    Called in the transaction in which it fails. An operator repeats the whole message.
    """
    place = delivery.parameters["fragment"]
    deliveries.give_up_delivery(conn, delivery.id, now, _ACTOR, "its message fails")
    said = {
        "problem": problem.problem.id,
        "detail": problem.detail[:500],
        "theirs": (problem.theirs or "")[:500],
        "number": place["number"],
        "round": place["round"],
    }
    key = f"fragment-failed:{delivery.id}"
    enqueue_task(conn, "fail_split", ("delivery", place["whole"]), key, now, said=said)
