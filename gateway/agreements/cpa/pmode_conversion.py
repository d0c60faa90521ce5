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
    find_signer_pins,
    list_bound_actions,
    make_encryption,
    make_packaging,
    make_reliability,
    make_security,
    make_transport,
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
    binding_place = action.binding.location
    try:
        pmode = _make_pmode(action)
        if action.receiving_binding.extension is not None:
            pmode = _apply_receiver_terms(pmode, action.receiving_binding.extension)
        extension = action.binding.extension
        return _apply_extension(pmode, extension) if extension is not None else pmode
    except GatewayError as refused:
        location = f"{action.document.file_name}:{binding_place.line} {binding_place.xpath}"
        detail = f"{refused.detail} ({refused.location})" if refused.location else refused.detail
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, location) from refused


def _make_pmode(action: BoundAction) -> PMode:
    """Return the P-Mode of an action that is bound on both sides; raise GW313 if the CPA has no period.

    A URL that is not valid is left out.
    """
    document, binding = action.document, action.binding
    if document.start is None or document.end is None:
        raise GatewayError(AGREEMENT_UNWORKABLE, "the agreement has no period that can be computed")
    (sender_channel, receiver_channel), *alternative_uses = action.list_channels()
    signal_use = find_signal_channel(action.sender, _ACKNOWLEDGMENT)
    reply_endpoint = _drop_invalid_url(
        choose_endpoint(signal_use.server, "allPurpose", "response", "request")
    )
    status_override = next(
        (
            binding_override
            for binding_override in action.sender.signal_overrides
            if binding_override.action == _STATUS_REQUEST
        ),
        None,
    )
    status_binding = find_signal_channel(action.sender, _STATUS_REQUEST).sender
    sign_status = (
        status_override is not None
        and status_binding is not None
        and status_binding.non_repudiation is not None
    )
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
        security=make_security(action, sender_channel, receiver_channel, sign_status=sign_status),
        reliability=make_reliability(sender_channel, receiver_channel),
        sync_reply_mode=sender_channel.channel.sync_reply_mode
        if sender_channel.channel is not None
        else "none",
        endpoint=_drop_invalid_url(choose_endpoint(receiver_channel.server, "request", "allPurpose")),
        reply_endpoint=reply_endpoint,
        channel=sender_channel.channel.id if sender_channel.channel is not None else None,
        encryption=make_encryption(action, sender_channel, receiver_channel),
        packaging=make_packaging(document, binding.package),
        transport=make_transport(sender_channel, receiver_channel),
        business=_make_business(action),
        conversations=ConversationLimits(document.invocation_limit, document.concurrent_conversations),
        endpoints=_list_typed_endpoints(receiver_channel),
        alternatives=tuple(
            _make_alternative(sender_use, receiver_use) for sender_use, receiver_use in alternative_uses
        ),
        answers=_find_answered_pmode(action),
        answered_by=_list_response_pmodes(action),
    )
    return replace(pmode, signals=_list_signal_channels(action, pmode))


def _drop_invalid_url(url: str | None) -> str | None:
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
    endpoints = receiver.server.endpoints if receiver.server is not None else ()
    typed_endpoints = tuple(
        TypedEndpoint(endpoint.kind, endpoint.uri) for endpoint in endpoints if is_endpoint(endpoint.uri)
    )
    return () if len(typed_endpoints) == 1 and typed_endpoints[0].kind == "allPurpose" else typed_endpoints


def _make_alternative(sender: ChannelUse, receiver: ChannelUse) -> AlternativeChannel:
    """Return a further channel of an action, with its endpoint (None if not valid) and its reliability."""
    channel = sender.channel
    return AlternativeChannel(
        channel.id if channel is not None else "",
        _drop_invalid_url(choose_endpoint(receiver.server, "request", "allPurpose")),
        channel.sync_reply_mode if channel is not None else "none",
        make_reliability(sender, receiver),
    )


def _find_answered_pmode(action: BoundAction) -> str | None:
    """Return the P-Mode to whose message this action answers on the same connection."""
    if action.parent_binding is None:
        return None
    request = find_counterpart(action.role, action.parent_binding, action.receiver)
    return _get_pmode_id(request[1].id, request[1].extension) if request is not None else None


def _list_response_pmodes(action: BoundAction) -> tuple[str, ...]:
    """Return the P-Modes of the responses that come back on the connection of this action."""
    counterparts = (
        find_counterpart(action.role, nested, action.receiver) for nested in action.binding.nested_bindings
    )
    return tuple(
        _get_pmode_id(nested[1].id, nested[1].extension) for nested in counterparts if nested is not None
    )


def _get_pmode_id(binding_id: str, extension: Mapping[str, str] | None) -> str:
    """Return the id of the P-Mode of a binding."""
    return str(_read_extension(extension).get("id", binding_id)) if extension is not None else binding_id


def _list_signal_channels(action: BoundAction, pmode: PMode) -> tuple[SignalChannel, ...]:
    """Return the channels of signals that differ from those that the P-Mode states itself."""
    channels = []
    # An override of StatusRequest with the default channel only says that it is signed: no other channel.
    plain_override = (_STATUS_REQUEST, action.sender.default_channel_id)
    overridden_signals = (
        override.action
        for override in action.sender.signal_overrides
        if (override.action, override.channel_id) != plain_override
    )
    for signal_name in (ANY_SIGNAL, *dict.fromkeys(overridden_signals)):
        signal_use = find_signal_channel(action.sender, signal_name)
        signal_channel = SignalChannel(
            signal_name,
            _drop_invalid_url(choose_endpoint(signal_use.server, "allPurpose", "response", "request")),
            signal_use.channel.sync_reply_mode if signal_use.channel is not None else "none",
            find_signer_pins(find_signal_channel(action.receiver, signal_name)),
        )
        pmode_terms = (pmode.reply_endpoint, pmode.sync_reply_mode)
        if (
            signal_name != ANY_SIGNAL
            or (signal_channel.endpoint, signal_channel.sync_reply_mode) != pmode_terms
        ):
            channels.append(signal_channel)
    return tuple(channels)


def _read_extension(extension: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object in ``values`` of the gateway's own terms; raise GW313 for another text."""
    try:
        values = json.loads(extension.get("values", "{}"))
    except (ValueError, RecursionError) as mistake:
        raise GatewayError(
            AGREEMENT_UNWORKABLE, "the terms of the gateway are not JSON", "values"
        ) from mistake
    if not isinstance(values, dict):
        raise GatewayError(AGREEMENT_UNWORKABLE, "the terms of the gateway are no JSON object", "values")
    return values


def _apply_receiver_terms(pmode: PMode, extension: Mapping[str, str]) -> PMode:
    """Return the P-Mode with the hub's application (``deliver_to``) that the receiver's binding names."""
    values = _read_extension(extension)
    if set(values) != {"deliver_to"}:
        detail = "the terms of the gateway in the binding of a receiver may be only deliver_to"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, "values")
    return pmode_from_json(pmode_to_json(pmode) | values)


def _apply_extension(pmode: PMode, extension: Mapping[str, str]) -> PMode:
    """Return the P-Mode with the terms that the document states in the namespace of the gateway."""
    values: dict[str, Any] = pmode_to_json(pmode)
    for term_name, term_value in _read_extension(extension).items():
        group = values.get(term_name)
        # The extension may state only some terms of a group: the others stay.
        if isinstance(group, dict) and isinstance(term_value, dict):
            term_value = {**group, **term_value}
        values[term_name] = term_value
    return pmode_from_json(values)
