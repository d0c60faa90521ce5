"""Rules on delivery channels: answers, acknowledgments, duplicates, repeats, order, signals."""

from __future__ import annotations

from typing import Final

from gateway.agreements.cpa.channel_conversion import (
    BoundAction,
    ChannelUse,
    choose_endpoint,
    find_signal_channel,
)
from gateway.agreements.cpa.cpa_model import CpaParty, DocumentBinding, TransportSide
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Findings, cite_rule, quote_name
from gateway.agreements.pmode_values import find_endpoint_fault, is_endpoint
from gateway.pki import Certificate

_SIGNALS: Final = (*("Acknowledgment", "MessageError", "StatusRequest", "StatusResponse", "Ping", "Pong"),)
_MAX_RETRIES: Final = 10_000
_MAX_SECONDS: Final = 366 * 24 * 3600


def _find_several_channels(view: CpaView) -> Findings:
    """Yield a finding for each binding with several channels, of which only the first over HTTP is used."""
    for action, *channel_uses in view.list_channel_uses():
        for binding, use in zip((action.binding, action.receiving_binding), channel_uses, strict=True):
            if len(binding.channel_ids) > 1 and use.channel is not None:
                names = ", ".join(quote_name(channel_id) for channel_id in binding.channel_ids)
                text = f"{quote_name(binding.action)} has the channels {names}: {quote_name(use.channel.id)} "
                text += "is used, the first over HTTP; the others stand by"
                yield cite_rule("channels-several", binding.location, text)


def _find_different_channels(view: CpaView) -> Findings:
    """Yield findings where the channels of sender and receiver differ in their messaging characteristics."""
    for action, sender_use, receiver_use in view.list_channel_uses():
        sender_channel, receiver_channel = sender_use.channel, receiver_use.channel
        if sender_channel is None or receiver_channel is None:
            continue
        name = quote_name(action.binding.action)
        subject = f"{name}: the channel of the sender says "
        if sender_channel.sync_reply_mode != receiver_channel.sync_reply_mode:
            text = f"{subject}syncReplyMode {sender_channel.sync_reply_mode}, "
            text += f"that of the receiver {receiver_channel.sync_reply_mode}"
            yield cite_rule("sync-different", sender_channel.location, text)
        sent_acks = (sender_channel.ack_requested, sender_channel.ack_signature_requested)
        received_acks = (receiver_channel.ack_requested, receiver_channel.ack_signature_requested)
        if sent_acks != received_acks:
            text = f"{subject}ackRequested {sent_acks[0]} and ackSignatureRequested {sent_acks[1]}, "
            text += f"that of the receiver {received_acks[0]} and {received_acks[1]}"
            yield cite_rule("ack-different", sender_channel.location, text)
        if sender_channel.duplicate_elimination != receiver_channel.duplicate_elimination:
            text = f"{subject}duplicateElimination {sender_channel.duplicate_elimination}, "
            text += f"that of the receiver {receiver_channel.duplicate_elimination}"
            yield cite_rule("elimination-different", sender_channel.location, text)


def _find_ack_problems(view: CpaView) -> Findings:
    """Yield findings on each action whose acknowledgment terms contradict each other or cannot be met."""
    for action, sender_use, _ in view.list_channel_uses():
        channel, business = sender_use.channel, action.binding.business
        if channel is None:
            continue
        name = quote_name(action.binding.action)
        ack_requested, ack_signature_requested = channel.ack_requested, channel.ack_signature_requested
        if ack_requested == "always" and channel.sync_reply_mode == "responseOnly":
            text = f"{name} is always acknowledged, and responseOnly has no room for the acknowledgment"
            yield cite_rule("sync-against-acks", channel.location, text)
        if ack_signature_requested == "always" and ack_requested == "never":
            text = "signed acknowledgments are always requested, acknowledgments never"
            yield cite_rule("ack-signature-alone", channel.location, text)
        if ack_signature_requested == "always" and ack_requested != "never" and not _can_sign_acks(action):
            text = f"party {quote_name(action.receiver.name)} has no certificate to sign acknowledgments with"
            yield cite_rule("ack-signature-impossible", channel.location, text)
        if business.non_repudiation_receipt and (
            ack_requested == "never" or ack_signature_requested == "never"
        ):
            text = f"{name} wants non-repudiation of receipt, and no signed acknowledgment is requested"
            yield cite_rule("receipt-unrequested", business.location, text)
        if channel.actor is not None and channel.actor.endswith("nextMSH"):
            text = f"acknowledgments of {name} are requested of the next MSH"
            yield cite_rule("actor-next", channel.location, text)


def _can_sign_acks(action: BoundAction) -> bool:
    sides = (
        find_signal_channel(action.receiver, "Acknowledgment"),
        *(receiver_use for _, receiver_use in action.list_channels()),
    )
    return any(side.signature is not None for side in sides)


