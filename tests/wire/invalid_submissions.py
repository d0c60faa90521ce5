"""Submissions with very many violations, of every kind that is told in another place of the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lxml import etree

from gateway.wire import SUB, parse_xml
from gateway_conformance import DATA_FOLDER

_SAMPLE: Final = DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes()
_CARRIED: Final = ("Declaration", "MetaData")
_NESTED: Final = f"<Submission xmlns='{SUB}'/>"
_VALUE: Final = "<Value path='{}' wcoID='L001' item='{}'>x</Value>"


def submission(rest: str) -> etree._Element:
    """Return the declaration of the sample with `rest` after it, as a submission."""
    declaration = next(one for one in parse_xml(_SAMPLE) if etree.QName(one).localname in _CARRIED)
    inner = etree.tostring(declaration, with_tail=False).decode()
    head = f"<Submission xmlns='{SUB}' version='1'><Reference>r</Reference><Function>9</Function>"
    return parse_xml(f"{head}{inner}{rest}</Submission>".encode())


def fields(content: str) -> str:
    """Return an application with this content of its fields."""
    return f"<Application id='a' document='D'><Items>1</Items><Fields>{content}</Fields></Application>"


def _deep(count: int) -> str:
    branch = "<q>" * 40 + _NESTED * 80 + "</q>" * 40
    return fields(f"<q xmlns='urn:q'>{branch * (count // 80)}</q>")


def _unique(count: int) -> str:
    attachment = f"<Attachment cid='c@x' mediaType='a/b' sha256='{'0' * 64}' size='1'/>"
    rest = "<Items>1</Items><Fields/>" + attachment * 99
    made = (f"<Application id='a{number}' document='D'>{rest}</Application>" for number in range(count // 99))
    return "".join(made)


def _pairs(count: int) -> str:
    return fields("".join(f"<x xmlns='urn:q' xml:id='a{number // 2}'/>" for number in range(count)))


KINDS: Final[dict[str, Callable[[int], str]]] = {
    "siblings": lambda count: "<Supplement>" + "<Value/>" * count + "</Supplement>",
    "unknown": lambda count: "<Supplement>" + "<Unknown/>" * count + "</Supplement>",
    "values": lambda count: f"<Supplement>{_VALUE.format('No/Such', 'x') * count}</Supplement>",
    "attributes": lambda count: (
        "<Supplement>" + "<Value a='' b='' c='' d='' e='' f=''/>" * (count // 6) + "</Supplement>"
    ),
    "deep": _deep,
    "unique": _unique,
    "identifiers": lambda count: fields("<x xmlns='urn:q' xml:id='a'/>" * count),
    "pairs": _pairs,
    # A warning is logged as a violation is; it must not end the search for one.
    "warned": lambda count: fields(
        "<x xmlns='relative'/>" + "<x xmlns='urn:q'/>" * 2_000 + f"<q xmlns='urn:q'>{_NESTED * count}</q>"
    ),
}
