"""Seals one unit into a parcel: written, compressed and signed as the P-Mode says."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

from gateway.agreements import PMode
from gateway.errors import EBMS3_ERRORS, NOT_SUPPORTED, OUR_MISTAKE, GatewayError
from gateway.message_model import (
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    MessageProperty,
    Party,
    Payload,
    PullRequest,
    Receipt,
    Unit,
    UserMessage,
)
from gateway.pki import Signer
from gateway.protocols.as4.encrypted_parts import encrypt_parts
from gateway.protocols.as4.header_values import GZIP_TYPE
from gateway.protocols.as4.packaging import SOAP_TYPE
from gateway.protocols.as4.pmode_matching import require_supported_terms
from gateway.protocols.core import Parcel, ProtocolContext, SentUnit
from gateway.protocols.payload_parts import compress_content, format_cid_uri, make_boundary, make_mime_part
from gateway.protocols.signed_values import to_model_reference, write_references
from gateway.wire import (
    EB3,
    EBBP,
    SOAP12,
    WSU,
    MimePart,
    format_instant,
    join_multipart_related,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec import SigningToken, SwaAttachment, WrittenSignature, write_swa_security

_SOAP_DECLARATION: Final = write_attribute("xmlns:soap12", SOAP12)
_WSU_DECLARATION: Final = write_attribute("xmlns:wsu", WSU)
_MESSAGING: Final = (
    "<eb3:Messaging" + write_attribute("xmlns:eb3", EB3) + _SOAP_DECLARATION + _WSU_DECLARATION
)
_BODY: Final = "<soap12:Body" + _SOAP_DECLARATION + _WSU_DECLARATION
_MUST_UNDERSTAND_ATTRIBUTE: Final = write_attribute("soap12:mustUnderstand", "true")
_EBBP_DECLARATION: Final = write_attribute("xmlns:ebbp", EBBP)
_ENGLISH_ATTRIBUTE: Final = write_attribute("xml:lang", "en")
_STATED_ENCODING: Final = re.compile(
    rb"<\?xml[^>]{1,80}encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,40})[\"']"
)
_SEVERITIES: Final = {"Error": "failure", "Warning": "warning"}


@dataclass(frozen=True, slots=True)
class As4Envelope:
    """An envelope without its Security header: the ids and the text of the two elements that are signed."""

    messaging_id: str
    messaging: str
    body_id: str
    body: str

    def with_security(self, security: str = "") -> bytes:
        """Return the envelope with a Security header before eb:Messaging."""
        header = write_element("soap12:Header", security + self.messaging)
        return write_element("soap12:Envelope", header + self.body, _SOAP_DECLARATION).encode()


def write_as4_envelope(
    unit: Unit, *, is_compressed: bool, bundled_units: tuple[Unit, ...] = ()
) -> As4Envelope:
    """Return the envelope of a unit, with the signals that are `bundled_units` with it before it.

    `is_compressed` says that its payloads are sent as gzip.
    """
    content = "".join(map(_write_signal_message, bundled_units))
    if isinstance(unit, UserMessage):
        content += _write_user_message(unit, is_compressed)
    else:
        content += _write_signal_message(unit)
    id_suffix = hashlib.sha256(unit.message_id.encode()).hexdigest()[:32]
    wsu_ids = (f"messaging-{id_suffix}", f"body-{id_suffix}")
    # The ids are digests: nothing in them is written otherwise.
    messaging = f'{_MESSAGING} wsu:Id="{wsu_ids[0]}"{_MUST_UNDERSTAND_ATTRIBUTE}>{content}</eb3:Messaging>'
    body = f'{_BODY} wsu:Id="{wsu_ids[1]}"></soap12:Body>'
    return As4Envelope(wsu_ids[0], messaging, wsu_ids[1], body)


def _write_signal_message(unit: Unit) -> str:
    return write_element("eb3:SignalMessage", _write_message_info(unit) + _write_signal(unit))


def _write_message_info(unit: Unit) -> str:
    content = write_leaf("eb3:Timestamp", format_instant(unit.timestamp))
    content += write_leaf("eb3:MessageId", unit.message_id)
    ref_to_message_id = getattr(unit, "ref_to_message_id", None)
    return write_element(
        "eb3:MessageInfo",
        content
        + (write_leaf("eb3:RefToMessageId", ref_to_message_id) if ref_to_message_id is not None else ""),
    )


def _write_optional_attribute(name: str, value: str | None) -> str:
    return "" if value is None else write_attribute(name, value)


def _write_user_message(unit: UserMessage, is_compressed: bool) -> str:
    parties = _write_party("eb3:From", unit.sender) + _write_party("eb3:To", unit.receiver)
    pieces = [
        _write_message_info(unit),
        write_element("eb3:PartyInfo", parties),
        _write_collaboration(unit),
        _write_properties("eb3:MessageProperties", unit.properties),
    ]
    if unit.payloads:
        parts = "".join(_write_part_info(payload, is_compressed) for payload in unit.payloads)
        pieces.append(write_element("eb3:PayloadInfo", parts))
    return write_element("eb3:UserMessage", "".join(pieces), _write_optional_attribute("mpc", unit.mpc))


def _write_party(element_name: str, party: Party) -> str:
    if not party.ids or party.role is None:
        raise GatewayError(OUR_MISTAKE, "a party of ebMS 3.0 must have an id and a role")
    ids = (
        write_leaf("eb3:PartyId", party_id.value, _write_optional_attribute("type", party_id.type))
        for party_id in party.ids
    )
    return write_element(element_name, "".join(ids) + write_leaf("eb3:Role", party.role))


def _write_collaboration(unit: UserMessage) -> str:
    content = ""
    if unit.agreement:
        attributes = _write_optional_attribute("pmode", unit.pmode_id)
        attributes += _write_optional_attribute("type", unit.agreement_type)
        content = write_leaf("eb3:AgreementRef", unit.agreement, attributes)
    content += write_leaf("eb3:Service", unit.service, _write_optional_attribute("type", unit.service_type))
    content += write_leaf("eb3:Action", unit.action)
    return write_element(
        "eb3:CollaborationInfo", content + write_leaf("eb3:ConversationId", unit.conversation_id)
    )


def _write_properties(element_name: str, properties: tuple[MessageProperty, ...]) -> str:
    if not properties:
        return ""
    return write_element(
        element_name,
        "".join(
            write_leaf(
                "eb3:Property",
                message_property.value,
                write_attribute("name", message_property.name)
                + _write_optional_attribute("type", message_property.type),
            )
            for message_property in properties
        ),
    )


def _make_character_set(payload: Payload) -> list[MessageProperty]:
    """Return the CharacterSet of an XML payload before compression, unless it has one (AS4 §3.1)."""
    has_character_set = any(name == "CharacterSet" for name, _ in payload.properties)
    if has_character_set or not payload.media_type.partition(";")[0].strip().lower().endswith(
        ("/xml", "+xml")
    ):
        return []
    has_byte_order_mark = payload.content.startswith((b"\xff\xfe", b"\xfe\xff"))
    declaration = None if has_byte_order_mark else _STATED_ENCODING.match(payload.content)
    encoding_name = (
        "UTF-16"
        if has_byte_order_mark
        else declaration[1].decode("ascii")
        if declaration is not None
        else "UTF-8"
    )
    return [MessageProperty("CharacterSet", encoding_name)]


def _write_part_info(payload: Payload, is_compressed: bool) -> str:
    """Return the PartInfo of a payload; its MimeType is that before compression (AS4 §3.1)."""
    properties = [MessageProperty("MimeType", payload.media_type)]
    properties += [MessageProperty("CompressionType", GZIP_TYPE)] if is_compressed else []
    properties += _make_character_set(payload) if is_compressed else []
    properties += [MessageProperty(name, value) for name, value in payload.properties]
    return write_element(
        "eb3:PartInfo",
        _write_properties("eb3:PartProperties", tuple(properties)),
        write_attribute("href", format_cid_uri(payload.content_id)),
    )


def _write_signal(unit: Unit) -> str:
    """Return the signal in an eb:SignalMessage as text; raise GW901 for a unit without a form in AS4."""
    if isinstance(unit, PullRequest):
        return write_element("eb3:PullRequest", "", _write_optional_attribute("mpc", unit.mpc))
    if isinstance(unit, ErrorSignal):
        return "".join(_write_error(entry, unit.ref_to_message_id) for entry in unit.errors)
    if isinstance(unit, Receipt) and not unit.references and unit.message is not None:
        # AS4 §5.1.8 (a): the receipt for an unsigned message repeats its UserMessage.
        return write_element("eb3:Receipt", _write_user_message(unit.message, is_compressed=False))
    if not isinstance(unit, Receipt) or not unit.references:
        raise GatewayError(OUR_MISTAKE, f"{type(unit).__name__} has no form in AS4, or lacks digests")
    parts = (
        write_element("ebbp:MessagePartNRInformation", write_references((reference,), declared=True))
        for reference in unit.references
    )
    information = write_element("ebbp:NonRepudiationInformation", "".join(parts), _EBBP_DECLARATION)
    return write_element("eb3:Receipt", information)


def _write_error(entry: ErrorEntry, ref_to_message_id: str | None) -> str:
    attributes = "".join(
        write_attribute(name, value)
        for name, value in (
            ("category", entry.category),
            ("errorCode", entry.code),
            ("origin", entry.origin),
            ("refToMessageInError", ref_to_message_id or ""),
            ("severity", _SEVERITIES[entry.severity]),
            ("shortDescription", entry.title),
        )
        if value
    )
    content = (
        write_leaf("eb3:Description", entry.description, _ENGLISH_ATTRIBUTE) if entry.description else ""
    )
    content += write_leaf("eb3:ErrorDetail", entry.location) if entry.location else ""
    return write_element("eb3:Error", content, attributes)


_NO_REFERENCES: Final[tuple[DigestReference, ...]] = ()
_CONTENT_TYPE: Final = f"{SOAP_TYPE}; charset=UTF-8"


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    """Return the parcel of one unit, signed with the key of its sender as the P-Mode says.

    Answers may be bundled with a business message or a PullRequest, which is the first of `units`; errors
    with an error, which are about the units of one bundle.
    """
    unit, bundled_answers = units[0], units[1:]
    answer_types = Receipt | ErrorSignal if isinstance(unit, UserMessage | PullRequest) else ErrorSignal
    if bundled_answers and (
        not isinstance(unit, UserMessage | PullRequest | ErrorSignal)
        or not all(isinstance(answer, answer_types) for answer in bundled_answers)
    ):
        raise GatewayError(OUR_MISTAKE, "answers must be bundled with a business message or a PullRequest")
    bundled_answers = tuple(_convert_bundled_answer(answer, unit, context) for answer in bundled_answers)
    if pmode is not None:
        require_supported_terms(pmode)
        _check_own_request(unit, pmode)
    if isinstance(unit, UserMessage) and pmode is not None:
        unit = apply_pmode_terms(unit, pmode)
    is_compressed = pmode is not None and pmode.compresses_payloads
    envelope = write_as4_envelope(unit, is_compressed=is_compressed, bundled_units=bundled_answers)
    parts = make_parts(unit.payloads, is_compressed) if isinstance(unit, UserMessage) else []
    encryption_elements, sent_parts = "", parts
    if parts and pmode is not None and pmode.encryption is not None:
        id_suffix = envelope.body_id.partition("-")[2]
        encryption_elements, sent_parts = encrypt_parts(
            parts, unit.receiver, pmode.encryption, id_suffix, context
        )
    security_header, references = "", _NO_REFERENCES
    if _needs_signature(unit, pmode):
        token_kind = None if pmode is None else pmode.security.token_reference
        token = SigningToken(f"token-{envelope.body_id.partition('-')[2]}", token_kind, context.issuers)
        signer = context.signers[context.get_party_name(unit.sender)]
        written_signature = _sign_envelope(envelope, parts, signer, token, encryption_elements)
        security_header, references = (
            written_signature.text,
            tuple(map(to_model_reference, written_signature.references)),
        )
    sent_unit = SentUnit.make_without_payloads(unit, references)
    return build_parcel(envelope.with_security(security_header), sent_parts, unit.message_id, sent_unit)


def _convert_bundled_answer(answer: Unit, unit: Unit, context: ProtocolContext) -> Unit:
    """Return an answer as it is bundled with another unit: with an id of its own and codes of ebMS 3.0."""
    if answer.message_id == unit.message_id:
        answer = replace(answer, message_id=context.make_message_id())
    if isinstance(answer, ErrorSignal):
        return replace(answer, errors=tuple(map(_convert_error_code, answer.errors)))
    return answer


def _convert_error_code(entry: ErrorEntry) -> ErrorEntry:
    """Return an entry with the code of ebMS 3.0 where its code is the title of one, as in ebMS 2.0."""
    error = next((candidate for candidate in EBMS3_ERRORS.values() if candidate.title == entry.code), None)
    if error is None:
        return entry
    return replace(entry, code=error.code, category=error.category, origin=error.origin, title=error.title)


def _check_own_request(unit: Unit, pmode: PMode) -> None:
    """Raise GW311 for our PullRequest where the P-Mode asks for a name and a password."""
    terms = pmode.pull if isinstance(unit, PullRequest) else None
    if terms is not None and terms.authorization != "certificate":
        raise GatewayError(NOT_SUPPORTED, "we pull with our certificate, not with a password", pmode.id)


def apply_pmode_terms(unit: UserMessage, pmode: PMode) -> UserMessage:
    """Return our message with the values of its P-Mode: channel, type of the agreement, RefToMessageId.

    Raises GW311 for a message with the ebMS 2.0 features message order or acknowledgment by the next handler.
    """
    if unit.sequence is not None or unit.hop_ack_requested is not None:
        raise GatewayError(NOT_SUPPORTED, "AS4 has neither message order nor a next handler", pmode.id)
    ref_to_message_id = _choose_reference(unit, pmode)
    return replace(
        unit, mpc=pmode.mpc, agreement_type=pmode.agreement_type, ref_to_message_id=ref_to_message_id
    )


def _choose_reference(unit: UserMessage, pmode: PMode) -> str | None:
    """Return the MessageId that our message refers to, or None; raise GW901 for a reply without one.

    A message of a One-Way exchange refers to no other (core §2.2.5, §2.2.6), and neither does a request.
    """
    if pmode.mep != "two-way" or pmode.leg == "request":
        return None
    if pmode.leg == "reply" and unit.ref_to_message_id is None:
        raise GatewayError(OUR_MISTAKE, f"a reply by {pmode.mep_binding} to no message", pmode.id)
    return unit.ref_to_message_id


def _needs_signature(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether we sign a unit: receipts always, errors when it is known whose they are."""
    if isinstance(unit, ErrorSignal):
        return bool(unit.sender.ids) and (pmode is None or pmode.security.sign)
    return isinstance(unit, Receipt | PullRequest) or pmode is None or pmode.security.sign


