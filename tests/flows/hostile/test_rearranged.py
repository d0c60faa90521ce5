"""Every way to delete, double, move, copy or dress one element of a signed message: none is read otherwise.

The corpus plays attacks that somebody thought of; here are those that nobody did.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from lxml import etree

from gateway.errors import HEADER_INVALID, GatewayError
from gateway.message_model import MemoryBody
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, ebms2
from gateway.wire import canonicalize_element, parse_xml, read_addressing, read_envelope, serialize_element
from gateway.xmlsec import STRICT, verify_soap_envelope
from gateway_conformance.hostile import expand_name
from gateway_conformance.hostile.content_mutations import ACTOR, NEXT, NEXT_MSH
from gateway_conformance.hostile.naive_verifier import split_parts
from tests.flows.hostile.shapes import NOW, bench

pytestmark = pytest.mark.long

#: What may be put on any element.
DRESS = (
    (ACTOR, NEXT),
    (ACTOR, NEXT_MSH),
    ("{urn:example:x}a", "1"),
    ("Id", "x"),
    (expand_name("wsu:Id"), "s-1"),
    (expand_name("eb:id"), "x"),
    (expand_name("xml:lang"), "x"),
)
Labelled = tuple[tuple[str, ...], bytes]


def rearranged(octets: bytes) -> Iterator[Labelled]:
    """Yield every document that differs from this one in one element, with what was done to it."""
    tree = parse_xml(octets)
    names = [etree.QName(one).localname for one in tree.iter()]

    def changed(*label: str, by: Callable[[list[Any]], object]) -> Labelled:
        root = copy.deepcopy(tree)
        by(list(root.iter()))
        return label, serialize_element(root)

    for one in range(1, len(names)):
        yield changed("deleted", names[one], by=lambda all_, one=one: all_[one].getparent().remove(all_[one]))
        yield changed(
            "doubled", names[one], by=lambda all_, one=one: all_[one].addnext(copy.deepcopy(all_[one]))
        )
        yield changed("space in", names[one], by=lambda all_, one=one: space(all_[one], "text"))
        yield changed("space behind", names[one], by=lambda all_, one=one: space(all_[one], "tail"))
        for name, value in DRESS:
            yield changed(
                "dressed", names[one], name, by=lambda all_, one=one, pair=(name, value): all_[one].set(*pair)
            )
        below = set(list(tree.iter())[one].iter())
        for home, element in enumerate(tree.iter()):
            for at in {0, len(element)} if element not in below else ():
                place = (home, at, one)
                label = ("moved", names[one], names[home], str(at))
                yield changed(*label, by=lambda all_, place=place: put(all_, place, all_[place[2]]))
            place = (home, len(element), one)
            label = ("copied", names[one], names[home], "")
            yield changed(
                *label, by=lambda all_, place=place: put(all_, place, copy.deepcopy(all_[place[2]]))
            )


def put(elements: list[Any], place: tuple[int, int, int], element: Any) -> None:
    elements[place[0]].insert(place[1], element)


def space(element: Any, where: str) -> None:
    setattr(element, where, f"{getattr(element, where) or ''} ")


@cache
def receiver() -> ProtocolContext:
    """Return what the gateway has that A writes to, as far as it is asked here."""
    world = bench()
    known = {world.get_signer("a").certificate.sha256: "us"}
    return replace(
        world.build_context("a"), find_certificate_party=known.get, signers={"hub": world.get_signer("b")}
    )


def test_no_rearranged_message_says_anything_else() -> None:
    post = bench().build_message()
    envelope = split_parts(post)[0].content
    before, behind = post.body.split(envelope)

    def opened(octets: bytes) -> OpenedMessage:
        headers = {"Content-Type": post.headers["Content-Type"], "SOAPAction": '"ebXML"'}
        return ebms2.open_units(Parcel(headers, MemoryBody(before + octets + behind)), receiver())

    honest = opened(envelope)
    counted: Counter[str] = Counter()
    for label, octets in rearranged(envelope):
        try:
            found = opened(octets)
        except GatewayError as refused:
            counted[refused.problem.id] += 1
            continue
        # SyncReply must be for the next node, and says nothing about the business.
        same = (replace(found.unit, sync_reply=True), found.identity) == (honest.unit, honest.identity)
        assert same, label
        counted["harmless"] += 1
    assert sum(counted.values()) >= 4000
    assert 0 < counted["harmless"] < 100
    assert {"GW107", "GW202", "GW203"} <= set(counted)


def read(octets: bytes) -> object:
    """Return what the gateway reads of a call that it believes."""
    envelope = read_envelope(parse_xml(octets))
    if envelope.header is None:
        raise GatewayError(HEADER_INVALID, "there is no SOAP Header")
    addressing = read_addressing(envelope.header)
    signed = verify_soap_envelope(envelope.root, STRICT, now=NOW)
    return (
        addressing,
        [canonicalize_element(one, exclusive=True) for one in envelope.body_elements],
        signed.certificate.sha256,
    )


def test_no_rearranged_call_says_anything_else() -> None:
    octets = bench().build_call().body
    honest = read(octets)
    counted: Counter[str] = Counter()
    for label, changed in rearranged(octets):
        try:
            found = read(changed)
        except GatewayError as refused:
            counted[refused.problem.id] += 1
            continue
        assert found == honest, label
        counted["harmless"] += 1
    assert sum(counted.values()) >= 2500
    assert 0 < counted["harmless"] < 300
    assert {"GW107", "GW202", "GW203", "GW211"} <= set(counted)


@pytest.mark.parametrize("broken", ["gateway.xmlsec.signature_verifier.compare_digests"])
def test_a_verifier_without_digests_lets_one_through(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken, lambda *_: True)
    with pytest.raises(AssertionError):
        test_no_rearranged_message_says_anything_else()
