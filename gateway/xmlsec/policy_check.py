"""Checks a signature of any profile against a policy, before anything is computed, and finds its key.

A refusal by policy does not evaluate the value of the signature. The key is a certificate or a bare key that
the document itself contains. Elements that only name one (KeyName, subject, serial number, identifier) are
ignored; anything that would have to be looked up elsewhere is not accepted as a source.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, NoReturn
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.pki import Certificate
from gateway.wire import BASE64_ENCODING, CURVE_OIDS, DS, DS11, WSSE, WSU, X509_TOKEN, build_xpath
from gateway.xmlsec.algorithms import (
    CANONICAL_FORMS,
    ENVELOPED_SIGNATURE,
    XPATH,
    SignaturePolicy,
    check_digest_algorithm,
    check_signature_algorithm,
)
from gateway.xmlsec.key_info import (
    X509_HINTS,
    decode_certificate,
    read_ec_point,
    read_rsa_numbers,
)
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    raise_signature_error,
)
from gateway.xmlsec.xml_signature import EBMS2_EXPRESSION, read_transform

PolicyGround = Literal[
    "document", "several signatures", "algorithm", "transform", "external reference", "pointer", "key source"
]

_SIGNED_INFO: Final = f"{{{DS}}}SignedInfo"
_ALLOWED_TRANSFORMS: Final = CANONICAL_FORMS | {ENVELOPED_SIGNATURE, XPATH}
_ID_REFERENCE: Final = re.compile(r"#[^\W\d][\w.\-]*")


class PolicyViolationError(GatewayError):
    """A refusal by policy; `policy_rule` names the rule."""

    def __init__(self, policy_rule: PolicyGround, detail: str, location: str, problem: Problem) -> None:
        super().__init__(problem, detail, location)
        self.policy_rule: PolicyGround = policy_rule


def raise_policy_violation(
    policy_rule: PolicyGround,
    detail: str,
    element: etree._Element,
    problem: Problem = errors.ALGORITHM_REFUSED,
) -> NoReturn:
    """Raise a refusal by policy with the XPath of the element."""
    raise PolicyViolationError(policy_rule, detail, build_xpath(element), problem)


@contextmanager
def map_policy_violation(policy_rule: PolicyGround) -> Iterator[None]:
    """Convert a GatewayError raised inside into a refusal by policy on this ground."""
    try:
        yield
    except PolicyViolationError:
        raise
    except GatewayError as refusal:
        errors.raise_resource_problem(refusal)
        raise PolicyViolationError(
            policy_rule, refusal.detail, refusal.location, errors.ALGORITHM_REFUSED
        ) from None


def normalize_part_uri(uri: str) -> str:
    """Return the URI of a part for comparison: in a cid: URI the Content-ID is encoded (RFC 2392)."""
    return "cid:" + unquote(uri[4:]) if uri.startswith("cid:") else uri


def check_signature_policy(
    signature: etree._Element, parts: Collection[str], policy: SignaturePolicy
) -> None:
    """Raise for algorithms, transforms and references that the policy does not name.

    `parts` are the names of the objects received with the document (see
    `normalize_part_uri`). A signature without SignedInfo passes: its form is not checked
    here.
    """
    for signed_info in signature.iterchildren(_SIGNED_INFO):
        for method in signed_info.iterchildren(f"{{{DS}}}CanonicalizationMethod"):
            if method.get("Algorithm") not in CANONICAL_FORMS:
                raise_policy_violation(
                    "algorithm", f"SignedInfo in '{_format_algorithm(method)}' is not permitted", method
                )
        for method in signed_info.iterchildren(f"{{{DS}}}SignatureMethod"):
            with map_policy_violation("algorithm"):
                check_signature_algorithm(method.get("Algorithm", ""), policy)
        for reference in signed_info.iterchildren(f"{{{DS}}}Reference"):
            _check_reference(reference, parts, policy)


def _check_reference(reference: etree._Element, parts: Collection[str], policy: SignaturePolicy) -> None:
    """Raise for a digest algorithm, a URI or a transform of a ds:Reference that is not permitted."""
    for method in reference.iterchildren(f"{{{DS}}}DigestMethod"):
        with map_policy_violation("algorithm"):
            check_digest_algorithm(method.get("Algorithm", ""), policy)
    _check_reference_uri(reference, parts)
    for transform in reference.iterfind(f"{{{DS}}}Transforms/{{{DS}}}Transform"):
        if transform.get("Algorithm") not in _ALLOWED_TRANSFORMS:
            raise_policy_violation(
                "transform", f"transform '{_format_algorithm(transform)}' is not permitted", transform
            )
        if transform.get("Algorithm") == XPATH:
            with map_policy_violation("transform"):
                if read_transform(transform).expression != EBMS2_EXPRESSION:
                    raise_signature_error("an XPath expression other than the one of ebMS 2.0", transform)


def _check_reference_uri(reference: etree._Element, parts: Collection[str]) -> None:
    """Raise unless the URI of a reference is empty, names one of `parts`, or is # and an identifier."""
    uri = reference.get("URI")
    if uri is None:
        raise_policy_violation("external reference", "a reference without a URI is not accepted", reference)
    if uri == "" or normalize_part_uri(uri) in parts or _ID_REFERENCE.fullmatch(uri):
        return
    if uri.startswith("cid:"):
        raise_signature_error(f"the signed part '{uri[:120]}' is not here", reference, errors.PART_MISSING)
    if uri.startswith("#"):
        raise_policy_violation("pointer", f"reference '{uri[:120]}' is not #identifier", reference)
    raise_policy_violation("external reference", f"'{uri[:120]}' is not fetched", reference)


def _format_algorithm(element: etree._Element) -> str:
    return element.get("Algorithm", "")[:120]


