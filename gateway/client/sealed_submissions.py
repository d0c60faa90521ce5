"""Seals a broker's submission into one message, and makes the supplement to one."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from gateway.agreements import FILING_ACTIONS
from gateway.client.partner_identity import Membership, get_current_time
from gateway.errors import RULE_BROKEN, GatewayError
from gateway.message_model import Body, Payload, UserMessage
from gateway.protocols import PROTOCOLS, Parcel, ProtocolCore, SentUnit
from gateway.recognition import is_vouched_document, open_vouched_document
from gateway.wire import DS, SUB, parse_xml, serialize_element
from gateway.xmlsec import sign_document


def get_protocol_core(membership: Membership) -> ProtocolCore:
    """Return the protocol in which the messages of an agreement are."""
    return PROTOCOLS[membership.protocol]


@dataclass(frozen=True, slots=True)
class SealedSubmission:
    """A sealed submission: the octets of every attempt, and the data for checking its receipt."""

    unit: UserMessage
    reference: str
    parcel: Parcel
    sent_unit: SentUnit
    url: str

    @property
    def http_headers(self) -> dict[str, str]:
        """Return the HTTP headers of an attempt."""
        return dict(self.parcel.headers)

    @property
    def body_octets(self) -> bytes:
        """Return the octets of an attempt."""
        return self.parcel.read_octets()


def sign_submission(content: bytes, membership: Membership) -> etree._Element:
    """Return the submission in `content`, signed by this party unless it is already signed."""
    root = parse_xml(content)
    if root.find(f"{{{DS}}}Signature") is None:
        sign_document(root, membership.identity.signer, now=get_current_time())
    return root


def seal_submission(
    root: etree._Element,
    attachments: Mapping[str, bytes | Body],
    membership: Membership,
    url: str = "",
    conversation_id: str | None = None,
) -> SealedSubmission:
    """Seal a signed submission with its attachments; `url` replaces the agreed endpoint of the hub.

    A vouched document is sent unchanged; its function and reference are read from the party's
    document in it.
    """
    unit, reference = make_submission_unit(root, attachments, membership, conversation_id)
    context = membership.build_context()
    pmode = membership.get_outgoing_pmode(unit.action, context.now)
    parcel = get_protocol_core(membership).seal((unit,), pmode, context)
    sent_unit = get_protocol_core(membership).read_sent_unit(parcel, context.limits)
    return SealedSubmission(unit, reference, parcel, sent_unit, url or pmode.endpoint or "")


def make_submission_unit(
    root: etree._Element,
    attachments: Mapping[str, bytes | Body],
    membership: Membership,
    conversation_id: str | None = None,
) -> tuple[UserMessage, str]:
    """Return the message of a signed submission with its attachments, and the Reference in it."""
    submission = (
        parse_xml(open_vouched_document(serialize_element(root)).document)
        if is_vouched_document(root)
        else root
    )
    function = (submission.findtext(f"{{{SUB}}}Function") or "").strip()
    if function not in FILING_ACTIONS:
        raise GatewayError(
            RULE_BROKEN, f"Function must be one of {', '.join(FILING_ACTIONS)}", "/Submission/Function"
        )
    context = membership.build_context()
    message_id = context.make_message_id()
    media_types = {
        element.get("cid", ""): element.get("mediaType", "")
        for element in submission.iter(f"{{{SUB}}}Attachment")
    }
    attached_payloads = tuple(
        Payload(cid, media_types.get(cid) or _guess_media_type(cid), data)
        for cid, data in attachments.items()
    )
    unit = membership.make_user_message(
        FILING_ACTIONS[function],
        message_id,
        context.now,
        conversation_id=conversation_id or message_id,
        payloads=(
            Payload(f"submission.{message_id}", "application/xml", serialize_element(root)),
            *attached_payloads,
        ),
    )
    return unit, (submission.findtext(f"{{{SUB}}}Reference") or "").strip()


def _guess_media_type(content_id: str) -> str:
    return mimetypes.guess_type(Path(content_id).name)[0] or "application/octet-stream"
