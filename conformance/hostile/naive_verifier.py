"""A verifier and a reader as they are often written: right for honest messages, wrong for many forged ones.

The verifier checks digests and the signature value. It does not check where the signed elements are, which
elements are signed, whether identifiers are unique, or whether the key is trusted. A forgery counts as an
attack if this verifier accepts it.

The reader is a naive gateway's reading of a verified request: parts, elements, values. Products read in each
of these ways: elements by name at any place, parts by position, Content-IDs without regard to case. If reader
and verifier use different elements or parts, a wrapped message succeeds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote, unquote_plus

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.wire import C14N_EXCLUSIVE, DS, DS11, EB, PREFIXES, SOAP11, WSSE, XLINK
from gateway_conformance.hostile.exchange import HttpRequest

_XPATH: Final = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_ENVELOPED: Final = f"{DS}enveloped-signature"
_BY_ANY_ID: Final = "//*[@*[translate(local-name(), 'ID', 'id')='id']=$i]"
_WITH_COMMENTS: Final = "#WithComments"
_OUTPUT_LENGTH: Final = f"{{{DS}}}HMACOutputLength"
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {"urn:oid:1.2.840.10045.3.1.7": ec.SECP256R1}

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303  # it accepts weak algorithms
    "md5": hashes.MD5(),  # noqa: S303  # it accepts weak algorithms
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

#: The parts beside an envelope, by Content-ID.
Parts = Mapping[str, bytes]


def accepts_signature(root: etree._Element, parts: Parts | None = None) -> bool:
    """Return whether the verifier accepts a document with its parts by Content-ID."""
    root = deepcopy(root)
    try:
        signature = find_signature(root)
        signed_info = _get_child(signature, "SignedInfo")
        digests = all(
            _verify_digest(signature, reference, parts or {})
            for reference in signed_info.iter(f"{{{DS}}}Reference")
        )
        return digests and _verify_signature_value(signature, signed_info)
    except (LookupError, StopIteration, ValueError, TypeError, InvalidSignature, etree.LxmlError):
        return False


def find_signature(root: etree._Element) -> etree._Element:
    """Return the first ds:Signature of a document that has a SignedInfo."""
    return next(
        element
        for element in root.iter(f"{{{DS}}}Signature")
        if element.find(f"{{{DS}}}SignedInfo") is not None
    )


def detach_element(node: etree._Element) -> None:
    """Remove an element from its tree and keep the text after it."""
    parent, before = node.getparent(), node.getprevious()
    if parent is None:
        return
    if before is None:
        parent.text = (parent.text or "") + (node.tail or "")
    else:
        before.tail = (before.tail or "") + (node.tail or "")
    parent.remove(node)


def derive_hmac_key(certificate: x509.Certificate) -> bytes:
    """Return the public key as the HMAC key of a verifier that does not check the kind of key."""
    return certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _get_child(element: etree._Element, name: str) -> etree._Element:
    return next(element.iterchildren(f"{{{DS}}}{name}"))


def _decode_text(element: etree._Element) -> bytes:
    # Characters outside base64 are ignored, as most decoders do.
    return base64.b64decode("".join(cast("list[str]", element.xpath("text()"))))


def _find_hash_by_name(algorithm: str) -> hashes.HashAlgorithm:
    """Return a hash by the end of an algorithm's name, without regard to the rest."""
    name = algorithm.rpartition("-")[2].rpartition("#")[2]
    return _HASHES.get(name.lower(), hashes.SHA256())


def _verify_digest(signature: etree._Element, reference: etree._Element, parts: Parts) -> bool:
    method = _get_child(reference, "DigestMethod").get("Algorithm", "")
    digest = hashlib.new(
        _find_hash_by_name(method).name,
        dereference_octets(signature, reference, parts),
        usedforsecurity=False,
    )
    return _decode_text(_get_child(reference, "DigestValue")) == digest.digest()


