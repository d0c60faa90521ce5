"""Rules on transports: endpoints, protocols, the protection of connections."""

from __future__ import annotations

from typing import Final

from gateway.agreements.cpa.channel_choice import BoundAction, ChannelUse, choose_endpoint
from gateway.agreements.cpa.cpa_model import CpaParty, TransportSide
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.agreements.pmode_values import find_endpoint_fault, is_endpoint
from gateway.pki import Certificate

__all__ = ["TRANSPORT_CHECKS"]

_OLD: Final = {("tls", "1.0"), ("tls", "1.1"), ("tls", "1")}
_SCHEME_END: Final = "://"


def _find_receiver_problems(view: CpaView) -> Found:
    for action, ours, theirs in view.list_uses():
        name = quote_name(action.binding.action)
        if theirs.channel is not None and theirs.party.find_transport(theirs.channel) is not None:
            if theirs.server is None:
                text = f"party {quote_name(theirs.party.name)} receives {name}, and has no TransportReceiver"
                yield CpaFinding("endpoint-missing", theirs.channel.place, text)
            else:
                yield from _judge_connection(action, ours, theirs)
        if ours.channel is not None and ours.client is None and action.holder is None:
            text = f"party {quote_name(ours.party.name)} sends {name}, and has no TransportSender"
            yield CpaFinding("sender-missing", ours.channel.place, text)


def _judge_connection(action: BoundAction, ours: ChannelUse, theirs: ChannelUse) -> Found:
    server, client, business = theirs.server, ours.client, action.binding.business
    assert server is not None, "the caller has looked"
    url = choose_endpoint(server, "request", "allPurpose") or ""
    wanted = {business.confidential, business.authenticated, business.tamper_proof}
    is_open = url.lower().startswith("http" + _SCHEME_END)
    if is_open and wanted & {"transient", "transient-and-persistent"}:
        text = f"the connection of {quote_name(action.binding.action)} shall be protected; "
        text += f"{quote_name(url)} is open"
        yield CpaFinding("transient-open", business.place, text)
    secured = client.security if client is not None else None
    asked = server.security is not None and server.security.peer_security is not None
    if asked and client is not None and (secured is None or secured.certificate is None):
        text = f"party {quote_name(theirs.party.name)} asks for a client certificate, and party "
        text += f"{quote_name(ours.party.name)} has none"
        yield CpaFinding("client-certificate-missing", client.place, text)


def _find_endpoint_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        used = view.list_used_transports(party)
        for transport in party.transports.values():
            side = transport.receiver
            if side is not None and (transport.id in used or _is_http(side)):
                yield from _judge_endpoints(view, party, side)


def _judge_endpoints(view: CpaView, party: CpaParty, side: TransportSide) -> Found:
    kinds: set[str] = set()
    for one in side.endpoints:
        if fault := find_endpoint_fault(one.uri):
            text = f"{quote_name(one.uri)} {fault}"
            yield CpaFinding("endpoint-scheme", one.place.find_attribute("uri"), text)
        if one.kind in kinds:
            text = f"there is an endpoint of kind {one.kind} already; this one is not used"
            yield CpaFinding("endpoint-repeated", one.place, text)
        kinds.add(one.kind)
    if not kinds & {"request", "allPurpose"}:
        text = f"party {quote_name(party.name)} has no endpoint for requests or for all purposes"
        yield CpaFinding("endpoint-purpose", side.place, text)
    yield from _judge_server(view, party, side)


def _judge_server(view: CpaView, party: CpaParty, side: TransportSide) -> Found:
    urls = [one.uri for one in side.endpoints if is_endpoint(one.uri)]
    secure = [url for url in urls if url.lower().startswith("https")]
    if secure and side.security is None:
        text = f"{quote_name(secure[0])} is https, and no TransportServerSecurity describes it"
        yield CpaFinding("tls-undescribed", side.place, text)
    if side.security is None:
        return
    if urls and not secure:
        text = f"TransportServerSecurity protects nothing: {quote_name(urls[0])} is http"
        yield CpaFinding("tls-unused", side.security.place, text)
    certificate = view.find_certificate(party, side.security.certificate)
    for url in dict.fromkeys(secure) if certificate is not None else ():
        host = url.partition(_SCHEME_END)[2].partition("/")[0].rpartition("@")[2]
        if certificate is not None and not _covers_host(certificate, host):
            text = f"certificate {quote_name(side.security.certificate or '')} is not for {quote_name(host)}"
            yield CpaFinding("host-different", side.security.place, text)


def _covers_host(certificate: Certificate, host: str) -> bool:
    """Return whether a name of the certificate is the host, or its wildcard (RFC 9525 §6.3)."""
    bare = host.lower().partition("]")[0].removeprefix("[") if host.startswith("[") else host.lower()
    bare = bare if host.startswith("[") else bare.partition(":")[0]
    if bare.replace(".", "").isdigit() or ":" in bare:
        return True  # an address: the names of a certificate that are read here are names
    names = {one.partition(":")[2].lower() for one in certificate.alternative_names}
    if not any(one.startswith(("dns:", "ip:")) for one in certificate.alternative_names):
        parts = (one.strip() for one in certificate.subject.split(","))
        names |= {one[3:].lower() for one in parts if one.lower().startswith("cn=")}
    parent = bare.partition(".")[2]
    return bare in names or (bool(parent) and f"*.{parent}" in names)


def _find_protocol_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        used = view.list_used_transports(party)
        for transport in party.transports.values():
            for side in (transport.sender, transport.receiver):
                if side is not None:
                    yield from _judge_protocols(side, used=transport.id in used)


def _is_http(side: TransportSide) -> bool:
    return side.protocol.upper() in ("HTTP", "HTTPS")


def _judge_protocols(side: TransportSide, *, used: bool) -> Found:
    if used and not _is_http(side):
        text = f"transport protocol {quote_name(side.protocol)} is not HTTP"
        yield CpaFinding("transport-protocol", side.place, text)
    if side.authentication and side.endpoints:
        text = f"{' or '.join(side.authentication)} authentication is wanted; a password is in the settings "
        text += "of the hub, never in an agreement"
        yield CpaFinding("transport-login", side.place, text)
    secured = side.security
    if secured is not None:
        protocol, version = secured.protocol.lower(), secured.version or ""
        if protocol.startswith("ssl") or (protocol, version) in _OLD:
            text = f"{quote_name(secured.protocol)} {quote_name(version)} is older than TLS 1.2"
            yield CpaFinding("tls-old", secured.place, text)


def _find_same_endpoints(view: CpaView) -> Found:
    first, second = view.document.parties
    known = _list_urls(first)
    for transport in second.transports.values():
        for one in transport.receiver.endpoints if transport.receiver is not None else ():
            if one.uri in known:
                text = f"both parties receive at {quote_name(one.uri)}"
                yield CpaFinding("endpoint-same", one.place, text)


def _list_urls(party: CpaParty) -> set[str]:
    receivers = (one.receiver for one in party.transports.values() if one.receiver is not None)
    return {one.uri for receiver in receivers for one in receiver.endpoints}


TRANSPORT_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_receiver_problems,
    _find_endpoint_problems,
    _find_protocol_problems,
    _find_same_endpoints,
)
