"""Opens PullRequests: who pulls, whether it may pull from this channel, and whether the request is recent.

A PullRequest names no party (core §5.2.3.1). Who pulls is shown by the certificate of its signature, by a
name with a password, or by both, as the P-Mode says; it must be the To party of the P-Modes whose
messages are pulled from the channel (AS4 §2.1.3).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from lxml import etree

from gateway.agreements import PMode, PullRoute
from gateway.errors import AGREEMENT_UNREAD, HEADER_INVALID, PULL_REFUSED, PULL_REPEATED, GatewayError
from gateway.message_model import PullRequest
from gateway.pki import Certificate
from gateway.protocols.as4.header_values import SIGNATURE
from gateway.protocols.as4.message_checks import iterate_candidates
from gateway.protocols.as4.message_reading import (
    As4Message,
    check_signature,
    make_opened_message,
    read_signature,
)
from gateway.protocols.as4.pmode_matching import DEFAULT_MPC, require_supported_terms
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    raise_header_error,
    read_instant,
    read_text,
)
from gateway.protocols.signer_checks import check_agreed_strength
from gateway.wire import BASE64_ENCODING, SOAP12, WSSE, WSU, build_xpath, decode_base64_octets
from gateway.xmlsec import EBMS_ROLE

#: How old a PullRequest may be, and how far its clock may be ahead.
_AGE: Final = timedelta(minutes=5)
_AHEAD: Final = timedelta(minutes=1)


def check_request_time(at: datetime, now: datetime, location: str) -> None:
    """Raise GW341 for a time earlier than `now` by more than `_AGE`, or later by more than `_AHEAD`."""
    if not now - _AGE <= at <= now + _AHEAD:
        raise GatewayError(PULL_REPEATED, f"its time is {at.isoformat(timespec='seconds')}", location)


_SECURITY: Final = f"{{{WSSE}}}Security"
_ROLE: Final = f"{{{SOAP12}}}role"
_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ID: Final = f"{{{WSU}}}Id"
_DIGEST: Final = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)


@dataclass(frozen=True, slots=True)
class PullLogin:
    """A verified login: the name of its party, and a digest that identifies this use of the login."""

    party_name: str
    use_digest: str


def find_authorization_header(root: etree._Element) -> etree._Element | None:
    """Return the Security header for the role ``ebms``, None without one; raise GW107 for several."""
    headers = [header for header in root.iter(_SECURITY) if header.get(_ROLE) == EBMS_ROLE]
    if len(headers) > 1 or any(header.getparent() is not root[0] for header in headers):
        raise GatewayError(
            HEADER_INVALID, "the header for the role ebms must occur once", build_xpath(headers[-1])
        )
    return headers[0] if headers else None


def read_pull_login(header: etree._Element, context: ProtocolContext) -> PullLogin:
    """Return the login of a header after its password is verified; raise GW340, GW341, GW107."""
    check_attributes(header, required=(_ROLE,), optional=(_MUST_UNDERSTAND, _ID))
    tokens = ElementSequence(header)
    token = tokens.take_required(f"{{{WSSE}}}UsernameToken")
    tokens.check_end()
    check_attributes(token, optional=(_ID,))
    fields = ElementSequence(token)
    name_element = fields.take_required(f"{{{WSSE}}}Username")
    password_element = fields.take_required(f"{{{WSSE}}}Password")
    nonce_element = fields.take_optional(f"{{{WSSE}}}Nonce")
    created_element = fields.take_required(f"{{{WSU}}}Created")
    fields.check_end()
    _check_created(created_element, context.now)
    registered_login = context.find_pull_login(read_text(name_element))
    right = _compute_digest(
        nonce_element, created_element, registered_login[1] if registered_login is not None else b""
    )
    stated_digest = _read_digest(password_element)
    if not hmac.compare_digest(right, stated_digest) or registered_login is None:
        raise GatewayError(PULL_REFUSED, "the name or the password is wrong", build_xpath(token))
    use_digest = hashlib.sha256(b"login " + registered_login[0].encode() + stated_digest).hexdigest()
    return PullLogin(registered_login[0], use_digest)


def _check_created(created: etree._Element, now: datetime) -> None:
    check_attributes(created)
    check_request_time(read_instant(created), now, build_xpath(created))


def _read_digest(password: etree._Element) -> bytes:
    check_attributes(password, optional=("Type",))
    if password.get("Type") != _DIGEST:
        raise GatewayError(PULL_REFUSED, "the password must be a PasswordDigest", build_xpath(password))
    return _decode_base64(password)


def _compute_digest(nonce: etree._Element | None, created: etree._Element, password: bytes) -> bytes:
    """Return the digest of the profile: nonce, time and password (UsernameToken Profile §3.1)."""
    octets = b""
    if nonce is not None:
        check_attributes(nonce, optional=("EncodingType", _ID))
        if nonce.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
            raise_header_error(nonce, "a Nonce must be base64")
        octets = _decode_base64(nonce)
    # The profile names SHA-1. The time and the single use limit the effect of a collision.
    return hashlib.sha1(octets + read_text(created).encode() + password, usedforsecurity=False).digest()


def _decode_base64(element: etree._Element) -> bytes:
    octets = decode_base64_octets(read_text(element).encode())
    if octets is None:
        raise_header_error(element, "this is not base64 in its canonical spelling")
    return octets


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


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Our P-Modes whose messages are pulled from one channel.

    `unread_routes` are those of the channel whose agreement this version does not read: nobody knows by which
    terms their party pulls, so that it gets nothing from this channel. Others do.
    """

    pmodes: tuple[PMode, ...]
    unread_routes: tuple[PullRoute, ...]
    location: str

    def list_pullers(self, context: ProtocolContext) -> list[str]:
        """Return the names of the parties that pull from the channel."""
        party_ids = [*(pmode.to_party[0] for pmode in self.pmodes)]
        party_ids += [route.puller for route in self.unread_routes]
        names = dict.fromkeys(map(context.find_party_name, party_ids))
        return [name for name in names if name is not None]

    def check_read_agreements(self, party_name: str | None, context: ProtocolContext) -> None:
        """Raise GW906 where the party pulls by an agreement that this version does not read."""
        if any(context.find_party_name(route.puller) == party_name for route in self.unread_routes):
            detail = "an agreement by which messages are pulled from this channel is not read by this version"
            raise GatewayError(AGREEMENT_UNREAD, detail, self.location)