_MAX_CERTIFICATES: Final = 4
_X509_DATA: Final = f"{{{DS}}}X509Data"
_KEY_VALUE: Final = f"{{{DS}}}KeyValue"
_DER_KEY: Final = f"{{{DS11}}}DEREncodedKeyValue"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_SOURCE_TAGS: Final = frozenset({_X509_DATA, _KEY_VALUE, _DER_KEY, _TOKEN_REFERENCE})
_KEY_NAME: Final = f"{{{DS}}}KeyName"
_CURVES: Final[dict[str | None, type[ec.EllipticCurve]]] = {
    CURVE_OIDS[curve.name]: curve for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
}


@dataclass(frozen=True, slots=True)
class KeySource:
    """A public key, the certificate that contains it, if any, and the other certificates of the document."""

    key: object
    certificate: Certificate | None = None
    extra_certificates: tuple[Certificate, ...] = ()


def read_key_source(key_info: etree._Element, root: etree._Element) -> KeySource:
    """Return the one key in KeyInfo; raise a policy violation for different keys or none."""
    with map_policy_violation("key source"):
        check_attributes(key_info, optional=("Id",))
        parts = [part for part in list_children(key_info) if part.tag != _KEY_NAME]
        tags = [part.tag for part in parts]
        if not set(tags) <= _SOURCE_TAGS or len(set(tags)) < len(tags) or not tags:
            names = ", ".join(etree.QName(tag).localname for tag in tags) or "nothing but a name"
            raise_policy_violation(
                "key source", f"KeyInfo contains {names} instead of a certificate or key", key_info
            )
        key_sources = [_read_source(part, root) for part in parts]
    # a certificate first: only a certificate identifies the signer
    key_sources.sort(key=lambda source: source.certificate is None)
    if (
        len({_encode_public_key(source.key) for source in key_sources}) > 1
        or sum(1 for source in key_sources if source.certificate) > 1
    ):
        raise_policy_violation("key source", "KeyInfo contains more than one key or certificate", key_info)
    return key_sources[0]


def _read_source(element: etree._Element, root: etree._Element) -> KeySource:
    """Return the key in a child of ds:KeyInfo, and the certificate that contains it, if there is one."""
    if element.tag == _X509_DATA:
        return _read_x509_data(element)
    if element.tag == _TOKEN_REFERENCE:
        certificate = _read_token_certificate(element, root)
        return KeySource(certificate.public_key, certificate)
    try:
        if element.tag == _DER_KEY:
            return KeySource(load_der_public_key(decode_base64(element)))
        return KeySource(_read_key_value(element))
    except (ValueError, UnsupportedAlgorithm):
        raise_policy_violation("key source", "this is not a public key", element)


def _read_key_value(element: etree._Element) -> object:
    """Return an RSA or elliptic-curve key; raise ValueError when the numbers are not a valid key."""
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    if [part.tag for part in parts] == [f"{{{DS}}}RSAKeyValue"]:
        modulus, exponent = read_rsa_numbers(parts[0])
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    uri, point = read_ec_point(get_only_child(element, f"{{{DS11}}}ECKeyValue"))
    if uri not in _CURVES:
        raise_policy_violation("key source", f"curve '{str(uri)[:80]}' is not permitted", element)
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[uri](), point)


def _read_x509_data(x509_data: etree._Element) -> KeySource:
    """Return the one leaf in ds:X509Data as the key source, with the other certificates beside it."""
    check_attributes(x509_data)
    parts = [part for part in list_children(x509_data) if part.tag not in X509_HINTS]
    if not parts:
        raise_policy_violation(
            "key source", "X509Data names a certificate that is not in the document", x509_data
        )
    if len(parts) > _MAX_CERTIFICATES or any(part.tag != f"{{{DS}}}X509Certificate" for part in parts):
        raise_policy_violation(
            "key source", f"X509Data holds at most {_MAX_CERTIFICATES} certificates", x509_data
        )
    certificates = list(dict.fromkeys(decode_certificate(part) for part in parts))
    leaf = _find_leaf_certificate(certificates)
    if leaf is None:
        raise_policy_violation(
            "key source", "no single certificate in X509Data is that of the signer", x509_data
        )
    return KeySource(
        leaf.public_key, leaf, tuple(certificate for certificate in certificates if certificate is not leaf)
    )


def _find_leaf_certificate(certificates: list[Certificate]) -> Certificate | None:
    """Return the certificate of the signer; None if no single one fits.

    It is the only end-entity certificate, else the only certificate that issued none, else the only one.
    """
    for candidates in (
        [certificate for certificate in certificates if not certificate.is_ca],
        [
            certificate
            for certificate in certificates
            if all(certificate.subject != subject_certificate.issuer for subject_certificate in certificates)
        ],
        certificates,
    ):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _read_token_certificate(token_reference: etree._Element, root: etree._Element) -> Certificate:
    """Return the certificate in the one BinarySecurityToken that the reference names."""
    uri = get_only_child(token_reference, f"{{{WSSE}}}Reference").get("URI", "")
    tokens = [
        token
        for token in root.iter(f"{{{WSSE}}}BinarySecurityToken")
        if f"#{token.get(f'{{{WSU}}}Id')}" == uri
    ]
    if len(tokens) != 1 or tokens[0].get("ValueType") != X509_TOKEN:
        raise_policy_violation(
            "key source", "the SecurityTokenReference names no X.509 token", token_reference
        )
    parent_element = tokens[0].getparent()
    if parent_element is None or parent_element.tag != f"{{{WSSE}}}Security":
        raise_policy_violation("key source", "the token is outside wsse:Security", tokens[0])
    if tokens[0].get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_policy_violation("key source", "the token is not in base64", tokens[0])
    return decode_certificate(tokens[0])


def _encode_public_key(key: object) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return octets
