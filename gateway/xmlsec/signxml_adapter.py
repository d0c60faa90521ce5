"""signxml as the engine of XAdES, restricted to octets and elements that the gateway chooses.

By itself signxml skips transforms that it does not know, resolves identifiers by any
attribute of that name, and canonicalizes the signature outside its context. This adapter
leaves it nothing to resolve, and gives it the time and the identifiers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature as WrongValue
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree
from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest
from signxml.xades import (
    XAdESDataObjectFormat,
    XAdESSignatureConfiguration,
    XAdESSigner,
    XAdESVerifier,
)

from gateway import errors
from gateway.errors import GatewayError, describe_exception
from gateway.pki import Certificate, Signer
from gateway.wire import DS, XADES, canonicalize_document
from gateway.xmlsec.algorithms import C14N, EXCLUSIVE_C14N, SHA256
from gateway.xmlsec.digest_references import Transform
from gateway.xmlsec.xml_signature import (
    WRONG_VALUE,
    SignatureStructure,
    apply_canonicalization,
    verify_reference_digests,
)

__all__ = ["SIGNED_PROPERTIES", "append_xades_signature", "verify_xades_signature"]

#: The type of the reference to the signed properties (ETSI EN 319 132-1, 4.4.2).
SIGNED_PROPERTIES: Final = "http://uri.etsi.org/01903#SignedProperties"
_FORMAT: Final = XAdESDataObjectFormat(Description="signed document", MimeType="application/xml")


def append_xades_signature(root: etree._Element, signer: Signer, now: datetime) -> None:
    """Append an enveloped XAdES-B signature to the root."""
    certificate = x509.load_der_x509_certificate(signer.certificate.der)
    _DeterministicSigner(signer, now).sign(
        root, key=_SignerKey(signer), cert=[certificate], always_add_key_value=False
    )


def verify_xades_signature(
    root: etree._Element, structure: SignatureStructure, octets: Mapping[str, bytes], certificate: Certificate
) -> None:
    """Verify the digest of each reference, the signature value, and the certificate's digest.

    Raises the problem SIGNATURE_INVALID for any error of signxml.
    """
    config = XAdESSignatureConfiguration(
        expect_references=len(octets),
        signature_methods=frozenset({SignatureMethod(structure.algorithm)}),
        # signxml checks the dates of the certificate; the time of validation is not known here
        verification_time=certificate.not_before,
    )
    loaded = x509.load_der_x509_certificate(certificate.der)
    verifier = _OctetVerifier(structure, octets)
    try:
        verifier.verify(root, x509_cert=loaded, validate_schema=False, expect_config=config)
    except Exception as error:  # signxml does not catch exceptions of cryptography and lxml
        if isinstance(error, InvalidDigest):
            # signxml numbers the references; this names the one that differs
            verify_reference_digests(structure, lambda one: octets[one.uri])
        raise GatewayError(errors.SIGNATURE_INVALID, _describe_failure(error), "ds:Signature") from None


def _describe_failure(error: Exception) -> str:
    # cryptography raises InvalidSignature without a text, and signxml quotes it
    inner = error.__cause__ or error.__context__
    if isinstance(error, WrongValue) or isinstance(inner, WrongValue):
        return WRONG_VALUE
    return f"the signature cannot be verified: {describe_exception(error)}"


class _OctetVerifier(XAdESVerifier):  # type: ignore[misc]  # signxml is untyped
    """The verifier of signxml over octets that are already canonical, with nothing to resolve."""

    def __init__(self, structure: SignatureStructure, octets: Mapping[str, bytes]) -> None:
        self._structure = structure
        self._octets = octets
        # A tree takes eight times as much as its octets, and signxml reads one tree alone: the properties.
        references = structure.references
        self._treeless = [octets[one.uri] for one in references if one.type != SIGNED_PROPERTIES]

    def get_root(self, data: etree._Element) -> etree._Element:
        return data

    def _get_signature(self, root: etree._Element) -> etree._Element:  # noqa: ARG002
        return self._structure.element

    def _tostring(self, xml_node: etree._Element, **kwargs: Any) -> Any:  # noqa: ARG002
        return xml_node

    def _fromstring(self, xml_string: Any, **kwargs: Any) -> etree._Element | None:
        if isinstance(xml_string, etree._Element):
            return xml_string
        if any(xml_string is one for one in self._treeless):
            return None
        parsed: etree._Element = super()._fromstring(xml_string, **kwargs)
        return parsed

    def _c14n(self, nodes: etree._Element, **kwargs: Any) -> bytes:  # noqa: ARG002
        if nodes is not self._structure.signed_info:
            raise ValueError("something other than SignedInfo is canonicalised")
        return apply_canonicalization(nodes, self._structure.canonicalization)

    def _resolve_reference(self, doc_root: Any, reference: etree._Element, **kwargs: Any) -> bytes:  # noqa: ARG002
        return self._octets[reference.get("URI", "absent")]

    def _apply_transforms(self, payload: bytes, **kwargs: Any) -> bytes:  # noqa: ARG002
        return payload


class _SignerKey:
    """A private key for signxml that signs with any Signer."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        public = signer.certificate.public_key
        self._curve = isinstance(public, ec.EllipticCurvePublicKey)
        self.key_size = getattr(public, "key_size", 0)

    def sign(self, data: bytes, **kwargs: Any) -> bytes:  # noqa: ARG002
        """Return the signature in the encoding of cryptography's keys."""
        value = self._signer.sign(data)
        if not self._curve:
            return value
        half = len(value) // 2
        return encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))


