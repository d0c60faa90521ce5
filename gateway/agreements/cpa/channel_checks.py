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
_MOST_RETRIES: Final = 10_000
_LONGEST: Final = 366 * 24 * 3600


def _find_several_channels(view: CpaView) -> Findings:
    for action, *used in view.list_uses():
        for binding, use in zip((action.binding, action.receiving_binding), used, strict=True):
            if len(binding.channels) > 1 and use.channel is not None:
                names = ", ".join(quote_name(channel_id) for channel_id in binding.channels)
                text = f"{quote_name(binding.action)} has the channels {names}: {quote_name(use.channel.id)} "
                text += "is used, the first over HTTP; the others stand by"
                yield cite_rule("channels-several", binding.location, text)


def _find_different_channels(view: CpaView) -> Findings:
    for action, ours, theirs in view.list_uses():
        sender_channel, receiver_channel = ours.channel, theirs.channel
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
    for action, ours, _ in view.list_uses():
        channel, business = ours.channel, action.binding.business
        if channel is None:
            continue
        name = quote_name(action.binding.action)
        requested, signed = channel.ack_requested, channel.ack_signature_requested
        if requested == "always" and channel.sync_reply_mode == "responseOnly":
            text = f"{name} is always acknowledged, and responseOnly has no room for the acknowledgment"
            yield cite_rule("sync-against-acks", channel.location, text)
        if signed == "always" and requested == "never":
            text = "signed acknowledgments are always requested, acknowledgments never"
            yield cite_rule("ack-signature-alone", channel.location, text)
        if signed == "always" and requested != "never" and not _can_sign_acks(action):
            text = f"party {quote_name(action.receiver.name)} has no certificate to sign acknowledgments with"
            yield cite_rule("ack-signature-impossible", channel.location, text)
        if business.non_repudiation_receipt and (requested == "never" or signed == "never"):
            text = f"{name} wants non-repudiation of receipt, and no signed acknowledgment is requested"
            yield cite_rule("receipt-unrequested", business.location, text)
        if channel.actor is not None and channel.actor.endswith("nextMSH"):
            text = f"acknowledgments of {name} are requested of the next MSH"
            yield cite_rule("actor-next", channel.location, text)


def _can_sign_acks(action: BoundAction) -> bool:
    sides = (
        find_signal_channel(action.receiver, "Acknowledgment"),
        *(theirs for _, theirs in action.list_channels()),
    )
    return any(side.signature is not None for side in sides)


def _find_signal_problems(view: CpaView) -> Findings:
    for party in view.document.parties:
        default = party.channels.get(party.default_channel)
        if default is not None and default.ack_requested == "always":
            text = f"signals of party {quote_name(party.name)} are to be acknowledged, which no signal is"
            yield cite_rule("signals-acknowledged", default.location, text)
        seen: set[str] = set()
        for override in party.overrides:
            if override.action not in _SIGNALS:
                text = f"{quote_name(override.action)} is no signal; those are {', '.join(_SIGNALS)}"
                yield cite_rule("override-unknown", override.location, text)
            if override.action in seen:
                text = f"{quote_name(override.action)} has a channel already"
                yield cite_rule("override-repeated", override.location, text)
            seen.add(override.action)


def _find_retry_problems(view: CpaView) -> Findings:
    for action, ours, theirs in view.list_uses():
        sender, channel = ours.sender, ours.channel
        if sender is None or channel is None:
            continue
        name, retries = quote_name(action.binding.action), sender.retries or 0
        if retries > 0 and channel.ack_requested == "never":
            text = f"{name} is repeated {retries} times at most, and never acknowledged: nothing is repeated"
            yield cite_rule("retries-unacknowledged", sender.location, text)
        if retries > 0 and channel.duplicate_elimination == "never" and channel.ack_requested != "never":
            text = f"{name} is repeated, and duplicates are not eliminated: a repeat has a second effect"
            yield cite_rule("retries-uneliminated", sender.location, text)
        if channel.ack_requested == "always" and not sender.reliable:
            text = f"{name} is always acknowledged, and nothing says how often it is repeated"
            yield cite_rule("ack-unrepeated", sender.location, text)
        if channel.ack_requested != "never":
            yield from _judge_memory(name, sender, theirs)


