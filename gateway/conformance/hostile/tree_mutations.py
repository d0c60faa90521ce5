"""Changes of XML trees for attacks, by path, with the prefixes of the gateway.

A change takes the root of an envelope and works in place. Its target must exist exactly
once, so that no attack becomes an honest message unnoticed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Final, cast

from lxml import etree

from gateway.conformance.hostile import naive_verifier
from gateway.conformance.hostile.octet_mutations import OctetMutation
from gateway.pki import Signer
from gateway.wire import (
    C14N,
    DS,
    DS11,
    EB3,
    PREFIXES,
    SOAP12,
    WSU,
    canonicalize_document,
    canonicalize_element,
    parse_xml,
    serialize_element,
)
from gateway.xmlsec import NEXT_ACTORS, SHA256, compute_digest

__all__ = [
    "ACTOR",
    "NEXT",
    "NEXT_MSH",
    "SIGNATURE",
    "TreeMutation",
    "append_element",
    "combine_mutations",
    "duplicate_element",
    "expand_name",
    "find_element",
    "get_element",
    "get_elements",
    "insert_comment",
    "insert_element",
    "make_first_child",
    "move_element",
    "mutate_tree",
    "parse_element",
    "recompute_envelope_digest",
    "recompute_signature",
    "recompute_written_digests",
    "remove_attribute",
    "remove_element",
    "rename_element",
    "replace_text",
    "set_attribute",
    "set_text",
]

NEXT: Final = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
SIGNATURE: Final = "//ds:Signature[ds:SignedInfo]"
_NAMES: Final[Mapping[str, str]] = {**PREFIXES, "wsu": WSU, "ds11": DS11, "x": "urn:example:unknown"}
_DECLARATIONS: Final = "".join(
    f' xmlns:{prefix}="{_NAMES[prefix]}"'
    for prefix in (
        "soap",
        "soap12",
        "eb",
        "eb3",
        "ebbp",
        "xlink",
        "ds",
        "ds11",
        "wsse",
        "wsse11",
        "wsu",
        "wsa",
        "ec",
        "xenc",
        "xenc11",
        "x",
    )
)

#: Changes the tree of an envelope in place.
TreeMutation = Callable[[etree._Element], object]


def expand_name(prefixed: str) -> str:
    """Return the name of an element or attribute as lxml has it, from ``prefix:name``."""
    prefix, colon, local = prefixed.rpartition(":")
    if prefix == "xml":
        return f"{{http://www.w3.org/XML/1998/namespace}}{local}"
    return f"{{{_NAMES[prefix]}}}{local}" if colon else local


ACTOR: Final = expand_name("soap:actor")


def _get_names(node: etree._Element) -> dict[str, str]:
    """Return the prefixes of paths; in an envelope of SOAP 1.2, ``soap`` and ``eb`` are those of AS4."""
    if node.getroottree().getroot().tag == f"{{{SOAP12}}}Envelope":
        return {**_NAMES, "soap": SOAP12, "eb": EB3}
    return dict(_NAMES)


def get_element(root: etree._Element, path: str) -> etree._Element:
    """Return the one element at a path; raises LookupError when there is none, or another."""
    there = cast("list[etree._Element]", root.xpath(path, namespaces=_get_names(root)))
    if len(there) != 1:
        raise LookupError(f"{len(there)} elements at {path}")
    return there[0]


def get_elements(root: etree._Element, path: str) -> list[etree._Element]:
    """Return the elements at a path; raises LookupError when there is none."""
    there = cast("list[etree._Element]", root.xpath(path, namespaces=_get_names(root)))
    if not there:
        raise LookupError(f"nothing at {path}")
    return there


def find_element(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element at a path, None when there is none."""
    return next(iter(cast("list[etree._Element]", root.xpath(path, namespaces=_get_names(root)))), None)


def parse_element(text: str) -> etree._Element:
    """Return an element that is written with the prefixes of the gateway; ``x`` is an unknown namespace."""
    made = etree.fromstring(f"<r{_DECLARATIONS}>{text}</r>")[0]
    alone = deepcopy(made)
    etree.cleanup_namespaces(alone)
    return alone


def mutate_tree(*changes: TreeMutation) -> OctetMutation:
    """Return changes of a tree as one change of octets."""

    def mutate_octets(data: bytes) -> bytes:
        root = parse_xml(data)
        for one in changes:
            one(root)
        return serialize_element(root)

    return mutate_octets