def _find_signal_problems(view: CpaView) -> Findings:
    """Yield findings on signals that are to be acknowledged, and on wrong or repeated signal overrides."""
    for party in view.document.parties:
        default_channel = party.channels.get(party.default_channel_id)
        if default_channel is not None and default_channel.ack_requested == "always":
            text = f"signals of party {quote_name(party.name)} are to be acknowledged, which no signal is"
            yield cite_rule("signals-acknowledged", default_channel.location, text)
        seen_names: set[str] = set()
        for override in party.signal_overrides:
            if override.action not in _SIGNALS:
                text = f"{quote_name(override.action)} is no signal; those are {', '.join(_SIGNALS)}"
                yield cite_rule("override-unknown", override.location, text)
            if override.action in seen_names:
                text = f"{quote_name(override.action)} has a channel already"
                yield cite_rule("override-repeated", override.location, text)
            seen_names.add(override.action)


def _find_retry_problems(view: CpaView) -> Findings:
    """Yield findings on actions whose retries do not fit acknowledgments and duplicate elimination."""
    for action, sender_use, receiver_use in view.list_channel_uses():
        sender, channel = sender_use.sender, sender_use.channel
        if sender is None or channel is None:
            continue
        name, retries = quote_name(action.binding.action), sender.retries or 0
        if retries > 0 and channel.ack_requested == "never":
            text = f"{name} is repeated {retries} times at most, and never acknowledged: nothing is repeated"
            yield cite_rule("retries-unacknowledged", sender.location, text)
        if retries > 0 and channel.duplicate_elimination == "never" and channel.ack_requested != "never":
            text = f"{name} is repeated, and duplicates are not eliminated: a repeat has a second effect"
            yield cite_rule("retries-uneliminated", sender.location, text)
        if channel.ack_requested == "always" and not sender.is_reliable:
            text = f"{name} is always acknowledged, and nothing says how often it is repeated"
            yield cite_rule("ack-unrepeated", sender.location, text)
        if channel.ack_requested != "never":
            yield from _check_persistence(name, sender, receiver_use)


def _check_persistence(name: str, sender: DocumentBinding, receiver_use: ChannelUse) -> Findings:
    """Yield findings if the receiver of `name` remembers it for less than all retries, or has other terms."""
    receiver = receiver_use.receiver
    if receiver is None:
        return
    persist_duration, repeat_seconds = (
        receiver.persist_duration,
        ((sender.retries or 0) + 1) * (sender.retry_interval or 0),
    )
    if persist_duration is not None and sender.retries and 0 <= persist_duration < repeat_seconds:
        text = (
            f"{name} may be repeated for {repeat_seconds} seconds, and is remembered for {persist_duration}"
        )
        yield cite_rule("persist-short", receiver.location, text)
    sent_terms = (sender.retries, sender.retry_interval, sender.is_ordered)
    received_terms = (receiver.retries, receiver.retry_interval, receiver.is_ordered)
    if sender.is_reliable and receiver.is_reliable and sent_terms != received_terms:
        text = f"sender and receiver of {name} have different ReliableMessaging: that of the sender counts"
        yield cite_rule("reliability-different", receiver.location, text)


def _find_number_problems(view: CpaView) -> Findings:
    for binding in view.document.list_document_bindings():
        yield from _check_numbers(binding)


def _check_numbers(binding: DocumentBinding) -> Findings:
    """Yield findings on retries, interval and duration of a binding that are out of range or incomplete."""
    retry_interval, persist_duration = binding.retry_interval, binding.persist_duration
    has_retries = binding.retries is not None and binding.retries > 0
    wrong_terms = [
        text
        for text, is_wrong in (
            (
                f"Retries {binding.retries}",
                binding.retries is not None and not 0 <= binding.retries <= _MAX_RETRIES,
            ),
            (
                f"RetryInterval {retry_interval} seconds",
                retry_interval is not None and not 0 <= retry_interval <= _MAX_SECONDS,
            ),
            (f"RetryInterval {retry_interval} seconds", retry_interval == 0 and has_retries),
            (
                f"PersistDuration {persist_duration} seconds",
                persist_duration is not None and not 0 <= persist_duration <= _MAX_SECONDS,
            ),
        )
        if is_wrong
    ]
    for text in wrong_terms:
        detail = f"{text}: at most {_MAX_RETRIES} repeats and 366 days, and no repeat at once"
        yield cite_rule("retries-range", binding.location, detail)
    if binding.is_reliable and (binding.retries is None) != (retry_interval is None) and binding.retries != 0:
        stated_term, missing_term = (
            ("Retries", "RetryInterval") if retry_interval is None else ("RetryInterval", "Retries")
        )
        yield cite_rule(
            "retries-untimed",
            binding.location,
            f"{stated_term} is agreed, {missing_term} is not: the hub has its own",
        )