def _judge_memory(name: str, sender: DocumentBinding, theirs: ChannelUse) -> Findings:
    receiver = theirs.receiver
    if receiver is None:
        return
    remembered, last = receiver.persist_duration, ((sender.retries or 0) + 1) * (sender.retry_interval or 0)
    if remembered is not None and sender.retries and 0 <= remembered < last:
        text = f"{name} may be repeated for {last} seconds, and is remembered for {remembered}"
        yield cite_rule("persist-short", receiver.location, text)
    sent_terms = (sender.retries, sender.retry_interval, sender.ordered)
    received_terms = (receiver.retries, receiver.retry_interval, receiver.ordered)
    if sender.reliable and receiver.reliable and sent_terms != received_terms:
        text = f"sender and receiver of {name} have different ReliableMessaging: that of the sender counts"
        yield cite_rule("reliability-different", receiver.location, text)


def _find_wrong_numbers(view: CpaView) -> Findings:
    for binding in view.document.list_document_bindings():
        yield from _judge_numbers(binding)


def _judge_numbers(binding: DocumentBinding) -> Findings:
    interval, persist = binding.retry_interval, binding.persist_duration
    repeats = binding.retries is not None and binding.retries > 0
    wrong = [
        text
        for text, is_wrong in (
            (
                f"Retries {binding.retries}",
                binding.retries is not None and not 0 <= binding.retries <= _MOST_RETRIES,
            ),
            (f"RetryInterval {interval} seconds", interval is not None and not 0 <= interval <= _LONGEST),
            (f"RetryInterval {interval} seconds", interval == 0 and repeats),
            (f"PersistDuration {persist} seconds", persist is not None and not 0 <= persist <= _LONGEST),
        )
        if is_wrong
    ]
    for text in wrong:
        detail = f"{text}: at most {_MOST_RETRIES} repeats and 366 days, and no repeat at once"
        yield cite_rule("retries-range", binding.location, detail)
    if binding.reliable and (binding.retries is None) != (interval is None) and binding.retries != 0:
        stated_term, missing_term = (
            ("Retries", "RetryInterval") if interval is None else ("RetryInterval", "Retries")
        )
        yield cite_rule(
            "retries-untimed",
            binding.location,
            f"{stated_term} is agreed, {missing_term} is not: the hub has its own",
        )


def _find_order_problems(view: CpaView) -> Findings:
    for action, ours, _ in view.list_uses():
        channel = ours.channel
        if channel is None or ours.sender is None or not ours.sender.ordered:
            continue
        location, name = ours.sender.location, quote_name(action.binding.action)
        for rule, text in _list_order_faults(channel.duplicate_elimination, channel.ack_requested):
            yield cite_rule(rule, location, f"the order of {name} is guaranteed, and {text}")
        if channel.sync_reply_mode != "none":
            text = f"the order of {name} is guaranteed, and it is answered on its connection"
            yield cite_rule("order-synchronous", location, text)


def _list_order_faults(elimination: str, acks: str) -> list[tuple[str, str]]:
    faults = []
    if elimination != "always":
        faults.append(("order-uneliminated", f"duplicateElimination is {elimination}"))
    if acks != "always":
        faults.append(("order-unacknowledged", f"ackRequested is {acks}"))
    return faults


CHANNEL_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_several_channels,
    _find_different_channels,
    _find_ack_problems,
    _find_signal_problems,
    _find_retry_problems,
    _find_wrong_numbers,
    _find_order_problems,
)


_OLD: Final = {("tls", "1.0"), ("tls", "1.1"), ("tls", "1")}
_SCHEME_END: Final = "://"


def _find_receiver_problems(view: CpaView) -> Findings:
    for action, ours, theirs in view.list_uses():
        name = quote_name(action.binding.action)
        if theirs.channel is not None and theirs.party.find_transport(theirs.channel) is not None:
            if theirs.server is None:
                text = f"party {quote_name(theirs.party.name)} receives {name}, and has no TransportReceiver"
                yield cite_rule("endpoint-missing", theirs.channel.location, text)
            else:
                yield from _judge_connection(action, ours, theirs)
        if ours.channel is not None and ours.client is None and action.holder is None:
            text = f"party {quote_name(ours.party.name)} sends {name}, and has no TransportSender"
            yield cite_rule("sender-missing", ours.channel.location, text)


