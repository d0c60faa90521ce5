"""Signs documents by signxml alone: the opinion of another program on what the gateway writes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree
from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.xades import XAdESDataObjectFormat, XAdESSigner

from gateway.pki import Signer
from gateway.wire import C14N, DS, XADES, canonicalize_document
from gateway.xmlsec import SHA256, Transform, apply_canonicalization
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N


def sign_by_signxml(root: etree._Element, signer: Signer, now: datetime) -> None:
    """Append an enveloped XAdES-B signature to the root."""
    certificate = x509.load_der_x509_certificate(signer.certificate.der)
    _DeterministicSigner(signer, now).sign(
        root, key=_SignerKey(signer), cert=[certificate], always_add_key_value=False
    )


class _SignerKey:
    """A private key for signxml that signs with any Signer."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        public = signer.certificate.public_key
        self._curve = isinstance(public, ec.EllipticCurvePublicKey)
        self.key_size = getattr(public, "key_size", 0)

    def sign(self, data: bytes, **kwargs: Any) -> bytes:
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

    def add_signing_time(self, signed_signature_properties: etree._Element, **kwargs: Any) -> None:
        etree.SubElement(signed_signature_properties, f"{{{XADES}}}SigningTime").text = self._now

    def _get_token(self, length: int = 4) -> str:
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

    def _c14n(self, nodes: etree._Element, algorithm: Any, **kwargs: Any) -> bytes:
        if nodes.getparent() is None:
            return canonicalize_document(nodes, (nodes[-1],))
        return apply_canonicalization(nodes, Transform(algorithm.value))