def dereference_octets(signature: etree._Element, reference: etree._Element, parts: Parts) -> bytes:
    """Return the octets of a reference: the first match of its name, after its transforms."""
    uri = reference.get("URI", "").strip()
    if uri.startswith("cid:"):
        return parts[unquote(uri[4:])]
    root = signature.getroottree().getroot()
    if uri:
        # "#x", "##x", "x" and "#xpointer(id('x'))" all come out as x.
        identifier = uri.rpartition("'")[0].rpartition("'")[2] or uri.lstrip("#")
        target = cast("list[etree._Element]", root.xpath(_BY_ANY_ID, i=identifier))[0]
    else:
        target = next(signature.iterancestors(f"{{{SOAP11}}}Envelope"), root)
    return _apply_transforms(target, signature, list(reference.iter(f"{{{DS}}}Transform")))


def _apply_transforms(
    target: etree._Element, signature: etree._Element, transforms: list[etree._Element]
) -> bytes:
    """Run the transforms that this verifier knows, and ignore the others."""
    methods = [transform.get("Algorithm", "") for transform in transforms]
    path = _find_child_path(target, signature)
    document_copy = _copy_as_document(
        target, exclusive=any(method.startswith(C14N_EXCLUSIVE) for method in methods)
    )
    if _ENVELOPED in methods and path is not None:
        detach_element(_follow_child_path(document_copy, path))
    for transform in transforms:
        if transform.get("Algorithm") == _XPATH:
            _apply_xpath_filter(document_copy, transform[0])
    return _canonicalize_node(document_copy, methods[-1] if methods else "")


def _find_child_path(target: etree._Element, signature: etree._Element) -> list[int] | None:
    """Return the path from a target down to the signature, None when the signature is not inside."""
    child_indexes: list[int] = []
    node = signature
    while node is not target:
        parent = node.getparent()
        if parent is None:
            return None
        child_indexes.insert(0, parent.index(node))
        node = parent
    return child_indexes


def _follow_child_path(node: etree._Element, child_indexes: list[int]) -> etree._Element:
    for child_index in child_indexes:
        node = node[child_index]
    return node


def _apply_xpath_filter(root: etree._Element, xpath: etree._Element) -> None:
    """Run the XPath transform as the standard describes it, with any expression."""
    names = {prefix: uri for prefix, uri in xpath.nsmap.items() if prefix}
    keeps_node = etree.XPath(xpath.text or "", namespaces=names)
    for node in [each for each in root.iter("*") if not keeps_node(each)]:
        if node.getparent() is not None:
            detach_element(node)


def _copy_as_document(target: etree._Element, *, exclusive: bool) -> etree._Element:
    """Return a copy of an element as a document; if not `exclusive`, with inherited ``xml:`` attributes."""
    if target.getparent() is None:
        return deepcopy(target)
    copied = etree.fromstring(etree.tostring(target, encoding="utf-8", with_tail=False))
    for ancestor in () if exclusive else target.iterancestors():
        for name, value in ancestor.attrib.items():
            if str(name).startswith("{http://www.w3.org/XML"):
                copied.set(name, copied.get(name, value))
    return copied


def _canonicalize_node(node: etree._Element, method: str) -> bytes:
    exclusive = method.startswith(C14N_EXCLUSIVE)
    keeps_comments = method.endswith(_WITH_COMMENTS[1:])
    return etree.tostring(node, method="c14n", exclusive=exclusive, with_comments=keeps_comments)


def _verify_signature_value(signature: etree._Element, signed_info: etree._Element) -> bool:
    method = _get_child(signed_info, "SignatureMethod")
    algorithm = method.get("Algorithm", "")
    canonicalization = _get_child(signed_info, "CanonicalizationMethod").get("Algorithm", "")
    data = _canonicalize_node(
        _copy_as_document(signed_info, exclusive=canonicalization.startswith(C14N_EXCLUSIVE)),
        canonicalization,
    )
    signature_value = _decode_text(_get_child(signature, "SignatureValue"))
    if "#hmac-" in algorithm:
        return _verify_hmac_value(signature, method, signature_value, data)
    return _verify_with_key(_find_public_key(signature), signature_value, data, _find_hash_by_name(algorithm))


