"""signxml as the verifier of XAdES, restricted to octets and elements that the gateway chooses.

By itself signxml skips transforms that it does not know, resolves identifiers by any
attribute of that name, and canonicalizes the signature outside its context. This adapter
leaves it nothing to resolve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature as WrongValue
from lxml import etree
from signxml import SignatureMethod
from signxml.exceptions import InvalidDigest
from signxml.xades import (
    XAdESSignatureConfiguration,
    XAdESVerifier,
)

from gateway import errors
from gateway.errors import GatewayError, describe_exception, raise_resource_problem
from gateway.pki import Certificate
from gateway.xmlsec.algorithms import SIGNED_PROPERTIES
from gateway.xmlsec.signature_verifier import WRONG_VALUE, verify_reference_digests
from gateway.xmlsec.xml_signature import ParsedSignature, apply_canonicalization


def verify_xades_signature(
    root: etree._Element, parsed: ParsedSignature, octets: Mapping[str, bytes], certificate: Certificate
) -> None:
    """Verify the digest of each reference, the signature value, and the certificate's digest.

    Raises the problem SIGNATURE_INVALID for any error of signxml.
    """
    config = XAdESSignatureConfiguration(
        expect_references=len(octets),
        signature_methods=frozenset({SignatureMethod(parsed.algorithm)}),
        # signxml checks the dates of the certificate; the time of validation is not known here
        verification_time=certificate.not_before,
    )
    loaded = x509.load_der_x509_certificate(certificate.der)
    verifier = _OctetVerifier(parsed, octets)
    try:
        verifier.verify(root, x509_cert=loaded, validate_schema=False, expect_config=config)
    except Exception as error:  # signxml does not catch exceptions of cryptography and lxml
        raise_resource_problem(error)
        if isinstance(error, InvalidDigest):
            # signxml numbers the references; this names the one that differs
            verify_reference_digests(parsed, lambda one: octets[one.uri])
        raise GatewayError(errors.SIGNATURE_INVALID, _describe_failure(error), "ds:Signature") from None


def _describe_failure(error: Exception) -> str:
    # cryptography raises InvalidSignature without a text, and signxml quotes it
    inner = error.__cause__ or error.__context__
    if isinstance(error, WrongValue) or isinstance(inner, WrongValue):
        return WRONG_VALUE
    return f"the signature cannot be verified: {describe_exception(error)}"


class _OctetVerifier(XAdESVerifier):  # type: ignore[misc]  # signxml is untyped
    """The verifier of signxml over octets that are already canonical, with nothing to resolve."""

    def __init__(self, parsed: ParsedSignature, octets: Mapping[str, bytes]) -> None:
        self._structure = parsed
        self._octets = octets
        # A tree takes eight times as much as its octets, and signxml reads one tree alone: the properties.
        references = parsed.references
        self._treeless = [
            octets[reference.uri] for reference in references if reference.type != SIGNED_PROPERTIES
        ]

    def get_root(self, data: etree._Element) -> etree._Element:
        return data

    def _get_signature(self, root: etree._Element) -> etree._Element:  # noqa: ARG002
        return self._structure.element

    def _tostring(self, xml_node: etree._Element, **kwargs: Any) -> Any:  # noqa: ARG002
        return xml_node

    def _fromstring(self, xml_string: Any, **kwargs: Any) -> etree._Element | None:
        if isinstance(xml_string, etree._Element):
            return xml_string
        if any(xml_string is octets for octets in self._treeless):
            return None
        parsed: etree._Element = super()._fromstring(xml_string, **kwargs)
        return parsed

    def _c14n(self, nodes: etree._Element, **kwargs: Any) -> bytes:  # noqa: ARG002
        if nodes is not self._structure.signed_info:
            raise ValueError("something other than SignedInfo is canonicalised")
        return apply_canonicalization(nodes, self._structure.canonicalization, once=True)

    def _resolve_reference(self, doc_root: Any, reference: etree._Element, **kwargs: Any) -> bytes:  # noqa: ARG002
        return self._octets[reference.get("URI", "absent")]

    def _apply_transforms(self, payload: bytes, **kwargs: Any) -> bytes:  # noqa: ARG002
        return payload

    def _get_cert_validity_error(self, cert: x509.Certificate, cert_source: str) -> Any:
        # signxml describes each certificate, in case it is not valid then
        if cert.not_valid_before_utc <= self._get_cert_verification_time() <= cert.not_valid_after_utc:
            return None
        return super()._get_cert_validity_error(cert, cert_source)

    def _verify_cert_digests(self, verify_result: Any) -> None:
        # signxml writes what KeyInfo has as PEM, to read it again: it is the certificate that it was given
        properties = self._find(verify_result.signed_xml, "xades:SignedSignatureProperties")
        signing = self._find(properties, "xades:SigningCertificateV2")
        self._verify_cert_digest(signing, certs=[self.x509_cert], signing_cert=self.x509_cert)
