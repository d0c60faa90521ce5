"""References of a signature: read strictly, compared by value, and written.

The XPath transform of ebMS 2.0 is recognized by its tokens and never evaluated.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lxml import etree

from gateway.wire import DS, SOAP11, SWA_CONTENT, write_attribute, write_element, write_leaf
from gateway.xmlsec.algorithms import (
    CANONICAL_FORMS,
    ENVELOPED,
    EXCLUSIVE_C14N,
    EXCLUSIVE_C14N_COMMENTS,
    XPATH,
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

__all__ = [
    "EBMS2_EXPRESSION",
    "NEXT_ACTORS",
    "DigestReference",
    "Transform",
    "append_reference",
    "canonicalize_text",
    "read_reference",
    "read_transform",
    "write_reference_text",
]

NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
NEXT_SOAP: Final = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_ACTORS: Final = frozenset({NEXT_MSH, NEXT_SOAP})

# ebMS 2.0 §4.1.3: elements that the next node may change are not signed
_EXPRESSION: Final = (
    f'not(ancestor-or-self::node()[@{{prefix}}:actor="{NEXT_MSH}"] | '
    f'ancestor-or-self::node()[@{{prefix}}:actor="{NEXT_SOAP}"])'
)
# Declared again on each ds:XPath: a prefix of the envelope may be renamed when it moves to another tree.
_DECLARED: Final = "<ds:XPath" + write_attribute("xmlns:soap", SOAP11)
_WRITTEN_EXPRESSION: Final = _EXPRESSION.format(prefix="soap")
_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<literal> "[^"]*" | '[^']*' )
      | [a-z-]+::                                           # an axis
      | (?P<prefix> [A-Za-z_][\w.-]*):(?P<local> [A-Za-z_][\w.-]*)
      | [A-Za-z_][\w.-]*                                    # a function or node test
      | [()\[\]@=|]
    )""",
    re.VERBOSE,
)
_LONGEST_EXPRESSION: Final = 1000
_MOST_TRANSFORMS: Final = 4
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
def _tokenize_xpath(text: str) -> tuple[tuple[str, str], ...] | None:
    """Return the tokens of an XPath expression, names as (prefix, local name); None for other syntax."""
    tokens: list[tuple[str, str]] = []
    position = 0
    end = len(text.rstrip(" \t\r\n"))
    while position < end:
        match = _TOKEN.match(text, position)
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
    text: str, bindings: Mapping[str | None, str], element: etree._Element | None
) -> tuple[str, ...]:
    """Return the tokens of an XPath expression with each prefix replaced by its namespace."""
    tokens = _tokenize_xpath(text)
    if tokens is None:
        raise_signature_error("an XPath expression other than the one of ebMS 2.0", element)
    bound = {}
    for prefix, _ in tokens:
        if prefix and prefix not in bindings:
            raise_signature_error(f"prefix {prefix[:40]} of the XPath expression is not bound", element)
        if prefix:
            bound[prefix] = bindings[prefix]
    return _expand_prefixes(tokens, tuple(bound.items()))


@lru_cache(maxsize=64)
def _expand_prefixes(
    tokens: tuple[tuple[str, str], ...], bound: tuple[tuple[str, str], ...]
) -> tuple[str, ...]:
    names = dict(bound)
    return tuple(f"{{{names[prefix]}}}{name}" if prefix else name for prefix, name in tokens)


EBMS2_EXPRESSION: Final = _resolve_xpath(_EXPRESSION.format(prefix="s"), {"s": SOAP11}, None)


def read_transform(element: etree._Element) -> Transform:
    """Read a ds:Transform or ds:CanonicalizationMethod whose algorithm may have parameters."""
    check_attributes(element, required=("Algorithm",))
    algorithm = element.get("Algorithm", "")
    if algorithm == XPATH:
        return Transform(algorithm, expression=_read_expression(element))
    if algorithm in (EXCLUSIVE_C14N, EXCLUSIVE_C14N_COMMENTS):
        return Transform(algorithm, prefixes=_read_prefixes(element))
    if algorithm not in (ENVELOPED, SWA_CONTENT) and algorithm not in CANONICAL_FORMS:
        raise_signature_error(f"transform '{algorithm[:120]}' is not known", element)
    if list_children(element):
        raise_signature_error("this transform has no parameters", element)
    return Transform(algorithm)


def _read_expression(element: etree._Element) -> tuple[str, ...]:
    xpath = get_only_child(element, f"{{{DS}}}XPath")
    check_attributes(xpath)
    text = read_text(xpath)
    if len(text) > _LONGEST_EXPRESSION:
        raise_signature_error("an XPath expression other than the one of ebMS 2.0", xpath)
    return _resolve_xpath(text, xpath.nsmap, xpath)