def _verify_hmac_value(
    signature: etree._Element, method: etree._Element, signature_value: bytes, data: bytes
) -> bool:
    name = _find_hash_by_name(method.get("Algorithm", "")).name
    mac = hmac.new(derive_hmac_key(_find_certificate(signature)), data, name).digest()
    bit_length = method.findtext(_OUTPUT_LENGTH)
    return signature_value == (mac if bit_length is None else mac[: int(bit_length) // 8])


def _find_certificate(signature: etree._Element) -> x509.Certificate:
    """Return the first certificate at any place of the message."""
    root = signature.getroottree().getroot()
    texts = signature.iter(f"{{{DS}}}X509Certificate")
    element = next(texts, None)
    if element is None:
        element = next(root.iter(f"{{{WSSE}}}BinarySecurityToken"))
    return x509.load_der_x509_certificate(_decode_text(element))


def _find_public_key(signature: etree._Element) -> Any:
    """Return the key of the KeyValue if present, otherwise that of the certificate."""
    value = next(signature.iter(f"{{{DS}}}RSAKeyValue"), None)
    if value is not None:
        modulus, exponent = (int.from_bytes(_decode_text(element), "big") for element in value)
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    value = next(signature.iter(f"{{{DS11}}}ECKeyValue"), None)
    if value is not None:
        curve = _CURVES[value[0].get("URI", "")]()
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, _decode_text(value[1]))
    return _find_certificate(signature).public_key()


def _verify_with_key(key: Any, signature_value: bytes, data: bytes, hash_algorithm: Any) -> bool:
    """Check a signature value by the kind of key, without regard to the SignatureMethod."""
    half = len(signature_value) // 2
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature_value, data, padding.PKCS1v15(), hash_algorithm)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature_value, data)
    elif isinstance(key, ec.EllipticCurvePublicKey | dsa.DSAPublicKey):
        pair = encode_dss_signature(
            int.from_bytes(signature_value[:half], "big"), int.from_bytes(signature_value[half:], "big")
        )
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(pair, data, ec.ECDSA(hash_algorithm))
        else:
            key.verify(pair, data, hash_algorithm)
    else:
        return False
    return True


_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?')
_START: Final = re.compile(r'start="?<?([^">;]+)>?"?')
_COMMENT: Final = re.compile(r"\([^)]*\)")


@dataclass(frozen=True, slots=True)
class MimePart:
    """One MIME part as received: header fields in their order, and the content."""

    fields: tuple[tuple[str, str], ...]
    content: bytes

    def get_field_values(self, name: str) -> list[str]:
        """Return the values of all header fields of that name."""
        return [value for field, value in self.fields if field == name]

    @property
    def content_id(self) -> str:
        """Return the first Content-ID, without its angle brackets; "" when there is none."""
        return next(iter(self.get_field_values("content-id")), "").strip("<>")


def split_parts(post: HttpRequest) -> tuple[MimePart, ...]:
    """Return the parts of a request, a multipart inside a part not opened."""
    content_type = post.headers["Content-Type"]
    return tuple(_split_multipart(content_type, post.body)) or (MimePart((), post.body),)


def _split_multipart(content_type: str, body: bytes) -> Iterator[MimePart]:
    match = _BOUNDARY.search(content_type)
    if match is None:
        return
    marker = b"\r\n--" + match[1].encode()
    for piece in (b"\r\n" + body).split(marker)[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n") if ":" in line)
        yield MimePart(tuple((name.strip().lower(), value.strip()) for name, _, value in lines), content)


def _flatten_parts(post: HttpRequest) -> Iterator[MimePart]:
    """Yield the parts, and those inside a part that is a multipart itself, where it stands."""
    for part in split_parts(post):
        content_type = next(iter(part.get_field_values("content-type")), "")
        inner = (
            tuple(_split_multipart(content_type, part.content))
            if content_type.startswith("multipart/")
            else ()
        )
        yield from inner or (part,)


def accepts_request(post: HttpRequest, root_choice: str = "start") -> bool:
    """Return whether the naive verifier accepts a request; `root_choice` selects the part with the envelope.

    Of two parts with the same Content-ID it uses the last, as a program with a lookup table does.
    """
    contents = {part.content_id: part.content for part in split_parts(post)}
    return accepts_signature(_parse_envelope(_find_root_part(post, root_choice).content), contents)


def _find_root_part(post: HttpRequest, root_choice: str) -> MimePart:
    """Return the first part, or (`root_choice` is not ``first``) the part that the start parameter names."""
    parts = split_parts(post)
    start = _START.search(post.headers["Content-Type"])
    if root_choice == "first" or start is None:
        return parts[0]
    return next((part for part in parts if part.content_id == start[1]), parts[0])


def _parse_envelope(data: bytes) -> etree._Element:
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))


