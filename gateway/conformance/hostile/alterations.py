"""Changes of XML trees that attacks are made of: by path, in the prefixes of the gateway.

A change takes the root of an envelope and works in place.  What it looks for must be there
exactly once, so that no attack can quietly become an honest message.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Final, cast

from lxml import etree

from gateway.conformance.hostile import naive
from gateway.conformance.hostile.craft import Change
from gateway.pki.keys import Signer
from gateway.wire.namespaces import C14N, DS, DS11, PREFIXES, WSU
from gateway.wire.xml import canonicalize, canonicalize_document, parse_xml, serialize
from gateway.xmlsec.algorithms import SHA256, digest
from gateway.xmlsec.references import NEXT_ACTORS

__all__ = [
    "ACTOR",
    "NEXT",
    "NEXT_MSH",
    "SIGNATURE",
    "Alteration",
    "added",
    "all_of",
    "at",
    "attribute_set",
    "comment_in",
    "digest_again",
    "digest_as_written",
    "doubled",
    "element",
    "every",
    "found",
    "inserted",
    "moved",
    "name_of",
    "on_tree",
    "put_first",
    "removed",
    "replaced_text",
    "sign_again",
    "text_set",
]

NEXT: Final = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
SIGNATURE: Final = "//ds:Signature[ds:SignedInfo]"
_NAMES: Final[Mapping[str, str]] = {**PREFIXES, "wsu": WSU, "ds11": DS11, "x": "urn:example:unknown"}
_DECLARATIONS: Final = "".join(
    f' xmlns:{prefix}="{_NAMES[prefix]}"'
    for prefix in ("soap", "eb", "xlink", "ds", "ds11", "wsse", "wsu", "wsa", "ec", "xenc", "x")
)

#: Changes the tree of an envelope in place.
Alteration = Callable[[etree._Element], object]


def name_of(prefixed: str) -> str:
    """Return the name of an element or attribute as lxml has it, from ``prefix:name``."""
    prefix, colon, local = prefixed.rpartition(":")
    if prefix == "xml":
        return f"{{http://www.w3.org/XML/1998/namespace}}{local}"
    return f"{{{_NAMES[prefix]}}}{local}" if colon else local


ACTOR: Final = name_of("soap:actor")


def at(root: etree._Element, path: str) -> etree._Element:
    """Return the one element at a path; raises LookupError when there is none, or another."""
    there = cast("list[etree._Element]", root.xpath(path, namespaces=dict(_NAMES)))
    if len(there) != 1:
        raise LookupError(f"{len(there)} elements at {path}")
    return there[0]


def every(root: etree._Element, path: str) -> list[etree._Element]:
    """Return the elements at a path; raises LookupError when there is none."""
    there = cast("list[etree._Element]", root.xpath(path, namespaces=dict(_NAMES)))
    if not there:
        raise LookupError(f"nothing at {path}")
    return there


def found(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element at a path, None when there is none."""
    return next(iter(cast("list[etree._Element]", root.xpath(path, namespaces=dict(_NAMES)))), None)


def element(text: str) -> etree._Element:
    """Return an element written in the prefixes of the gateway; ``x`` is a name that nobody knows."""
    made = etree.fromstring(f"<r{_DECLARATIONS}>{text}</r>")[0]
    alone = deepcopy(made)
    etree.cleanup_namespaces(alone)
    return alone


def on_tree(*changes: Alteration) -> Change:
    """Return changes of a tree as one change of octets."""

    def change(data: bytes) -> bytes:
        root = parse_xml(data)
        for one in changes:
            one(root)
        return serialize(root)

    return change


def all_of(*changes: Alteration) -> Alteration:
    """Return changes as one."""

    def change(root: etree._Element) -> None:
        for one in changes:
            one(root)

    return change


def inserted(path: str, text: str, index: int = 0) -> Alteration:
    """Return the change that puts a new element among the children of the one at `path`."""
    return lambda root: at(root, path).insert(index, element(text))


def added(path: str, text: str) -> Alteration:
    """Return the change that appends a new element to the one at `path`."""
    return lambda root: at(root, path).append(element(text))


def put_first(parent: etree._Element, child: etree._Element) -> None:
    """Make `child`, wherever it stands, the first child of `parent`."""
    parent.insert(0, child)


def removed(path: str) -> Alteration:
    """Return the change that takes the element at `path` out."""
    return lambda root: naive.remove(at(root, path))


def moved(path: str, to: str) -> Alteration:
    """Return the change that makes the element at `path` the last child of the one at `to`."""
    return lambda root: at(root, to).append(at(root, path))


def comment_in(path: str) -> Alteration:
    """Return the change that puts a comment into the middle of the text of the element at `path`."""

    def change(root: etree._Element) -> None:
        target = at(root, path)
        text = target.text or ""
        comment = etree.Comment("x")
        comment.tail, target.text = text[len(text) // 2 :], text[: len(text) // 2]
        target.insert(0, comment)

    return change


def doubled(path: str) -> Alteration:
    """Return the change that puts a copy of the element at `path` behind it."""

    def change(root: etree._Element) -> None:
        original = at(root, path)
        original.addnext(deepcopy(original))

    return change


def attribute_set(path: str, name: str, value: str) -> Alteration:
    """Return the change that sets an attribute, ``prefix:name``, of the element at `path`."""
    return lambda root: at(root, path).set(name_of(name), value)


def text_set(path: str, new: str) -> Alteration:
    """Return the change that gives the element at `path` another text."""
    return replaced_text(path, lambda _: new)


def replaced_text(path: str, new: Callable[[str], str]) -> Alteration:
    """Return the change that makes the text of the element at `path` another one."""

    def change(root: etree._Element) -> None:
        target = at(root, path)
        target.text = new(target.text or "")

    return change


def digest_again(root: etree._Element) -> None:
    """Digest the envelope of an ebMS 2.0 message again, as its XPath transform is meant."""
    signature = naive.signature_of(root)
    hidden = [one for one in root.iter("*") if one.get(ACTOR) in NEXT_ACTORS]
    value = digest(SHA256, canonicalize_document(root, (signature, *hidden)))
    for reference in signature.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference[@URI='']"):
        at(reference, "ds:DigestValue").text = base64.b64encode(value).decode()


def digest_as_written(root: etree._Element) -> None:
    """Digest whatever each reference inside the document stands for, as the naive verifier takes it."""
    signature = naive.signature_of(root)
    for reference in signature.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference"):
        with suppress(
            LookupError, etree.LxmlError
        ):  # what even the naive verifier cannot digest keeps its digest
            value = digest(SHA256, naive.octets(signature, reference, {}))
            at(reference, "ds:DigestValue").text = base64.b64encode(value).decode()


def sign_again(signer: Signer) -> Alteration:
    """Return the change that makes the signature value right for the SignedInfo as it stands.

    Whoever has the key can do it: then the one thing that was changed is the only thing
    that can be refused.
    """

    def change(root: etree._Element) -> None:
        signature = naive.signature_of(root)
        signed_info = next(signature.iterchildren(f"{{{DS}}}SignedInfo"))
        method = signed_info[0].get("Algorithm", C14N)
        data = canonicalize(signed_info, exclusive="xml-exc-c14n" in method)
        value = next(signature.iterchildren(f"{{{DS}}}SignatureValue"))
        value.text = base64.b64encode(signer.sign(data)).decode()

    return change