def _read_prefixes(element: etree._Element) -> tuple[str, ...]:
    if not list_children(element):
        return ()
    inclusive = get_only_child(element, _INCLUSIVE_NAMESPACES)
    check_attributes(inclusive, required=("PrefixList",))
    if list_children(inclusive):
        raise_signature_error("InclusiveNamespaces is empty but for its PrefixList", inclusive)
    prefixes = tuple(inclusive.get("PrefixList", "").split())
    if not all(_PREFIX.fullmatch(prefix) for prefix in prefixes):
        raise_signature_error("a PrefixList holds prefixes", inclusive)
    return prefixes


def read_reference(element: etree._Element) -> DigestReference:
    """Read a ds:Reference, in a SignedInfo or in an eb:Acknowledgment."""
    if element.tag != f"{{{DS}}}Reference":
        raise_signature_error("a ds:Reference belongs here", element)
    check_attributes(element, required=("URI",), optional=("Id", "Type"))
    parts = list_children(element)
    transforms: tuple[Transform, ...] = ()
    if parts and parts[0].tag == f"{{{DS}}}Transforms":
        transforms = _read_transforms(parts.pop(0))
    if [part.tag for part in parts] != [f"{{{DS}}}DigestMethod", f"{{{DS}}}DigestValue"]:
        raise_signature_error("a Reference holds Transforms, DigestMethod and DigestValue", element)
    method, value = parts
    check_attributes(value)
    return DigestReference(
        uri=element.get("URI", ""),
        digest_algorithm=read_algorithm(method),
        digest_value=decode_base64(value),
        transforms=transforms,
        type=element.get("Type", ""),
    )


def _read_transforms(element: etree._Element) -> tuple[Transform, ...]:
    check_attributes(element)
    parts = list_children(element)
    if not 1 <= len(parts) <= _MOST_TRANSFORMS:
        raise_signature_error(f"Transforms holds one to {_MOST_TRANSFORMS} transforms", element)
    for part in parts:
        if part.tag != f"{{{DS}}}Transform":
            raise_signature_error("only Transform belongs into Transforms", part)
    return tuple(read_transform(part) for part in parts)


def write_reference_text(reference: DigestReference, *, declared: bool = False) -> str:
    """Return `reference` as the text of a ds:Reference, for a place where ``ds`` is declared.

    One that is `declared` declares it itself.
    """
    before, after = _write_reference_frame(
        reference.digest_algorithm, reference.transforms, reference.type, declared
    )
    digest = base64.b64encode(reference.digest_value).decode("ascii")
    return f"{before}{write_attribute('URI', reference.uri)}>{after}{digest}</ds:DigestValue></ds:Reference>"


# the profiles write few different references, in every message
@lru_cache(maxsize=64)
def _write_reference_frame(
    algorithm: str, transforms: tuple[Transform, ...], kind: str, declared: bool
) -> tuple[str, str]:
    """Return what a ds:Reference has before its URI, and between that and its digest."""
    before = "<ds:Reference" + (write_attribute("xmlns:ds", DS) if declared else "")
    before += write_attribute("Type", kind) if kind else ""
    written = "".join(map(_write_transform_text, transforms))
    after = write_element("ds:Transforms", written) if written else ""
    after += write_element("ds:DigestMethod", "", write_attribute("Algorithm", algorithm))
    return before, after + "<ds:DigestValue>"


def canonicalize_text(text: str) -> str:
    """Return the canonical form of text with written references, below a root that declares ``soap``."""
    return text.replace(_DECLARED, "<ds:XPath")


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
    return write_element("ds:Transform", content, write_attribute("Algorithm", transform.algorithm))


def append_reference(parent: etree._Element, reference: DigestReference) -> etree._Element:
    """Append `reference` as a ds:Reference to `parent`; return the new element."""
    element = etree.SubElement(parent, f"{{{DS}}}Reference", URI=reference.uri)
    if reference.type:
        element.set("Type", reference.type)
    if reference.transforms:
        transforms = etree.SubElement(element, f"{{{DS}}}Transforms")
        for transform in reference.transforms:
            _append_transform(transforms, transform)
    etree.SubElement(element, f"{{{DS}}}DigestMethod", Algorithm=reference.digest_algorithm)
    value = etree.SubElement(element, f"{{{DS}}}DigestValue")
    value.text = base64.b64encode(reference.digest_value).decode("ascii")
    return element


def _append_transform(parent: etree._Element, transform: Transform) -> None:
    element = etree.SubElement(parent, f"{{{DS}}}Transform", Algorithm=transform.algorithm)
    if transform.expression:
        if transform.expression != EBMS2_EXPRESSION:
            raise_signature_error(
                "an XPath expression other than the one of ebMS 2.0 is not written", element
            )
        # bound here: a prefix of the envelope may be renamed when the element moves to another tree
        xpath = etree.SubElement(element, f"{{{DS}}}XPath", nsmap={"soap": SOAP11})
        xpath.text = _WRITTEN_EXPRESSION
    if transform.prefixes:
        nsmap = {"ec": EXCLUSIVE_C14N}
        inclusive = etree.SubElement(element, _INCLUSIVE_NAMESPACES, nsmap=nsmap)
        inclusive.set("PrefixList", " ".join(transform.prefixes))