def combine_mutations(*changes: TreeMutation) -> TreeMutation:
    """Return changes as one."""

    def alter_tree(root: etree._Element) -> None:
        for one in changes:
            one(root)

    return alter_tree


def insert_element(path: str, text: str, index: int = 0) -> TreeMutation:
    """Return the change that puts a new element among the children of the one at `path`."""
    return lambda root: get_element(root, path).insert(index, parse_element(text))


def append_element(path: str, text: str) -> TreeMutation:
    """Return the change that appends a new element to the one at `path`."""
    return lambda root: get_element(root, path).append(parse_element(text))


def make_first_child(parent: etree._Element, child: etree._Element) -> None:
    """Move `child` from any place to the first child of `parent`."""
    parent.insert(0, child)


def remove_element(path: str) -> TreeMutation:
    """Return the change that takes the element at `path` out."""
    return lambda root: naive_verifier.detach_element(get_element(root, path))


def move_element(path: str, to: str) -> TreeMutation:
    """Return the change that makes the element at `path` the last child of the one at `to`."""
    return lambda root: get_element(root, to).append(get_element(root, path))


def insert_comment(path: str) -> TreeMutation:
    """Return the change that puts a comment into the middle of the text of the element at `path`."""

    def alter_tree(root: etree._Element) -> None:
        target = get_element(root, path)
        text = target.text or ""
        comment = etree.Comment("x")
        comment.tail, target.text = text[len(text) // 2 :], text[: len(text) // 2]
        target.insert(0, comment)

    return alter_tree


def duplicate_element(path: str) -> TreeMutation:
    """Return the change that puts a copy of the element at `path` behind it."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, path)
        original.addnext(deepcopy(original))

    return alter_tree


def set_attribute(path: str, name: str, value: str) -> TreeMutation:
    """Return the change that sets an attribute, ``prefix:name``, of the element at `path`."""
    return lambda root: get_element(root, path).set(expand_name(name), value)


def remove_attribute(path: str, name: str) -> TreeMutation:
    """Return the change that takes an attribute, ``prefix:name``, from the element at `path`."""
    return lambda root: get_element(root, path).attrib.pop(expand_name(name))


def rename_element(path: str, name: str) -> TreeMutation:
    """Return the change that gives the element at `path` another name, as lxml has it."""
    return lambda root: setattr(get_element(root, path), "tag", name)


def set_text(path: str, new: str) -> TreeMutation:
    """Return the change that gives the element at `path` another text."""
    return replace_text(path, lambda _: new)


def replace_text(path: str, new: Callable[[str], str]) -> TreeMutation:
    """Return the change that makes the text of the element at `path` another one."""

    def alter_tree(root: etree._Element) -> None:
        target = get_element(root, path)
        target.text = new(target.text or "")

    return alter_tree


def recompute_envelope_digest(root: etree._Element) -> None:
    """Compute the digest of the envelope of an ebMS 2.0 message again, with the intended XPath transform."""
    signature = naive_verifier.find_signature(root)
    hidden = [one for one in root.iter("*") if one.get(ACTOR) in NEXT_ACTORS]
    value = compute_digest(SHA256, canonicalize_document(root, (signature, *hidden)))
    for reference in signature.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference[@URI='']"):
        get_element(reference, "ds:DigestValue").text = base64.b64encode(value).decode()


def recompute_written_digests(root: etree._Element) -> None:
    """Compute the digest of each reference inside the document again, as the naive verifier resolves it."""
    signature = naive_verifier.find_signature(root)
    for reference in signature.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference"):
        with suppress(
            LookupError, etree.LxmlError
        ):  # a reference that the naive verifier cannot resolve keeps its digest
            value = compute_digest(SHA256, naive_verifier.dereference_octets(signature, reference, {}))
            get_element(reference, "ds:DigestValue").text = base64.b64encode(value).decode()


def recompute_signature(signer: Signer) -> TreeMutation:
    """Return the change that signs the current SignedInfo again.

    The owner of the key can do it. Then only the one change can be refused.
    """

    def alter_tree(root: etree._Element) -> None:
        signature = naive_verifier.find_signature(root)
        signed_info = next(signature.iterchildren(f"{{{DS}}}SignedInfo"))
        method = signed_info[0].get("Algorithm", C14N)
        data = canonicalize_element(signed_info, exclusive="xml-exc-c14n" in method)
        value = next(signature.iterchildren(f"{{{DS}}}SignatureValue"))
        value.text = base64.b64encode(signer.sign(data)).decode()

    return alter_tree