def _find_order_problems(view: CpaView) -> Findings:
    """Yield findings on each action with a guaranteed order that lacks a term which the order needs."""
    for action, sender_use, _ in view.list_channel_uses():
        channel = sender_use.channel
        if channel is None or sender_use.sender is None or not sender_use.sender.is_ordered:
            continue
        location, name = sender_use.sender.location, quote_name(action.binding.action)
        for rule, text in _list_order_faults(channel.duplicate_elimination, channel.ack_requested):
            yield cite_rule(rule, location, f"the order of {name} is guaranteed, and {text}")
        if channel.sync_reply_mode != "none":
            text = f"the order of {name} is guaranteed, and it is answered on its connection"
            yield cite_rule("order-synchronous", location, text)


def _list_order_faults(duplicate_elimination: str, ack_requested: str) -> list[tuple[str, str]]:
    """Return the broken rule and its text for each of the two terms that is not ``always``."""
    faults = []
    if duplicate_elimination != "always":
        faults.append(("order-uneliminated", f"duplicateElimination is {duplicate_elimination}"))
    if ack_requested != "always":
        faults.append(("order-unacknowledged", f"ackRequested is {ack_requested}"))
    return faults


CHANNEL_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_several_channels,
    _find_different_channels,
    _find_ack_problems,
    _find_signal_problems,
    _find_retry_problems,
    _find_number_problems,
    _find_order_problems,
)


_OLD_TLS_VERSIONS: Final = {("tls", "1.0"), ("tls", "1.1"), ("tls", "1")}
_SCHEME_END: Final = "://"


def _find_receiver_problems(view: CpaView) -> Findings:
    """Yield findings on each action whose sender or receiver has no transport, and on their connections."""
    for action, sender_use, receiver_use in view.list_channel_uses():
        name = quote_name(action.binding.action)
        if (
            receiver_use.channel is not None
            and receiver_use.party.find_transport(receiver_use.channel) is not None
        ):
            if receiver_use.server is None:
                receiver_name = quote_name(receiver_use.party.name)
                text = f"party {receiver_name} receives {name}, and has no TransportReceiver"
                yield cite_rule("endpoint-missing", receiver_use.channel.location, text)
            else:
                yield from _check_connection(action, sender_use, receiver_use)
        if sender_use.channel is not None and sender_use.client is None and action.parent_binding is None:
            text = f"party {quote_name(sender_use.party.name)} sends {name}, and has no TransportSender"
            yield cite_rule("sender-missing", sender_use.channel.location, text)


def _check_connection(action: BoundAction, sender_use: ChannelUse, receiver_use: ChannelUse) -> Findings:
    """Yield findings if an http endpoint is to be protected, or if the client lacks a certificate."""
    server, client, business = receiver_use.server, sender_use.client, action.binding.business
    assert server is not None, "the caller has looked"
    url = choose_endpoint(server, "request", "allPurpose") or ""
    protections = {business.confidential, business.authenticated, business.tamper_proof}
    is_unencrypted = url.lower().startswith("http" + _SCHEME_END)
    if is_unencrypted and protections & {"transient", "transient-and-persistent"}:
        text = f"the connection of {quote_name(action.binding.action)} shall be protected; "
        text += f"{quote_name(url)} is open"
        yield cite_rule("transient-open", business.location, text)
    client_security = client.security if client is not None else None
    asks_certificate = server.security is not None and server.security.peer_security_id is not None
    if (
        asks_certificate
        and client is not None
        and (client_security is None or client_security.certificate_id is None)
    ):
        text = f"party {quote_name(receiver_use.party.name)} asks for a client certificate, and party "
        text += f"{quote_name(sender_use.party.name)} has none"
        yield cite_rule("client-certificate-missing", client.location, text)


def _find_endpoint_problems(view: CpaView) -> Findings:
    """Yield the findings on the endpoints of each receiver that is used or is HTTP."""
    for party in view.document.parties:
        used_transports = view.list_used_transports(party)
        for transport in party.transports.values():
            side = transport.receiver
            if side is not None and (transport.id in used_transports or _is_http(side)):
                yield from _check_endpoints(view, party, side)


def _check_endpoints(view: CpaView, party: CpaParty, side: TransportSide) -> Findings:
    """Yield findings on the endpoints and the TLS terms of one receiver of `party`."""
    kinds: set[str] = set()
    for endpoint in side.endpoints:
        if fault := find_endpoint_fault(endpoint.uri):
            text = f"{quote_name(endpoint.uri)} {fault}"
            yield cite_rule("endpoint-scheme", endpoint.location.find_attribute("uri"), text)
        if endpoint.kind in kinds:
            text = f"there is an endpoint of kind {endpoint.kind} already; this one is not used"
            yield cite_rule("endpoint-repeated", endpoint.location, text)
        kinds.add(endpoint.kind)
    if not kinds & {"request", "allPurpose"}:
        text = f"party {quote_name(party.name)} has no endpoint for requests or for all purposes"
        yield cite_rule("endpoint-purpose", side.location, text)
    yield from _check_server_security(view, party, side)