def _find_element_by_name(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element of that name in the document, as getElementsByTagName does."""
    name = path.rpartition("/")[2]
    prefix, _, local = name.partition(":")
    return next(root.iter(f"{{{PREFIXES[prefix]}}}{local}"), None)


def _find_element_by_path(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element at the path where it belongs."""
    return root.find(path, PREFIXES)


def _find_last_element_at_path(root: etree._Element, path: str) -> etree._Element | None:
    """Return the last element at its path, as a loop over the children does that keeps the last match."""
    elements = root.findall(path, PREFIXES)
    return elements[-1] if elements else None


#: How a naive gateway finds the element that it reads.
ELEMENT_STRATEGIES: Final[Mapping[str, Callable[[etree._Element, str], etree._Element | None]]] = {
    "name": _find_element_by_name,
    "path": _find_element_by_path,
    "last": _find_last_element_at_path,
}


def read_value(
    post: HttpRequest, path: str, value_path: str, strategy: str, root_choice: str = "start"
) -> str | None:
    """Return the value that the naive gateway reads: the path `value_path` in the element at `path`."""
    root = _parse_envelope(_find_root_part(post, root_choice).content)
    element = ELEMENT_STRATEGIES[strategy](root, path)
    if element is None:
        return None
    texts = element.xpath(value_path, namespaces=dict(PREFIXES))
    first = texts[0] if isinstance(texts, list) and texts else None
    return first.text if isinstance(first, etree._Element) else None if first is None else str(first)


def _find_first_content(post: HttpRequest, is_content: Callable[[MimePart], bool]) -> bytes | None:
    return next((part.content for part in _flatten_parts(post) if is_content(part)), None)


def _find_content_in_any_case(post: HttpRequest, href: str) -> bytes | None:
    return _find_first_content(post, lambda part: part.content_id.lower() == unquote(href[4:]).lower())


def _find_content_by_location(post: HttpRequest, href: str) -> bytes | None:
    # SOAP with Attachments, chapter 3: a Content-Location is resolved like any other URI.
    return _find_first_content(
        post,
        lambda part: (
            href in part.get_field_values("content-location") or part.content_id == unquote(href[4:])
        ),
    )


def _find_content_by_any_id_field(post: HttpRequest, href: str) -> bytes | None:
    return _find_first_content(
        post, lambda part: f"<{unquote(href[4:])}>" in part.get_field_values("content-id")
    )


def _find_content_ignoring_comments(post: HttpRequest, href: str) -> bytes | None:
    def is_wanted_part(part: MimePart) -> bool:
        fields = part.get_field_values("content-id")
        return bool(fields) and _COMMENT.sub("", fields[0]).strip(" <>") == unquote(href[4:])

    return _find_first_content(post, is_wanted_part)


#: How a naive gateway finds the part that the Manifest names.
PART_STRATEGIES: Final[Mapping[str, Callable[[HttpRequest, str], bytes | None]]] = {
    "first": lambda post, href: _find_first_content(post, lambda part: part.content_id == unquote(href[4:])),
    "position": lambda post, _: split_parts(post)[1].content,
    "any case": _find_content_in_any_case,
    "location": _find_content_by_location,
    "literal": lambda post, href: _find_first_content(post, lambda part: part.content_id == href[4:]),
    "plus": lambda post, href: _find_first_content(
        post, lambda part: part.content_id == unquote_plus(href[4:])
    ),
    "any field": _find_content_by_any_id_field,
    "comments": _find_content_ignoring_comments,
    "prefix": lambda post, href: _find_first_content(
        post, lambda part: part.content_id.startswith(unquote(href[4:]))
    ),
}


def read_content(post: HttpRequest, strategy: str) -> bytes | None:
    """Return the content that the naive gateway uses as the first payload of the Manifest."""
    root = _parse_envelope(_find_root_part(post, "start").content)
    reference = next(root.iter(f"{{{EB}}}Reference"))
    return PART_STRATEGIES[strategy](post, reference.get(f"{{{XLINK}}}href", ""))
