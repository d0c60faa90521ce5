"""Verifies a signature that was read: its signer, its value, its digests, and last the encrypted parts.

Reading and checking are separate. A reader returns the values of a ds:Signature and the content that it
signs; it verifies nothing and uses no key. The checks are here, in the order of cost, equal for all profiles.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, NoReturn, Protocol

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.message_model import Body
from gateway.pki import Certificate
from gateway.wire import build_xpath
from gateway.xmlsec.algorithms import (
    DigestInput,
    check_public_key,
    compare_digests,
    compute_digest,
    verify_value_of_checked_key,
)
from gateway.xmlsec.xml_signature import (
    DigestReference,
    ParsedSignature,
    canonicalize_signed_info,
    describe_reference,
)

#: The reason for a signature value that its key did not make over this SignedInfo.
WRONG_VALUE_TEXT: Final = (
    "the signature value is wrong, so SignedInfo was changed after it was signed, or another key signed it"
)
#: Raises unless the holder of a certificate is accepted; called before anything is computed.
CertificateCheck = Callable[[Certificate], None]
#: Returns whether octets have the digest that is signed.
DigestCheck = Callable[[bytes], bool]
#: Decrypts one part to the octets that were signed, by their digest; raises where there are none.
PartDecryption = Callable[[DigestCheck], None]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """The result of a valid signature: who signed which octets.

    ``parts`` are the signed parts: elements, ``/`` for the whole document, or ``cid:`` references.
    ``excluded`` names the elements inside it that were not and whose content is therefore not
    attested. The certificate is not validated.
    """

    references: tuple[DigestReference, ...]
    certificate: Certificate
    parts: tuple[str | etree._Element, ...]
    signature_algorithm: str
    excluded: tuple[str, ...] = ()
    signing_time: datetime | None = None

    @property
    def covered(self) -> tuple[str, ...]:
        """Return the names of the signed parts; the name of an element is its absolute XPath."""
        return tuple(part if isinstance(part, str) else build_xpath(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class SignedOctets:
    """The canonical octets of each reference, None for an attachment; each is made when it is asked for.

    `parts` and `excluded` are those of a `VerifiedSignature`.
    """

    canonical_forms: Iterator[bytes | None]
    parts: tuple[str | etree._Element, ...]
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedContent:
    """The signed content of each reference of a signature: the name of an attachment, or None for XML.

    `canonicalize` returns the canonical octets of the XML content.
    """

    names: Sequence[str | None]
    canonicalize: Callable[[], SignedOctets]


class SignatureReading(Protocol):
    """The values of a signature and the content that it signs, before any check with a key."""

    @property
    def certificate(self) -> Certificate:
        """Return the certificate that KeyInfo names."""

    @property
    def algorithm(self) -> str:
        """Return the URI of the signature algorithm."""

    @property
    def value(self) -> bytes:
        """Return the octets of SignatureValue."""

    @property
    def references(self) -> tuple[DigestReference, ...]:
        """Return the references of SignedInfo."""

    def get_location(self) -> str:
        """Return the XPath of ds:Signature."""

    def match_references(self) -> SignedContent:
        """Return the signed content of each reference.

        Raises unless the profile permits each reference, and everything that must be signed is signed.
        """

    def canonicalize_signed_info(self) -> bytes:
        """Return SignedInfo in its canonical form."""


class SignedAttachments(Protocol):
    """The attachments of a message, by the names that a reading gives to its references."""

    def canonicalize(self, name: str) -> DigestInput:
        """Return the octets of an attachment that are digested."""

    def get_octets(self, name: str) -> bytes | Body:
        """Return the octets of an attachment as they came."""

    def is_signed_plaintext(
        self, name: str, reference: DigestReference, location: str, octets: bytes
    ) -> bool:
        """Return whether the decrypted octets of an attachment are those that were signed.

        Raises GW202, at the `location` of the signature, where the key is right and the digest is wrong.
        """


@dataclass(frozen=True, slots=True)
class PlainAttachments:
    """Attachments that are digested as they came."""

    contents: Mapping[str, bytes | Body]

    def canonicalize(self, name: str) -> DigestInput:
        """Return the octets of an attachment."""
        return self.contents[name]

    def get_octets(self, name: str) -> bytes | Body:
        """Return the octets of an attachment."""
        return self.contents[name]

    def is_signed_plaintext(
        self,
        name: str,  # noqa: ARG002
        reference: DigestReference,
        location: str,  # noqa: ARG002
        octets: bytes,
    ) -> bool:
        """Return whether decrypted octets have the digest that is signed."""
        return has_digest(reference, octets)


@dataclass(frozen=True, slots=True)
class StructureReading:
    """The values read from a ds:Signature in its tree, common to all profiles."""

    parsed: ParsedSignature
    certificate: Certificate

    @property
    def algorithm(self) -> str:
        """Return the URI of the signature algorithm."""
        return self.parsed.algorithm

    @property
    def value(self) -> bytes:
        """Return the octets of SignatureValue."""
        return self.parsed.value

    @property
    def references(self) -> tuple[DigestReference, ...]:
        """Return the references of SignedInfo."""
        return self.parsed.references

    def get_location(self) -> str:
        """Return the XPath of ds:Signature."""
        return build_xpath(self.parsed.element)

    def canonicalize_signed_info(self) -> bytes:
        """Return SignedInfo in its canonical form; raise where it has none."""
        return canonicalize_signed_info(self.parsed)


@dataclass(frozen=True, slots=True)
class SignatureOctets:
    """All that a reading of a signature says, as values and octets that need no tree.

    `names`, `canonical_forms` and `parts` are those of its references: see `SignedContent` and
    `SignedOctets`.
    """

    certificate: Certificate
    algorithm: str
    value: bytes
    references: tuple[DigestReference, ...]
    signed_info: bytes
    names: tuple[str | None, ...]
    canonical_forms: tuple[bytes | None, ...]
    parts: tuple[str, ...]
    excluded: tuple[str, ...]

    def get_location(self) -> str:
        """Return ``ds:Signature`` as the location of problems: without a tree there is no XPath."""
        return "ds:Signature"

    def match_references(self) -> SignedContent:
        """Return the signed content of each reference; the reading has checked the references."""
        return SignedContent(
            self.names, lambda: SignedOctets(iter(self.canonical_forms), self.parts, self.excluded)
        )

    def canonicalize_signed_info(self) -> bytes:
        """Return SignedInfo in its canonical form."""
        return self.signed_info


def collect_signature_octets(reading: SignatureReading) -> SignatureOctets:
    """Return the values and octets of a reading; raise for a reference that the profile does not permit.

    Also raises for content that must be signed and has no reference.
    """
    content = reading.match_references()
    signed_octets = content.canonicalize()
    return SignatureOctets(
        reading.certificate,
        reading.algorithm,
        reading.value,
        reading.references,
        reading.canonicalize_signed_info(),
        tuple(content.names),
        tuple(signed_octets.canonical_forms),
        tuple(part if isinstance(part, str) else build_xpath(part) for part in signed_octets.parts),
        signed_octets.excluded,
    )


def verify_reading(
    reading: SignatureReading,
    attachments: SignedAttachments,
    check_certificate: CertificateCheck | None = None,
    decryptions: Mapping[str, PartDecryption] | None = None,
) -> VerifiedSignature:
    """Return a verified signature, with the parts that it covers; raise GW202 to GW204.

    The checks, in the order of their cost:

    1. `check_certificate`: whether its holder may be the signer, before anything is computed with its key.
    2. The references: the profile permits each, none is repeated, and no required one is missing.
    3. The kind and the strength of the key, then the signature value over SignedInfo, which is small: without
       the key, a sender causes no work that grows with the message.
    4. The digest of each reference in turn, but for the parts with `decryptions`.
    5. Those are decrypted, and their plaintext digested.

    The path and the validity of the certificate are for the caller.
    """
    certificate, part_decryptions = reading.certificate, decryptions or {}
    if check_certificate is not None:
        check_certificate(certificate)
    content = reading.match_references()
    _verify_value(reading)
    signed_octets = content.canonicalize()
    named_references = list(zip(reading.references, content.names, strict=True))
    for (reference, attachment_name), octets in zip(
        named_references, signed_octets.canonical_forms, strict=True
    ):
        if attachment_name is None:
            _check_digest(reading, reference, octets, None)
        elif attachment_name not in part_decryptions:
            canonical_form = _canonicalize_attachment(
                reading, reference, partial(attachments.canonicalize, attachment_name)
            )
            _check_digest(
                reading, reference, canonical_form, partial(attachments.get_octets, attachment_name)
            )
    for reference, attachment_name in named_references:
        if attachment_name is not None and attachment_name in part_decryptions:
            digest_check = partial(
                attachments.is_signed_plaintext, attachment_name, reference, reading.get_location()
            )
            part_decryptions[attachment_name](digest_check)
    return VerifiedSignature(
        references=reading.references,
        certificate=certificate,
        parts=signed_octets.parts,
        signature_algorithm=reading.algorithm,
        excluded=signed_octets.excluded,
    )


def _verify_value(reading: SignatureReading) -> None:
    algorithm, key = reading.algorithm, reading.certificate.public_key
    check_public_key(algorithm, key)
    if not verify_value_of_checked_key(algorithm, key, reading.value, reading.canonicalize_signed_info()):
        _raise_signature_invalid(reading, WRONG_VALUE_TEXT)


def _check_digest(
    reading: SignatureReading,
    reference: DigestReference,
    octets: DigestInput | None,
    get_octets: Callable[[], bytes | Body] | None,
) -> None:
    """Raise GW202 for a wrong digest; `get_octets` returns those of the attachment, for the reason."""
    assert octets is not None, "XML that is signed has octets"
    if not has_digest(reference, octets):
        _raise_signature_invalid(
            reading, describe_wrong_digest(reference, None if get_octets is None else get_octets())
        )


def _canonicalize_attachment(
    reading: SignatureReading, reference: DigestReference, canonicalize: Callable[[], DigestInput]
) -> DigestInput:
    """Return the octets for the digest; an attachment that is malformed XML makes the signature invalid."""
    try:
        return canonicalize()
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            _raise_signature_invalid(reading, f"{describe_reference(reference.uri)} has no canonical form")
        raise


def _raise_signature_invalid(reading: SignatureReading, detail: str) -> NoReturn:
    raise GatewayError(errors.SIGNATURE_INVALID, detail, reading.get_location())


def describe_wrong_digest(reference: DigestReference, attachment_octets: bytes | Body | None) -> str:
    """Return the reason for the refusal of a digest that is wrong.

    `attachment_octets` are the octets of the attachment that the reference names, after transfer decoding;
    None for anything else.
    """
    detail = f"the digest of {describe_reference(reference.uri)} is wrong"
    if attachment_octets is None:
        return detail
    if has_digest(reference, attachment_octets):
        return f"{detail}: it fits the octets as they are, but here their canonical form is digested"
    if isinstance(attachment_octets, bytes) and any(
        has_digest(reference, base64_text) for base64_text in _list_base64_texts(attachment_octets)
    ):
        return f"{detail}: it fits the text in base64, but the decoded octets are digested"
    return detail


def has_digest(reference: DigestReference, octets: DigestInput) -> bool:
    """Return whether octets have the digest of a reference."""
    return compare_digests(compute_digest(reference.digest_algorithm, octets), reference.digest_value)


def _list_base64_texts(octets: bytes) -> Iterator[bytes]:
    """Yield octets in base64 as packers write them: in one line, and in lines of 76 (RFC 2045 §6.8)."""
    yield base64.b64encode(octets)
    lines = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    yield lines
    yield lines.removesuffix(b"\r\n")
