"""Opens PullRequests: who pulls, whether it may pull from this channel, and whether the request is of now.

A PullRequest names no party (core §5.2.3.1). Who pulls is shown by the certificate of its signature, by a
name with a password, or by both, as the P-Mode says; it must be the To party of the P-Modes whose
messages are pulled from the channel (AS4 §2.1.3).
"""

from __future__ import annotations

from dataclasses import replace

from gateway.agreements import PMode
from gateway.errors import PULL_REFUSED, GatewayError
from gateway.message_model import PullRequest
from gateway.pki import Certificate
from gateway.protocols.as4.header_values import SIGNATURE
from gateway.protocols.as4.message_reading import As4Message, make_opened_message, verify_signature
from gateway.protocols.as4.pmode_matching import DEFAULT_MPC, require_supported_terms
from gateway.protocols.as4.request_times import check_request_time
from gateway.protocols.as4.username_tokens import PullLogin, find_authorization, read_pull_login
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.wire import build_xpath

__all__ = ["make_pull_request", "open_pull_request"]


def make_pull_request(pmode: PMode, context: ProtocolContext) -> PullRequest:
    """Return the request of the receiver of a P-Mode for the next message of its channel."""
    return PullRequest(
        message_id=context.make_message_id(),
        conversation_id="",
        sender=pmode.receiver,
        receiver=pmode.sender,
        agreement=pmode.agreement,
        timestamp=context.now,
        mpc=pmode.pull_channel,
    )


def open_pull_request(
    message: As4Message, unit: PullRequest, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    """Return a PullRequest with the party that pulls, and the P-Mode of the messages that it asks for.

    Raises GW340 for a party that may not pull from the channel, GW341 for a request of another time.
    """
    place = build_xpath(message.header.unit_element)
    check_request_time(unit.timestamp, context.now, f"{place}/eb3:MessageInfo/eb3:Timestamp")
    candidates = _list_candidates(unit, context)
    policies = {one.security.policy for one in candidates} or {"strict"}

    def check_puller(certificate: Certificate) -> None:
        # Nothing is computed with the certificate of a party that pulls nothing here.
        _list_allowed(candidates, certificate, f"{place}/eb3:PullRequest", context)

    known = _list_known_certificates(candidates, context)
    signed = verify_signature(message, sorted(policies)[-1], context.limits, check_puller, known)
    if signed is not None:
        context.check_signing_certificate(signed.certificate, SIGNATURE)
        candidates = tuple(_list_allowed(candidates, signed.certificate, place, context))
    header = find_authorization(message.package.envelope.root)
    login = None if header is None else read_pull_login(header, context)
    pmode = _choose_pmode(candidates, signed is not None, login, place, context)
    named = replace(
        unit,
        sender=pmode.receiver,
        receiver=pmode.sender,
        agreement=pmode.agreement,
        login="" if login is None else login.digest,
    )
    opened = make_opened_message(message, signed, pmode, parcel, context.limits)
    return replace(opened, units=(named,))


def _choose_pmode(
    candidates: tuple[PMode, ...],
    is_signed: bool,
    login: PullLogin | None,
    place: str,
    context: ProtocolContext,
) -> PMode:
    """Return a P-Mode of the party that pulls; each one on this channel must allow what it shows."""
    if login is not None:
        candidates = tuple(one for one in candidates if _get_puller(one, context) == login.party)
        if not candidates:
            raise GatewayError(PULL_REFUSED, "this name does not pull from this channel", place)
    if not is_signed and login is None:
        raise GatewayError(PULL_REFUSED, "nobody signed the PullRequest", place)
    for one in candidates:
        require_supported_terms(one)
        wanted = one.pull.authorization if one.pull is not None else "certificate"
        if wanted != "username" and not is_signed:
            raise GatewayError(PULL_REFUSED, "the agreement wants a signed PullRequest", place)
        if wanted != "certificate" and login is None:
            raise GatewayError(PULL_REFUSED, "the agreement wants a name and a password", place)
    return candidates[0]


def _get_puller(pmode: PMode, context: ProtocolContext) -> str | None:
    return context.find_party_name(pmode.to_party[0])


def _list_candidates(unit: PullRequest, context: ProtocolContext) -> tuple[PMode, ...]:
    """Return the P-Modes of ours whose messages are pulled from the channel of a request."""
    channels = {None, DEFAULT_MPC} if unit.mpc in (None, DEFAULT_MPC) else {unit.mpc}
    found = (one for name in channels for one in context.agreements.list_pull_pmodes(name, context.now))
    return tuple(
        one
        for one in found
        if one.protocol == "as4" and context.find_party_name(one.from_party[0]) in context.keys
    )


def _list_known_certificates(candidates: tuple[PMode, ...], context: ProtocolContext) -> list[Certificate]:
    names = {context.find_party_name(one.to_party[0]) for one in candidates}
    known = [cert for name in names if name is not None for cert in context.list_party_certificates(name)]
    return [*context.known_certificates, *known]


def _list_allowed(
    candidates: tuple[PMode, ...], certificate: Certificate, place: str, context: ProtocolContext
) -> list[PMode]:
    """Return the P-Modes whose messages the holder of a certificate may pull; raise GW340 without one.

    Every one of the party on this channel must allow it: their messages wait in one queue.
    """
    party = context.find_certificate_party(certificate.sha256)
    own = [
        one for one in candidates if party is not None and context.find_party_name(one.to_party[0]) == party
    ]
    if not own:
        detail = f"{certificate.subject[:120]} does not pull from this channel"
        raise GatewayError(PULL_REFUSED, detail, place)
    pins = [one.security.reply_certificates for one in own if one.security.reply_certificates]
    if any(certificate.sha256 not in pinned for pinned in pins):
        raise GatewayError(PULL_REFUSED, "the agreement pins another certificate", SIGNATURE)
    return own