def _sign_envelope(
    envelope: As4Envelope,
    parts: list[MimePart],
    signer: Signer,
    token: SigningToken,
    encryption_elements: str,
) -> WrittenSignature:
    """Return the signature over eb:Messaging, Body and `parts`; `encryption_elements` come before it."""
    return write_swa_security(
        {
            envelope.messaging_id: envelope.messaging.encode(),
            envelope.body_id: envelope.body.encode(),
        },
        {part.content_id: SwaAttachment(part.media_type, part.octets) for part in parts},
        signer,
        token,
        encryption_elements,
    )


def make_parts(payloads: tuple[Payload, ...], is_compressed: bool) -> list[MimePart]:
    """Return payloads as parts, each in gzip where that is agreed."""
    if is_compressed:
        payloads = tuple(
            replace(payload, octets=compress_content(payload.octets), media_type=GZIP_TYPE)
            for payload in payloads
        )
    return list(map(make_mime_part, payloads))


def build_parcel(
    envelope_octets: bytes, parts: list[MimePart], message_id: str, sent_unit: SentUnit | None = None
) -> Parcel:
    """Return the parcel of an envelope and its parts; the Content-ID of the envelope is the message id.

    `sent_unit` is the unit that an answer to it must match.
    """
    if not parts:
        return Parcel({"Content-Type": _CONTENT_TYPE}, MemoryBody(envelope_octets), sent_unit=sent_unit)
    content_type, body = join_multipart_related(
        envelope_octets, parts, make_boundary(envelope_octets), message_id, SOAP_TYPE
    )
    return Parcel({"Content-Type": content_type}, body, sent_unit=sent_unit)
