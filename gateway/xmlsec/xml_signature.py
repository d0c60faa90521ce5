"""The ds:Signature element: its structure, its references, canonical forms, and the identifiers they name.

The XPath transform of ebMS 2.0 is recognized by its tokens and never evaluated.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar, cast
from urllib.parse import unquote_to_bytes

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import Signer
from gateway.wire import (
    C14N,
    DEFAULT_LIMITS,
    DS,
    EB,
    SOAP11,
    SWA_CONTENT,
    WSU,
    XADES,
    XML,
    WireLimits,
    canonicalize_element,
    write_algorithm,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec.algorithms import (
    C14N_11,
    CANONICAL_FORMS,
    ENVELOPED_SIGNATURE,
    EXCLUSIVE_C14N,
    EXCLUSIVE_C14N_COMMENTS,
    SHA256,
    XPATH,
    DigestInput,
    SignaturePolicy,
    check_digest_algorithm,
    check_signature_algorithm,
    compute_digest,
)
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    raise_signature_error,
    read_algorithm,
    read_text,
)

# canonical attribute values have double quotes, with no quote and no "<" inside
_START_TAG: Final = re.compile(rb'<[^ />]+(?: [^ =]+="[^"]*")*')
_XML_ID: Final = re.compile(rb' xml:id="[^"]*"')

_Octets = TypeVar("_Octets", bound=DigestInput | None)


@dataclass(frozen=True, slots=True)
class ParsedSignature:
    """A ds:Signature after reading: every part in its place and nothing else."""

    element: etree._Element
    signed_info: etree._Element
    canonicalization: Transform
    algorithm: str
    references: tuple[DigestReference, ...]
    value: bytes
    key_info: etree._Element
    objects: tuple[etree._Element, ...]


def read_signature(
    element: etree._Element,
    policy: SignaturePolicy,
    object_count: int = 0,
    limits: WireLimits = DEFAULT_LIMITS,
) -> ParsedSignature:
    """Read a ds:Signature with exactly one SignedInfo, SignatureValue, KeyInfo and `object_count` Objects.

    Algorithms are checked against the policy at once, and the numbers of references and
    prefixes against the limits.
    """
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    expected_names = ["SignedInfo", "SignatureValue", "KeyInfo"] + ["Object"] * object_count
    if [part.tag for part in parts] != [f"{{{DS}}}{name}" for name in expected_names]:
        raise_signature_error(f"a Signature must hold exactly {', '.join(expected_names)}", element)
    signed_info, value_element, key_info, *object_elements = parts
    check_attributes(value_element, optional=("Id",))
    canonicalization, algorithm, references = _read_signed_info(signed_info, limits)
    check_signature_algorithm(algorithm, policy)
    for reference in references:
        check_digest_algorithm(reference.digest_algorithm, policy)
    return ParsedSignature(
        element=element,
        signed_info=signed_info,
        canonicalization=canonicalization,
        algorithm=algorithm,
        references=references,
        value=decode_base64(value_element),
        key_info=key_info,
        objects=tuple(object_elements),
    )


def _read_signed_info(
    element: etree._Element, limits: WireLimits
) -> tuple[Transform, str, tuple[DigestReference, ...]]:
    """Return canonicalization, signature algorithm and references of ds:SignedInfo within `limits`."""
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    tags = [part.tag for part in parts[:2]]
    if tags != [f"{{{DS}}}CanonicalizationMethod", f"{{{DS}}}SignatureMethod"] or len(parts) < 3:
        raise_signature_error(
            "SignedInfo must hold CanonicalizationMethod, SignatureMethod and References", element
        )
    method_element, algorithm_element, *reference_elements = parts
    if len(reference_elements) > limits.references:
        raise_signature_error(
            f"there are more than {limits.references} references", element, errors.TOO_LARGE
        )
    canonicalization = read_transform(method_element)
    if canonicalization.algorithm in (ENVELOPED_SIGNATURE, XPATH, SWA_CONTENT):
        raise_signature_error("no profile permits this canonicalisation of SignedInfo", method_element)
    check_attributes(algorithm_element, required=("Algorithm",))
    if list_children(algorithm_element):
        # SIG-25: no profile allows HMACOutputLength or RSA-PSS parameters
        raise_signature_error(
            "SignatureMethod must have no parameters", algorithm_element, errors.ALGORITHM_REFUSED
        )
    digest_references = tuple(read_reference(part) for part in reference_elements)
    methods = [
        canonicalization,
        *(transform for reference in digest_references for transform in reference.transforms),
    ]
    if any(len(method.prefixes) > limits.prefixes for method in methods):
        raise_signature_error(
            f"a PrefixList has more than {limits.prefixes} prefixes", element, errors.TOO_LARGE
        )
    return canonicalization, algorithm_element.get("Algorithm", ""), digest_references


def apply_canonicalization(element: etree._Element, method: Transform, *, once: bool = False) -> bytes:
    """Return the canonical octets of an element by a method that the profile has accepted.

    `once` is as in `canonicalize_element`: for octets whose digest or signature is verified.
    """
    if method.algorithm == EXCLUSIVE_C14N:
        return canonicalize_element(element, exclusive=True, prefixes=method.prefixes, once=once)
    if method.algorithm == C14N:
        return canonicalize_element(element, once=once)
    if method.algorithm != C14N_11:
        raise_signature_error(f"'{method.algorithm[:120]}' is not a canonicalisation", element)
    return _canonicalize_xml11(element, once=once)


def describe_reference(uri: str) -> str:
    """Return a reference in words; an empty URI means the whole document (XML-DSig §4.4.3.2)."""
    return f"reference '{uri[:120]}'" if uri else "the reference to the whole document"


def canonicalize_signed_part(
    canonicalize: Callable[[], _Octets], part_text: str, element: etree._Element
) -> _Octets:
    """Return the result of `canonicalize`; raise GW202 at `element` for a part without a canonical form.

    `part_text` names the part in the error text.

    It is no context manager: that of Python 3.12 would hold the error, and with it the tree, in a cycle.
    """
    try:
        return canonicalize()
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            raise_signature_error(f"{part_text} has no canonical form", element)
        raise


def canonicalize_signed_info(parsed: ParsedSignature) -> bytes:
    """Return SignedInfo in the canonical form that it names; raise GW202 where it has none."""
    element, method = parsed.signed_info, parsed.canonicalization
    return canonicalize_signed_part(
        lambda: apply_canonicalization(element, method, once=True), "SignedInfo", element
    )


def dereference_octets(
    reference: DigestReference, resolve: Callable[[DigestReference], _Octets], element: etree._Element
) -> _Octets:
    """Return the octets of a reference; raise when they have no canonical form."""
    return canonicalize_signed_part(lambda: resolve(reference), describe_reference(reference.uri), element)


def fill_digest_value(reference: etree._Element, octets: bytes) -> None:
    """Fill the SHA-256 of `octets` into the DigestValue of a ds:Reference."""
    reference[-1].text = base64.b64encode(compute_digest(SHA256, octets)).decode("ascii")


def fill_signature_value(element: etree._Element, method: Transform, signer: Signer) -> None:
    """Fill in the signature value over SignedInfo, which must already be in its final place."""
    signed_info, value_element = element[0], element[1]
    value_element.text = base64.b64encode(signer.sign(apply_canonicalization(signed_info, method))).decode(
        "ascii"
    )


def _canonicalize_xml11(element: etree._Element, *, once: bool) -> bytes:
    """Return Canonical XML 1.1: like 1.0, but a sub-tree does not inherit xml:id."""
    if any(ancestor.get(f"{{{XML}}}base") is not None for ancestor in element.iterancestors()):
        raise_signature_error(
            "Canonical XML 1.1 below an xml:base is not supported", element, errors.ALGORITHM_REFUSED
        )
    octets = canonicalize_element(element, once=once)
    if element.get(f"{{{XML}}}id") is not None:
        return octets
    tag_match = _START_TAG.match(octets)
    if tag_match is None:
        return octets
    return _XML_ID.sub(b"", tag_match[0], count=1) + octets[tag_match.end() :]


NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
NEXT_SOAP: Final = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_ACTORS: Final = frozenset({NEXT_MSH, NEXT_SOAP})

# ebMS 2.0 §4.1.3: elements that the next node may change are not signed
_EXPRESSION_TEMPLATE: Final = (
    f'not(ancestor-or-self::node()[@{{prefix}}:actor="{NEXT_MSH}"] | '
    f'ancestor-or-self::node()[@{{prefix}}:actor="{NEXT_SOAP}"])'
)
# Declared again on each ds:XPath: a prefix of the envelope may be renamed when it moves to another tree.
_XPATH_WITH_NAMESPACE: Final = "<ds:XPath" + write_attribute("xmlns:soap", SOAP11)
_WRITTEN_EXPRESSION: Final = _EXPRESSION_TEMPLATE.format(prefix="soap")
_XPATH_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<literal> "[^"]*" | '[^']*' )
      | [a-z-]+::                                           # an axis
      | (?P<prefix> [A-Za-z_][\w.-]*):(?P<local> [A-Za-z_][\w.-]*)
      | [A-Za-z_][\w.-]*                                    # a function or node test
      | [()\[\]@=|]
    )""",
    re.VERBOSE,
)
_MAX_EXPRESSION_LENGTH: Final = 1000
_MAX_TRANSFORMS: Final = 4
_PREFIX: Final = re.compile(r"#default|[^\W\d][\w.\-]*")
_INCLUSIVE_NAMESPACES: Final = f"{{{EXCLUSIVE_C14N}}}InclusiveNamespaces"


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform: its algorithm, the prefixes of exclusive C14N, the resolved tokens of an XPath."""

    algorithm: str
    prefixes: tuple[str, ...] = ()
    expression: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DigestReference:
    """The values of one ds:Reference; equal when URI, type, transforms, algorithm and digest are equal."""

    uri: str
    digest_algorithm: str
    digest_value: bytes
    transforms: tuple[Transform, ...] = ()
    type: str = ""


# the peers use few different spellings, in every message
@lru_cache(maxsize=64)
def _tokenize_xpath(expression: str) -> tuple[tuple[str, str], ...] | None:
    """Return the tokens of an XPath expression, names as (prefix, local name); None for other syntax."""
    tokens: list[tuple[str, str]] = []
    position = 0
    end = len(expression.rstrip(" \t\r\n"))
    while position < end:
        match = _XPATH_TOKEN.match(expression, position)
        if match is None:
            return None
        if match["local"]:
            tokens.append((match["prefix"], match["local"]))
        elif match["literal"]:
            tokens.append(("", f'"{match["literal"][1:-1]}"'))
        else:
            tokens.append(("", match[0].strip(" \t\r\n")))
        position = match.end()
    return tuple(tokens)


def _resolve_xpath(
    expression: str, bindings: Mapping[str | None, str], element: etree._Element | None
) -> tuple[str, ...]:
    """Return the tokens of an XPath expression with each prefix replaced by its namespace."""
    tokens = _tokenize_xpath(expression)
    if tokens is None:
        raise_signature_error("an XPath expression other than the one of ebMS 2.0", element)
    bound_prefixes = {}
    for prefix, _ in tokens:
        if prefix and prefix not in bindings:
            raise_signature_error(f"prefix {prefix[:40]} of the XPath expression is not bound", element)
        if prefix:
            bound_prefixes[prefix] = bindings[prefix]
    return _expand_prefixes(tokens, tuple(bound_prefixes.items()))


@lru_cache(maxsize=64)
def _expand_prefixes(
    tokens: tuple[tuple[str, str], ...], bound_prefixes: tuple[tuple[str, str], ...]
) -> tuple[str, ...]:
    namespaces = dict(bound_prefixes)
    return tuple(f"{{{namespaces[prefix]}}}{name}" if prefix else name for prefix, name in tokens)


EBMS2_EXPRESSION: Final = _resolve_xpath(_EXPRESSION_TEMPLATE.format(prefix="s"), {"s": SOAP11}, None)


def read_transform(element: etree._Element) -> Transform:
    """Read a ds:Transform or ds:CanonicalizationMethod whose algorithm may have parameters."""
    check_attributes(element, required=("Algorithm",))
    algorithm = element.get("Algorithm", "")
    if algorithm == XPATH:
        return Transform(algorithm, expression=_read_expression(element))
    if algorithm in (EXCLUSIVE_C14N, EXCLUSIVE_C14N_COMMENTS):
        return Transform(algorithm, prefixes=_read_prefixes(element))
    if algorithm not in (ENVELOPED_SIGNATURE, SWA_CONTENT) and algorithm not in CANONICAL_FORMS:
        raise_signature_error(f"transform '{algorithm[:120]}' is not known", element)
    if list_children(element):
        raise_signature_error("this transform must have no parameters", element)
    return Transform(algorithm)


def _read_expression(element: etree._Element) -> tuple[str, ...]:
    """Return the XPath expression of a transform with resolved prefixes, for comparison."""
    xpath = get_only_child(element, f"{{{DS}}}XPath")
    check_attributes(xpath)
    text = read_text(xpath)
    if len(text) > _MAX_EXPRESSION_LENGTH:
        raise_signature_error("an XPath expression other than the one of ebMS 2.0", xpath)
    return _resolve_xpath(text, xpath.nsmap, xpath)


def _read_prefixes(element: etree._Element) -> tuple[str, ...]:
    if not list_children(element):
        return ()
    inclusive_namespaces = get_only_child(element, _INCLUSIVE_NAMESPACES)
    check_attributes(inclusive_namespaces, required=("PrefixList",))
    if list_children(inclusive_namespaces):
        raise_signature_error(
            "InclusiveNamespaces must hold nothing but its PrefixList", inclusive_namespaces
        )
    prefixes = tuple(inclusive_namespaces.get("PrefixList", "").split())
    if not all(_PREFIX.fullmatch(prefix) for prefix in prefixes):
        raise_signature_error("a PrefixList must hold prefixes", inclusive_namespaces)
    return prefixes


def parse_content_id(reference: DigestReference, parsed: ParsedSignature) -> str:
    """Return the Content-ID that the cid: URI of a reference names; raise GW202 where it is not UTF-8."""
    try:
        return unquote_to_bytes(reference.uri[4:]).decode("utf-8")
    except UnicodeDecodeError:
        raise_signature_error(f"reference '{reference.uri[:120]}' is not a cid: URI", parsed.signed_info)


def read_reference(element: etree._Element) -> DigestReference:
    """Read a ds:Reference, in a SignedInfo or in an eb:Acknowledgment."""
    if element.tag != f"{{{DS}}}Reference":
        raise_signature_error("this element must be a ds:Reference", element)
    check_attributes(element, required=("URI",), optional=("Id", "Type"))
    parts = list_children(element)
    transforms: tuple[Transform, ...] = ()
    if parts and parts[0].tag == f"{{{DS}}}Transforms":
        transforms = _read_transforms(parts.pop(0))
    if [part.tag for part in parts] != [f"{{{DS}}}DigestMethod", f"{{{DS}}}DigestValue"]:
        raise_signature_error("a Reference must hold Transforms, DigestMethod and DigestValue", element)
    method_element, value_element = parts
    check_attributes(value_element)
    return DigestReference(
        uri=element.get("URI", ""),
        digest_algorithm=read_algorithm(method_element),
        digest_value=decode_base64(value_element),
        transforms=transforms,
        type=element.get("Type", ""),
    )


def _read_transforms(element: etree._Element) -> tuple[Transform, ...]:
    check_attributes(element)
    parts = list_children(element)
    if not 1 <= len(parts) <= _MAX_TRANSFORMS:
        raise_signature_error(f"Transforms must hold one to {_MAX_TRANSFORMS} transforms", element)
    for part in parts:
        if part.tag != f"{{{DS}}}Transform":
            raise_signature_error("Transforms must hold nothing but Transform", part)
    return tuple(read_transform(part) for part in parts)


def write_reference_text(reference: DigestReference, *, declares_namespace: bool = False) -> str:
    """Return `reference` as the text of a ds:Reference, for a place where ``ds`` is declared.

    The text declares it itself if `declares_namespace` is true.
    """
    before, after = _write_reference_frame(
        reference.digest_algorithm, reference.transforms, reference.type, declares_namespace
    )
    digest = base64.b64encode(reference.digest_value).decode("ascii")
    return f"{before}{write_attribute('URI', reference.uri)}>{after}{digest}</ds:DigestValue></ds:Reference>"


# the profiles write few different references, in every message
@lru_cache(maxsize=64)
def _write_reference_frame(
    algorithm: str, transforms: tuple[Transform, ...], reference_type: str, declares_namespace: bool
) -> tuple[str, str]:
    """Return the text of a ds:Reference before its URI, and the text between its URI and its digest."""
    text_before_uri = "<ds:Reference" + (write_attribute("xmlns:ds", DS) if declares_namespace else "")
    text_before_uri += write_attribute("Type", reference_type) if reference_type else ""
    transforms_text = "".join(map(_write_transform_text, transforms))
    text_after_uri = write_element("ds:Transforms", transforms_text) if transforms_text else ""
    text_after_uri += write_algorithm("ds:DigestMethod", algorithm)
    return text_before_uri, text_after_uri + "<ds:DigestValue>"


def write_empty_reference(attributes: str, methods: Iterable[str]) -> str:
    """Return a ds:Reference by SHA-256 whose digest is filled in later, with these transforms."""
    transforms = "".join(write_algorithm("ds:Transform", method) for method in methods)
    return write_element(
        "ds:Reference",
        write_element("ds:Transforms", transforms)
        + write_algorithm("ds:DigestMethod", SHA256)
        + write_element("ds:DigestValue"),
        attributes,
    )


# few algorithms, in every message
@lru_cache(maxsize=64)
def write_methods(canonicalization: str, algorithm: str) -> str:
    """Return ds:CanonicalizationMethod and ds:SignatureMethod."""
    method = write_algorithm("ds:CanonicalizationMethod", canonicalization)
    return method + write_algorithm("ds:SignatureMethod", algorithm)


def canonicalize_reference_text(text: str) -> str:
    """Return the canonical form of written references below a root that declares the prefix ``soap``."""
    return text.replace(_XPATH_WITH_NAMESPACE, "<ds:XPath")


def _write_transform_text(transform: Transform) -> str:
    content = ""
    if transform.expression:
        if transform.expression != EBMS2_EXPRESSION:
            raise_signature_error("an XPath expression other than the one of ebMS 2.0 is not written")
        content = write_leaf("ds:XPath", _WRITTEN_EXPRESSION, write_attribute("xmlns:soap", SOAP11))
    if transform.prefixes:
        prefixes = write_attribute("PrefixList", " ".join(transform.prefixes))
        content += write_element(
            "ec:InclusiveNamespaces", "", write_attribute("xmlns:ec", EXCLUSIVE_C14N) + prefixes
        )
    return write_algorithm("ds:Transform", transform.algorithm, content)


# The length is compared first: most attributes then need no translation.
_ID_LIKE_PATH: Final = "@*[string-length(local-name()) = 2 and translate(local-name(), 'ID', 'id') = 'id']"
_OWN_ID_LIKE_ATTRIBUTES: Final = etree.XPath(_ID_LIKE_PATH, smart_strings=False)
_ID_LIKE_ATTRIBUTES: Final = etree.XPath(f"descendant-or-self::*/{_ID_LIKE_PATH}", smart_strings=False)
_PREFIXES: Final = {"wsu": WSU, "eb": EB, "ds": DS, "xades": XADES, "xml": XML}
# One path each: for a union, libxml2 would search for each attribute among all those already found.
_ID_ATTRIBUTES: Final = tuple(
    etree.XPath(path, namespaces=_PREFIXES, smart_strings=False)
    for path in ("//@wsu:Id", "//@eb:id", "//@xml:id", "//ds:*/@Id", "//xades:*/@Id")
)
_ID_OCTETS: Final = re.compile(rb'[ :][Ii][Dd]="([^"]*)"')
_ID_SPELLINGS: Final = (b'Id="', b'id="', b'ID="', b'iD="')
_ELEMENTS_BY_ID: Final = etree.XPath(
    "//*[@wsu:Id = $id or @eb:id = $id or @xml:id = $id or @Id = $id or @ID = $id or @id = $id]",
    namespaces={"wsu": WSU, "eb": EB, "xml": XML},
)


def list_ids(root: etree._Element) -> list[str]:
    """Return the values of all attributes that any reader might treat as an identifier.

    libxml2 gathers the nodes that a path goes through: those below one child of the root at a time are few.
    """
    document_root = root.getroottree().getroot()
    identifiers = cast("list[str]", _OWN_ID_LIKE_ATTRIBUTES(document_root))
    for child in document_root.iterchildren("*"):
        identifiers += cast("list[str]", _ID_LIKE_ATTRIBUTES(child))
    return identifiers


def check_unique_ids(
    root: etree._Element, referenced_ids: Iterable[str] = (), canonical_form: bytes | None = None
) -> None:
    """Raise when an identifier occurs twice in a document.

    Attributes that are identifiers by their definition must all differ. A referenced value
    must also not occur in a second attribute that some other reader might treat as an
    identifier (Id, ID, id in any namespace); elsewhere business data may repeat such values.

    With the canonical form of the document, if the caller has it, most documents are checked
    without a search of the tree.
    """
    if canonical_form is not None and _has_distinct_ids(canonical_form):
        return
    repeated_ids = {value for value, count in Counter(list_ids(root)).items() if count > 1}
    if not repeated_ids:
        return
    id_counts = Counter(value for path in _ID_ATTRIBUTES for value in cast("list[str]", path(root)))
    if any(count > 1 for count in id_counts.values()) or repeated_ids & set(referenced_ids):
        raise_signature_error(f"identifier '{min(repeated_ids)[:80]}' stands on more than one element", root)


def _has_distinct_ids(canonical_form: bytes) -> bool:
    """Return whether all possible identifiers in a canonical form differ, including those in texts."""
    if sum(map(canonical_form.count, _ID_SPELLINGS)) < 2:
        return True
    values = _ID_OCTETS.findall(canonical_form)  # in a canonical form each value has one spelling
    return len(set(values)) == len(values)


def get_element_by_id(root: etree._Element, uri: str) -> etree._Element:
    """Return the one element that ``#identifier`` names by wsu:Id, eb:id, xml:id, Id, ID or id."""
    elements = cast("list[etree._Element]", _ELEMENTS_BY_ID(root, id=uri[1:])) if uri.startswith("#") else []
    if len(elements) != 1:
        raise_signature_error(f"reference '{uri[:120]}' does not name one element", root)
    return elements[0]