class _DeterministicSigner(XAdESSigner):  # type: ignore[misc]  # signxml is untyped
    """The XAdES signer of signxml with a given time and derived ids; canonicalizes in the document itself."""

    def __init__(self, signer: Signer, now: datetime) -> None:
        super().__init__(
            signature_algorithm=SignatureMethod(signer.algorithm),
            digest_algorithm=DigestAlgorithm(SHA256),
            c14n_algorithm=CanonicalizationMethod(EXCLUSIVE_C14N),
            data_object_format=XAdESDataObjectFormat(
                Description="signed document", MimeType="application/xml"
            ),
        )
        self._now = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        seed = f"{signer.certificate.sha256} {self._now}".encode()
        self._stem = hashlib.sha256(seed).hexdigest()[:12]
        self._count = 0

    def get_root(self, data: etree._Element) -> etree._Element:
        return data

    def add_signing_time(self, signed_signature_properties: etree._Element, **kwargs: Any) -> None:  # noqa: ARG002
        etree.SubElement(signed_signature_properties, f"{{{XADES}}}SigningTime").text = self._now

    def _get_token(self, length: int = 4) -> str:  # noqa: ARG002
        self._count += 1
        return f"-{self._stem}-{self._count}"

    def _build_sig(self, sig_root: etree._Element, references: list[Any], **kwargs: Any) -> Any:
        # inclusive for the document: prefixes in its values (QNames) are then signed too
        method = CanonicalizationMethod(C14N)
        inclusive = [replace(reference, c14n_method=method) for reference in references]
        return super()._build_sig(sig_root, references=inclusive, **kwargs)

    def _add_reference_to_signed_info(
        self, sig_root: etree._Element, node_to_reference: etree._Element, **attrs: str
    ) -> None:
        super()._add_reference_to_signed_info(sig_root, node_to_reference, **attrs)
        # without this transform a reader must assume inclusive C14N, which depends on the signature's
        # context
        transforms = etree.Element(f"{{{DS}}}Transforms")
        sig_root[0][-1].insert(0, transforms)
        etree.SubElement(transforms, f"{{{DS}}}Transform", Algorithm=EXCLUSIVE_C14N)

    def _c14n(self, nodes: etree._Element, algorithm: Any, **kwargs: Any) -> bytes:  # noqa: ARG002
        if nodes.getparent() is None:
            return canonicalize_document(nodes, (nodes[-1],))
        return apply_canonicalization(nodes, Transform(algorithm.value))
