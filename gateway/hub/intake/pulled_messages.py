"""Answers a PullRequest with the oldest message that waits for the party, the octets that were sealed once.

The answer of a pull is lost as any other: the message waits for its receipt, and is there again when none
has come in time. A PullRequest counts once, whether it brought a message or not.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.errors import NOTHING_TO_PULL, OUR_MISTAKE, PULL_REPEATED, GatewayError
from gateway.hub.completion.signals import apply_signals
from gateway.hub.hub import Hub, ReceivedMessage
from gateway.hub.outbox.sent_fragments import cancel_unwanted_fragment
from gateway.hub.outbox.signal_outbox import OutgoingPost, can_post_answer, make_pull_lane, post_answer
from gateway.message_model import PullRequest
from gateway.protocols import PROTOCOLS, Parcel
from gateway.store import (
    DeliveryRow,
    HttpResponse,
    LargeResponse,
    back_channel,
    payloads,
    read_transaction,
    write_transaction,
)

#: Longer than the time of a request is accepted.
_REMEMBERED: Final = timedelta(minutes=15)


def answer_pull_request(arrival: ReceivedMessage, unit: PullRequest) -> HttpResponse:
    """Return the oldest message for the party that pulls, or the warning that there is none (EBMS:0006).

    Raises GW341 for a request that came before.
    """
    hub, context = arrival.hub, arrival.context
    if len(arrival.opened.units) > 1:
        # A message that a signal beside the request acknowledges makes room for the messages after it.
        apply_signals(hub, arrival.protocol, arrival.opened, context)
    with write_transaction(hub.engine, "pull.hand_out") as conn:
        hub.register.check_snapshot_current(conn, arrival.register_snapshot)
        row = _hand_out_message(conn, arrival, unit)
    if row is None:
        nothing = GatewayError(NOTHING_TO_PULL, "no message waits on this channel")
        signal = arrival.protocol.make_error_signal(nothing, unit, context)
        if signal is None:
            raise nothing
        sealed = arrival.protocol.seal((signal,), arrival.opened.pmode, context)
        return HttpResponse(200, dict(sealed.headers), sealed.read_octets())
    headers = dict(row.parameters["headers"])
    with read_transaction(hub.engine) as conn:
        content = payloads.open_payload(conn, row.payload_sha256 or "")
    if isinstance(content, bytes):
        return HttpResponse(200, headers, content)
    return LargeResponse(200, headers, b"", content)


def _hand_out_message(conn: Connection, arrival: ReceivedMessage, unit: PullRequest) -> DeliveryRow | None:
    """Take the next message that waits for a PullRequest, and return its delivery; None if none waits.

    Raises GW341 for a PullRequest, or a login, that came before. Fragments not wanted any more are cancelled.
    """
    context, pmode = arrival.context, arrival.opened.pmode
    if pmode is None:
        raise GatewayError(OUR_MISTAKE, "a PullRequest without P-Mode")
    party, now = context.get_party_name(unit.sender), context.now
    seen = hashlib.sha256(f"{party} {unit.message_id}".encode()).hexdigest()
    if not back_channel.record_pull_request(conn, seen, now, now - _REMEMBERED):
        location = "//eb3:MessageInfo/eb3:MessageId"
        raise GatewayError(PULL_REPEATED, "a PullRequest with this MessageId came before", location)
    if unit.login_digest and not back_channel.record_pull_request(
        conn, unit.login_digest, now, now - _REMEMBERED
    ):
        raise GatewayError(PULL_REPEATED, "this login came before", "//wsse:UsernameToken")
    lane = make_pull_lane(party, pmode)
    while (row := back_channel.find_waiting_message(conn, lane, now)) is not None:
        # The message of a fragment may have its receipt meanwhile, or have failed.
        if not cancel_unwanted_fragment(conn, row, now):
            back_channel.hand_out_message(conn, row, now, "pull")
            return row
    return None


def refuse_pulled_message(hub: Hub, problem: GatewayError, parcel: Parcel, pmode: PMode) -> None:
    """Post the error about a message that the hub pulled and refuses, once for each message.

    Nothing is posted about a parcel that is no message or has no message id, nor about faults of the hub
    itself.
    """
    context, protocol = hub.make_protocol_context(hub.get_snapshot()), PROTOCOLS[pmode.protocol]
    if problem.problem.ours or problem.problem.retry or pmode.reply_endpoint is None:
        return
    signal = protocol.make_error_signal(problem, parcel, context)
    if signal is None or not can_post_answer(hub, pmode.reply_endpoint, context.now):
        return
    addressed = replace(signal, sender=pmode.receiver, receiver=pmode.sender)
    sealed = protocol.seal((addressed,), pmode, context)
    partner, message_id = context.get_party_name(pmode.sender), signal.ref_to_message_id or ""
    # The key is a column of an index, in which name and id of others may not have room together.
    key = f"pull-refused:{hashlib.sha256(f'{partner} {message_id}'.encode()).hexdigest()}"
    post = OutgoingPost(pmode.reply_endpoint, partner, key, message_id[:200])
    with write_transaction(hub.engine, "pull.refused") as conn:
        post_answer(conn, post, HttpResponse(200, dict(sealed.headers), sealed.read_octets()), context.now)
