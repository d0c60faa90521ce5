"""Converts a CPA into P-Modes: one for each action that a party sends (CPPA 2.0, CanSend).

The sender's channel decides reliability, signature and the way of answers; the receiver's channel gives the
endpoint, the certificate to encrypt for, and how long a message is remembered. Where CPPA has no element for
a term of a P-Mode, the binding may hold it in the namespace of the gateway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.agreements.cpa.channel_conversion import (
    BoundAction,
    ChannelUse,
    choose_endpoint,
    find_counterpart,
    find_signal_channel,
    list_bound_actions,
    make_encryption,
    make_packaging,
    make_reliability,
    make_security,
    make_transport,
    read_reply_pins,
)
from gateway.agreements.cpa.cpa_model import CpaDocument
from gateway.agreements.pmode import PMode, pmode_from_json, pmode_to_json
from gateway.agreements.pmode_values import (
    ANY_SIGNAL,
    AlternativeChannel,
    BusinessTerms,
    ConversationLimits,
    SignalChannel,
    TypedEndpoint,
    is_endpoint,
)
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.message_model import PartyId

_ACKNOWLEDGMENT: Final = "Acknowledgment"
_STATUS_REQUEST: Final = "StatusRequest"


def convert_cpa(document: CpaDocument) -> tuple[PMode, ...]:
    """Return the P-Modes of a CPA, in its order; raise GW313 for an action that no P-Mode can express."""
    return tuple(convert_action(action) for action in list_bound_actions(document))


def convert_action(action: BoundAction) -> PMode:
    """Return the P-Mode of one action; raise GW313 with its place."""
    position = action.binding.location
    try:
        pmode = _make_pmode(action)
        if action.receiving_binding.extension is not None:
            pmode = _apply_receiver_terms(pmode, action.receiving_binding.extension)
        terms = action.binding.extension
        return _apply_extension(pmode, terms) if terms is not None else pmode
    except GatewayError as refused:
        location = f"{action.document.name}:{position.line} {position.xpath}"
        detail = f"{refused.detail} ({refused.location})" if refused.location else refused.detail
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, location) from refused


def _make_pmode(action: BoundAction) -> PMode:
    document, binding = action.document, action.binding
    if document.start is None or document.end is None:
        raise GatewayError(AGREEMENT_UNWORKABLE, "the agreement has no period that can be computed")
    (ours, theirs), *others = action.list_channels()
    reply = find_signal_channel(action.sender, _ACKNOWLEDGMENT)
    reply_endpoint = _keep_url(choose_endpoint(reply.server, "allPurpose", "response", "request"))
    override = next(
        (
            binding_override
            for binding_override in action.sender.overrides
            if binding_override.action == _STATUS_REQUEST
        ),
        None,
    )
    status = find_signal_channel(action.sender, _STATUS_REQUEST).sender
    sign_status = override is not None and status is not None and status.non_repudiation is not None
    pmode = PMode(
        id=binding.id,
        agreement=document.id,
        from_party=tuple(PartyId(party_name.value, party_name.type) for party_name in action.sender.ids),
        from_role=action.role.role,
        to_party=tuple(PartyId(party_name.value, party_name.type) for party_name in action.receiver.ids),
        to_role=action.other_role.role,
        service=action.role.service,
        service_type=action.role.service_type,
        action=binding.action,
        valid_from=document.start,
        valid_until=document.end,
        security=make_security(action, ours, theirs, sign_status=sign_status),
        reliability=make_reliability(ours, theirs),
        sync_reply_mode=ours.channel.sync_reply_mode if ours.channel is not None else "none",
        endpoint=_keep_url(choose_endpoint(theirs.server, "request", "allPurpose")),
        reply_endpoint=reply_endpoint,
        channel=ours.channel.id if ours.channel is not None else None,
        encryption=make_encryption(action, ours, theirs),
        packaging=make_packaging(document, binding.package),
        transport=make_transport(ours, theirs),
        business=_make_business(action),
        conversations=ConversationLimits(document.invocation_limit, document.concurrent_conversations),
        endpoints=_list_typed_endpoints(theirs),
        alternatives=tuple(
            _make_alternative(sender_use, receiver_use) for sender_use, receiver_use in others
        ),
        answers=_find_answered(action),
        answered_by=_list_answers(action),
    )
    return replace(pmode, signals=_list_signal_channels(action, pmode))


def _keep_url(url: str | None) -> str | None:
    return url if url is not None and is_endpoint(url) else None


def _make_business(action: BoundAction) -> BusinessTerms:
    terms, context = action.binding.business, action.binding.context or {}
    return BusinessTerms(
        action.role.process,
        action.role.process_version,
        action.role.process_uri,
        bool(terms.authorization),
        bool(terms.intelligible_check),
        terms.time_to_acknowledge_receipt,
        terms.time_to_acknowledge_acceptance,
        terms.time_to_perform,
        terms.retry_count,
        context.get("binaryCollaboration"),
        context.get("businessTransactionActivity"),
        context.get("requestOrResponseAction"),
    )


def _list_typed_endpoints(receiver: ChannelUse) -> tuple[TypedEndpoint, ...]:
    """Return the endpoints of a receiver by kind, unless it has one for all purposes."""
    urls = receiver.server.endpoints if receiver.server is not None else ()
    typed = tuple(
        TypedEndpoint(endpoint.kind, endpoint.uri) for endpoint in urls if is_endpoint(endpoint.uri)
    )
    return () if len(typed) == 1 and typed[0].kind == "allPurpose" else typed


def _make_alternative(sender: ChannelUse, receiver: ChannelUse) -> AlternativeChannel:
    channel = sender.channel
    return AlternativeChannel(
        channel.id if channel is not None else "",
        _keep_url(choose_endpoint(receiver.server, "request", "allPurpose")),
        channel.sync_reply_mode if channel is not None else "none",
        make_reliability(sender, receiver),
    )


def _find_answered(action: BoundAction) -> str | None:
    """Return the P-Mode to whose message this action answers on the same connection."""
    if action.holder is None:
        return None
    question = find_counterpart(action.role, action.holder, action.receiver)
    return _name_binding(question[1].id, question[1].extension) if question is not None else None


def _list_answers(action: BoundAction) -> tuple[str, ...]:
    """Return the P-Modes of the responses that come back on the connection of this action."""
    answers = (find_counterpart(action.role, nested, action.receiver) for nested in action.binding.nested)
    return tuple(_name_binding(nested[1].id, nested[1].extension) for nested in answers if nested is not None)


def _name_binding(binding: str, extension: Mapping[str, str] | None) -> str:
    """Return the id of the P-Mode of a binding."""
    return str(_read_extension(extension).get("id", binding)) if extension is not None else binding


def _list_signal_channels(action: BoundAction, pmode: PMode) -> tuple[SignalChannel, ...]:
    """Return the channels of signals that differ from those that the P-Mode states itself."""
    channels = []
    # A StatusRequest on the default channel says only that it is signed.
    plain = (_STATUS_REQUEST, action.sender.default_channel)
    overridden = (
        override.action
        for override in action.sender.overrides
        if (override.action, override.channel) != plain
    )
    for name in (ANY_SIGNAL, *dict.fromkeys(overridden)):
        back = find_signal_channel(action.sender, name)
        channel = SignalChannel(
            name,
            _keep_url(choose_endpoint(back.server, "allPurpose", "response", "request")),
            back.channel.sync_reply_mode if back.channel is not None else "none",
            read_reply_pins(find_signal_channel(action.receiver, name)),
        )
        default = (pmode.reply_endpoint, pmode.sync_reply_mode)
        if name != ANY_SIGNAL or (channel.endpoint, channel.sync_reply_mode) != default:
            channels.append(channel)
    return tuple(channels)


def _read_extension(terms: Mapping[str, str]) -> dict[str, Any]:
    try:
        values = json.loads(terms.get("values", "{}"))
    except (ValueError, RecursionError) as mistake:
        raise GatewayError(
            AGREEMENT_UNWORKABLE, "the terms of the gateway are not JSON", "values"
        ) from mistake
    if not isinstance(values, dict):
        raise GatewayError(AGREEMENT_UNWORKABLE, "the terms of the gateway are no JSON object", "values")
    return values


def _apply_receiver_terms(pmode: PMode, terms: Mapping[str, str]) -> PMode:
    """Return the P-Mode with the application that the binding of its receiver names."""
    values = _read_extension(terms)
    if set(values) != {"deliver_to"}:
        detail = "the terms of the gateway in the binding of a receiver are deliver_to alone"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, "values")
    return pmode_from_json(pmode_to_json(pmode) | values)


def _apply_extension(pmode: PMode, terms: Mapping[str, str]) -> PMode:
    """Return the P-Mode with the terms that the document states in the namespace of the gateway."""
    values: dict[str, Any] = pmode_to_json(pmode)
    for name, value in _read_extension(terms).items():
        group = values.get(name)
        # Of a group of terms, only some may be stated.
        if isinstance(group, dict) and isinstance(value, dict):
            value = {**group, **value}
        values[name] = value
    return pmode_from_json(values)
