"""Signatures of messages: what is signed, by which party, and whether that suffices (ebMS 2.0 §4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import NOT_COVERED, SIGNATURE_MISSING, GatewayError
from gateway.message_model import (
    Body,
    DigestReference,
    ErrorSignal,
    Receipt,
    StatusRequest,
    Unit,
    UserMessage,
)
from gateway.pki import Signer
from gateway.protocols.ebms2.packaging import ManifestReference, MessagePackage
from gateway.protocols.signed_references import read_references
from gateway.protocols.value_digests import compute_values_digest
from gateway.wire import DS, WireLimits
from gateway.xmlsec import (
    SHA256,
    CertificateCheck,
    PartDecryption,
    VerifiedSignature,
    WrittenSignature,
    find_signature,
    get_signature_policy,
    verify_message_signature,
    write_message_signature,
)

__all__ = [
    "SIGNATURE",
    "check_payload_coverage",
    "collect_payload_digests",
    "compute_message_identity",
    "compute_signed_identity",
    "list_signed_parts",
    "needs_signature",
    "parse_cid_uri",
    "read_own_references",
    "require_signature",
    "sign_envelope",
    "verify_package_signature",
]

SIGNATURE: Final = "/soap:Envelope/soap:Header/ds:Signature"


def verify_package_signature(
    package: MessagePackage,
    policy: str,
    limits: WireLimits,
    *,
    signed: bool,
    believe: CertificateCheck | None = None,
    encrypted: Mapping[str, PartDecryption] | None = None,
) -> VerifiedSignature | None:
    """Return what a valid signature covers, None when there is no signature; raise GW202 to GW204.

    A signature that was not required is verified too: an invalid one indicates tampering. It
    must cover the envelope and every part. `signed` says that the header is known to contain
    a signature; otherwise one elsewhere in the envelope is searched for, and refused.
    `believe` checks the signer before anything is computed; `encrypted` decrypts parts, last of all.
    """
    if not signed and find_signature(package.envelope.root) is None:
        return None
    contents = {name: part.octets for name, part in package.parts.items()}
    return verify_message_signature(
        package.envelope.root,
        contents,
        get_signature_policy(policy),
        believe=believe,
        encrypted=encrypted,
        limits=limits,
    )


def require_signature(signed: VerifiedSignature | None) -> VerifiedSignature:
    """Raise GW201 for a message without the required signature."""
    if signed is None:
        raise GatewayError(SIGNATURE_MISSING, "this message must be signed", "/soap:Envelope/soap:Header")
    return signed


def check_payload_coverage(signed: VerifiedSignature, manifest: Iterable[ManifestReference]) -> None:
    """Raise GW203 for a payload that the Manifest names and the signature does not cover."""
    covered = list_signed_parts(signed)
    for one in manifest:
        if one.content_id not in covered:
            raise GatewayError(NOT_COVERED, "the signature does not cover this payload", one.location)


def list_signed_parts(signed: VerifiedSignature | None) -> frozenset[str]:
    """Return the content ids of the parts that the signature covers."""
    if signed is None:
        return frozenset()
    return frozenset(parse_cid_uri(one.uri) for one in signed.references if one.uri)


def collect_payload_digests(signed: VerifiedSignature | None) -> dict[str, str]:
    """Return the SHA-256 of each part in a valid signature, in hexadecimal, by content id."""
    if signed is None:
        return {}
    return {
        parse_cid_uri(one.uri): one.digest_value.hex()
        for one in signed.references
        if one.uri and one.digest_algorithm == SHA256
    }


def needs_signature(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether we sign `unit`.

    A receipt is signed when the sender asked for that (§6.3.1.2), when it repeats digests, or when
    the agreement always requires it. A StatusRequest is signed where the agreement answers only
    signed ones. Ping, Pong and StatusResponse are not signed: no known peer expects it.
    """
    if isinstance(unit, Receipt) and (unit.references or unit.signature_asked):
        return True
    if pmode is None:
        return False
    if isinstance(unit, Receipt):
        return pmode.reliability.ack_signed == "always"
    if isinstance(unit, StatusRequest):
        return pmode.security.needs_signed_status
    return isinstance(unit, UserMessage | ErrorSignal) and pmode.security.sign


def sign_envelope(
    envelope: bytes, namespaces: str, contents: Mapping[str, bytes | Body], signer: Signer
) -> WrittenSignature:
    """Return the signature of the envelope, whose root declares `namespaces`, and of the payloads."""
    return write_message_signature(envelope, namespaces, contents, signer)


def compute_message_identity(package: MessagePackage, signed: VerifiedSignature | None) -> str:
    """Return a digest that distinguishes a repeated message from another one with the same id.

    For a signed message it covers the digests in the signature and does not depend on MIME
    framing and key. For an unsigned message it covers the octets of envelope and payloads.
    """
    if signed is not None:
        return compute_signed_identity(signed)
    values: list[bytes | Body] = [package.octets]
    for name in sorted(package.parts):
        part = package.parts[name]
        values += (name.encode(), part.media_type.encode(), part.octets)
    return compute_values_digest(values)


def compute_signed_identity(signed: VerifiedSignature) -> str:
    """Return that digest for a signed message."""
    said = sorted((one.uri, one.digest_algorithm, one.digest_value) for one in signed.references)
    return compute_values_digest(
        [value for uri, algorithm, digest in said for value in (uri.encode(), algorithm.encode(), digest)]
    )


def read_own_references(element: etree._Element | None) -> tuple[DigestReference, ...]:
    """Return the references of our own ds:Signature, which is not verified again."""
    if element is None:
        return ()
    return read_references(element.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference"))


def parse_cid_uri(uri: str) -> str:
    """Return the content id of a cid: URI that is known to be well-formed."""
    return unquote(uri[4:])