def _check_server_security(view: CpaView, party: CpaParty, side: TransportSide) -> Findings:
    """Yield findings where the URLs of a receiver do not fit its TLS terms or its certificate."""
    urls = [endpoint.uri for endpoint in side.endpoints if is_endpoint(endpoint.uri)]
    secure_urls = [url for url in urls if url.lower().startswith("https")]
    if secure_urls and side.security is None:
        text = f"{quote_name(secure_urls[0])} is https, and no TransportServerSecurity describes it"
        yield cite_rule("tls-undescribed", side.location, text)
    if side.security is None:
        return
    if urls and not secure_urls:
        text = f"TransportServerSecurity protects nothing: {quote_name(urls[0])} is http"
        yield cite_rule("tls-unused", side.security.location, text)
    certificate = view.find_certificate(party, side.security.certificate_id)
    for url in dict.fromkeys(secure_urls) if certificate is not None else ():
        host = url.partition(_SCHEME_END)[2].partition("/")[0].rpartition("@")[2]
        if certificate is not None and not _covers_host(certificate, host):
            text = (
                f"certificate {quote_name(side.security.certificate_id or '')} is not for {quote_name(host)}"
            )
            yield cite_rule("host-different", side.security.location, text)


def _covers_host(certificate: Certificate, host: str) -> bool:
    """Return whether a name of the certificate is the host, or its wildcard (RFC 9525 §6.3)."""
    host_name = host.lower().partition("]")[0].removeprefix("[") if host.startswith("[") else host.lower()
    host_name = host_name if host.startswith("[") else host_name.partition(":")[0]
    if host_name.replace(".", "").isdigit() or ":" in host_name:
        return True  # an address: the names of a certificate that are read here are names
    certificate_names = {name.partition(":")[2].lower() for name in certificate.alternative_names}
    if not any(name.startswith(("dns:", "ip:")) for name in certificate.alternative_names):
        parts = (part.strip() for part in certificate.subject.split(","))
        certificate_names |= {part[3:].lower() for part in parts if part.lower().startswith("cn=")}
    parent_domain = host_name.partition(".")[2]
    return host_name in certificate_names or (
        bool(parent_domain) and f"*.{parent_domain}" in certificate_names
    )


def _find_protocol_problems(view: CpaView) -> Findings:
    """Yield the findings on protocol, login and TLS version of each sender and receiver."""
    for party in view.document.parties:
        used_transports = view.list_used_transports(party)
        for transport in party.transports.values():
            for side in (transport.sender, transport.receiver):
                if side is not None:
                    yield from _check_protocols(side, is_used=transport.id in used_transports)


def _is_http(side: TransportSide) -> bool:
    return side.protocol.upper() in ("HTTP", "HTTPS")


def _check_protocols(side: TransportSide, *, is_used: bool) -> Findings:
    """Yield findings if a used side is not HTTP, names a login, or names a TLS version older than 1.2."""
    if is_used and not _is_http(side):
        text = f"transport protocol {quote_name(side.protocol)} is not HTTP"
        yield cite_rule("transport-protocol", side.location, text)
    if side.authentication and side.endpoints:
        text = f"{' or '.join(side.authentication)} authentication is wanted; a password is in the settings "
        text += "of the hub, never in an agreement"
        yield cite_rule("transport-login", side.location, text)
    security = side.security
    if security is not None:
        protocol, version = security.protocol.lower(), security.version or ""
        if protocol.startswith("ssl") or (protocol, version) in _OLD_TLS_VERSIONS:
            text = f"{quote_name(security.protocol)} {quote_name(version)} is older than TLS 1.2"
            yield cite_rule("tls-old", security.location, text)


def _find_same_endpoints(view: CpaView) -> Findings:
    """Yield a finding for each endpoint of the second party that the first party has, too."""
    first, second = view.document.parties
    urls = _list_urls(first)
    for transport in second.transports.values():
        for endpoint in transport.receiver.endpoints if transport.receiver is not None else ():
            if endpoint.uri in urls:
                text = f"both parties receive at {quote_name(endpoint.uri)}"
                yield cite_rule("endpoint-same", endpoint.location, text)


def _list_urls(party: CpaParty) -> set[str]:
    receivers = (
        transport.receiver for transport in party.transports.values() if transport.receiver is not None
    )
    return {endpoint.uri for receiver in receivers for endpoint in receiver.endpoints}


TRANSPORT_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_receiver_problems,
    _find_endpoint_problems,
    _find_protocol_problems,
    _find_same_endpoints,
)