def _judge_connection(action: BoundAction, ours: ChannelUse, theirs: ChannelUse) -> Findings:
    server, client, business = theirs.server, ours.client, action.binding.business
    assert server is not None, "the caller has looked"
    url = choose_endpoint(server, "request", "allPurpose") or ""
    protections = {business.confidential, business.authenticated, business.tamper_proof}
    is_open = url.lower().startswith("http" + _SCHEME_END)
    if is_open and protections & {"transient", "transient-and-persistent"}:
        text = f"the connection of {quote_name(action.binding.action)} shall be protected; "
        text += f"{quote_name(url)} is open"
        yield cite_rule("transient-open", business.location, text)
    secured = client.security if client is not None else None
    asks_certificate = server.security is not None and server.security.peer_security is not None
    if asks_certificate and client is not None and (secured is None or secured.certificate is None):
        text = f"party {quote_name(theirs.party.name)} asks for a client certificate, and party "
        text += f"{quote_name(ours.party.name)} has none"
        yield cite_rule("client-certificate-missing", client.location, text)


def _find_endpoint_problems(view: CpaView) -> Findings:
    for party in view.document.parties:
        used = view.list_used_transports(party)
        for transport in party.transports.values():
            side = transport.receiver
            if side is not None and (transport.id in used or _is_http(side)):
                yield from _judge_endpoints(view, party, side)


def _judge_endpoints(view: CpaView, party: CpaParty, side: TransportSide) -> Findings:
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
    yield from _judge_server(view, party, side)


def _judge_server(view: CpaView, party: CpaParty, side: TransportSide) -> Findings:
    urls = [endpoint.uri for endpoint in side.endpoints if is_endpoint(endpoint.uri)]
    secure = [url for url in urls if url.lower().startswith("https")]
    if secure and side.security is None:
        text = f"{quote_name(secure[0])} is https, and no TransportServerSecurity describes it"
        yield cite_rule("tls-undescribed", side.location, text)
    if side.security is None:
        return
    if urls and not secure:
        text = f"TransportServerSecurity protects nothing: {quote_name(urls[0])} is http"
        yield cite_rule("tls-unused", side.security.location, text)
    certificate = view.find_certificate(party, side.security.certificate)
    for url in dict.fromkeys(secure) if certificate is not None else ():
        host = url.partition(_SCHEME_END)[2].partition("/")[0].rpartition("@")[2]
        if certificate is not None and not _covers_host(certificate, host):
            text = f"certificate {quote_name(side.security.certificate or '')} is not for {quote_name(host)}"
            yield cite_rule("host-different", side.security.location, text)


def _covers_host(certificate: Certificate, host: str) -> bool:
    """Return whether a name of the certificate is the host, or its wildcard (RFC 9525 §6.3)."""
    bare = host.lower().partition("]")[0].removeprefix("[") if host.startswith("[") else host.lower()
    bare = bare if host.startswith("[") else bare.partition(":")[0]
    if bare.replace(".", "").isdigit() or ":" in bare:
        return True  # an address: the names of a certificate that are read here are names
    names = {name.partition(":")[2].lower() for name in certificate.alternative_names}
    if not any(name.startswith(("dns:", "ip:")) for name in certificate.alternative_names):
        parts = (part.strip() for part in certificate.subject.split(","))
        names |= {part[3:].lower() for part in parts if part.lower().startswith("cn=")}
    parent = bare.partition(".")[2]
    return bare in names or (bool(parent) and f"*.{parent}" in names)


def _find_protocol_problems(view: CpaView) -> Findings:
    for party in view.document.parties:
        used = view.list_used_transports(party)
        for transport in party.transports.values():
            for side in (transport.sender, transport.receiver):
                if side is not None:
                    yield from _judge_protocols(side, used=transport.id in used)


def _is_http(side: TransportSide) -> bool:
    return side.protocol.upper() in ("HTTP", "HTTPS")


def _judge_protocols(side: TransportSide, *, used: bool) -> Findings:
    if used and not _is_http(side):
        text = f"transport protocol {quote_name(side.protocol)} is not HTTP"
        yield cite_rule("transport-protocol", side.location, text)
    if side.authentication and side.endpoints:
        text = f"{' or '.join(side.authentication)} authentication is wanted; a password is in the settings "
        text += "of the hub, never in an agreement"
        yield cite_rule("transport-login", side.location, text)
    secured = side.security
    if secured is not None:
        protocol, version = secured.protocol.lower(), secured.version or ""
        if protocol.startswith("ssl") or (protocol, version) in _OLD:
            text = f"{quote_name(secured.protocol)} {quote_name(version)} is older than TLS 1.2"
            yield cite_rule("tls-old", secured.location, text)


def _find_same_endpoints(view: CpaView) -> Findings:
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
