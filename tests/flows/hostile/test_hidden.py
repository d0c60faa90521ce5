"""What no digest sees: the hidden content is there, and the signature is untouched."""

from __future__ import annotations

import pytest

from gateway.wire import canonicalize_element, parse_xml
from gateway_conformance.hostile import AttackCase, HttpRequest, get_element
from gateway_conformance.hostile.content_mutations import ACTOR, NEXT, NEXT_MSH
from gateway_conformance.hostile.naive_verifier import accepts_request, split_parts
from gateway_conformance.hostile.unsigned_content import CASES
from tests.flows.hostile.shapes import bench, steps

HIDDEN = [case for case in CASES if case.attack_id == "SIG-23" and case.naive and "signed-" not in case.id]
XPATHS = [case for case in CASES if case.attack_id == "SIG-22" and case.naive]


def envelope(case: AttackCase) -> bytes:
    last = steps(case)[-1]
    assert isinstance(last, HttpRequest)
    return split_parts(last)[0].content


def signed_info(octets: bytes) -> bytes:
    return canonicalize_element(get_element(parse_xml(octets), "//ds:SignedInfo"))


@pytest.mark.parametrize("case", HIDDEN, ids=lambda case: case.id)
def test_hidden_content_changes_nothing_that_is_signed(case: AttackCase) -> None:
    """SignedInfo and its value are those of the honest message, octet for octet."""
    honest = split_parts(bench().build_message())[0].content
    hidden = envelope(case)
    assert signed_info(hidden) == signed_info(honest)
    assert len(hidden) > len(honest)
    root = parse_xml(hidden)
    assert any(one.get(ACTOR) in (NEXT, NEXT_MSH) for one in root.iter("*"))


def test_there_are_many_forms() -> None:
    assert len(HIDDEN) >= 30
    assert len(XPATHS) >= 15


@pytest.mark.parametrize("case", XPATHS, ids=lambda case: case.id)
def test_an_altered_xpath_is_signed_rightly(case: AttackCase) -> None:
    """By its own words the digest is right: whoever runs what is written takes it."""
    last = steps(case)[-1]
    assert isinstance(last, HttpRequest)
    assert accepts_request(last)
    assert signed_info(envelope(case)) != signed_info(split_parts(bench().build_message())[0].content)


def test_an_xpath_that_leaves_out_more_lets_more_be_changed() -> None:
    """The sender can exchange the Manifest afterwards, and the naive verifier sees nothing."""
    case = next(one for one in XPATHS if one.id == "SIG-22.no-manifest")
    last = steps(case)[-1]
    assert isinstance(last, HttpRequest)
    changed = last.body.replace(b'xlink:href="cid:p1.', b'xlink:href="cid:p2.', 1)
    assert changed != last.body
    assert accepts_request(HttpRequest(last.face, last.headers, changed))
    honest = bench().build_message()
    assert not accepts_request(
        HttpRequest(honest.face, honest.headers, honest.body.replace(b'href="cid:p1.', b'href="cid:p2.', 1))
    )