def open_pull_request(
    message: As4Message, unit: PullRequest, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    """Return a PullRequest with the party that pulls, and the P-Mode of the messages that it asks for.

    Raises GW340 for a party that may not pull from the channel, GW341 for a request of another time, GW204
    for one whose algorithms are weaker than those of a P-Mode of the party on the channel. Raises GW906 for a
    party with an agreement about the channel that this version does not read.
    """
    location = build_xpath(message.header.unit_element)
    check_request_time(unit.timestamp, context.now, f"{location}/eb3:MessageInfo/eb3:Timestamp")
    candidates = _list_candidates(unit, location, context)
    if not candidates.pmodes:
        for route in candidates.unread_routes:
            candidates.check_read_agreements(context.find_party_name(route.puller), context)
    policies = {pmode.security.policy for pmode in candidates.pmodes} or {"strict"}
    certificates = iterate_candidates(candidates.list_pullers(context), context)
    signature = read_signature(message, sorted(policies)[-1], context.limits, certificates)

    def check_puller(certificate: Certificate) -> None:
        # Nothing is computed with the certificate of a party that pulls nothing here.
        for pmode in _list_allowed_pmodes(candidates, certificate, f"{location}/eb3:PullRequest", context):
            if signature is not None:
                check_agreed_strength(signature.algorithm, signature.references, pmode)

    reading = message.make_reading()
    verified_signature = check_signature(signature, reading, context.limits, check_puller)
    if verified_signature is not None:
        context.check_signing_certificate(verified_signature.certificate, SIGNATURE)
        allowed = _list_allowed_pmodes(candidates, verified_signature.certificate, location, context)
        candidates = replace(candidates, pmodes=tuple(allowed))
    header = find_authorization_header(message.package.envelope.root)
    login = None if header is None else read_pull_login(header, context)
    pmode = _choose_pmode(candidates, verified_signature is not None, login, location, context)
    request = replace(
        unit,
        sender=pmode.receiver,
        receiver=pmode.sender,
        agreement=pmode.agreement,
        login_digest="" if login is None else login.use_digest,
    )
    opened = make_opened_message(reading, verified_signature, pmode, parcel, context.limits)
    return replace(opened, units=(request,))


def _choose_pmode(
    candidates: _Candidates,
    is_signed: bool,
    login: PullLogin | None,
    location: str,
    context: ProtocolContext,
) -> PMode:
    """Return a P-Mode of the party that pulls; raise GW340 or GW311 for a request that it may not make.

    Each P-Mode of the party on this channel must accept the signature or the login of the request.
    """
    pmodes = candidates.pmodes
    if login is not None:
        candidates.check_read_agreements(login.party_name, context)
        pmodes = tuple(pmode for pmode in pmodes if _get_puller_name(pmode, context) == login.party_name)
        if not pmodes:
            raise GatewayError(PULL_REFUSED, "this name does not pull from this channel", location)
    if not is_signed and login is None:
        raise GatewayError(PULL_REFUSED, "nobody signed the PullRequest", location)
    for pmode in pmodes:
        require_supported_terms(pmode)
        authorization = pmode.pull.authorization if pmode.pull is not None else "certificate"
        if authorization != "username" and not is_signed:
            raise GatewayError(PULL_REFUSED, "the agreement wants a signed PullRequest", location)
        if authorization != "certificate" and login is None:
            raise GatewayError(PULL_REFUSED, "the agreement requires a name and a password", location)
    return pmodes[0]


def _get_puller_name(pmode: PMode, context: ProtocolContext) -> str | None:
    return context.find_party_name(pmode.to_party[0])


def _list_candidates(unit: PullRequest, location: str, context: ProtocolContext) -> _Candidates:
    """Return our P-Modes whose messages are pulled from the channel of a request, which is at `location`."""
    channels = {None, DEFAULT_MPC} if unit.mpc in (None, DEFAULT_MPC) else {unit.mpc}
    book = context.agreements
    pulled_pmodes = (pmode for channel in channels for pmode in book.list_pull_pmodes(channel, context.now))
    unread_routes = (route for channel in channels for route in book.list_unread_pull_routes(channel))
    return _Candidates(
        tuple(
            pmode
            for pmode in pulled_pmodes
            if pmode.protocol == "as4" and context.find_party_name(pmode.from_party[0]) in context.signers
        ),
        tuple(
            route
            for route in unread_routes
            if context.find_party_name(route.puller) not in (None, *context.signers)
        ),
        location,
    )


def _list_allowed_pmodes(
    candidates: _Candidates, certificate: Certificate, location: str, context: ProtocolContext
) -> list[PMode]:
    """Return the P-Modes whose messages the holder of a certificate may pull; raise GW340 without one.

    Raises GW906 where an agreement about them is not read by this version. Each P-Mode of the party on this
    channel must allow it: their messages wait in one queue.
    """
    party_name = context.find_certificate_party(certificate.sha256)
    candidates.check_read_agreements(party_name, context)
    party_pmodes = [
        pmode
        for pmode in candidates.pmodes
        if party_name is not None and context.find_party_name(pmode.to_party[0]) == party_name
    ]
    if not party_pmodes:
        detail = f"{certificate.subject[:120]} does not pull from this channel"
        raise GatewayError(PULL_REFUSED, detail, location)
    pins = [pmode.security.reply_certificates for pmode in party_pmodes if pmode.security.reply_certificates]
    if any(certificate.sha256 not in pinned for pinned in pins):
        raise GatewayError(PULL_REFUSED, "the agreement pins another certificate", SIGNATURE)
    return party_pmodes
