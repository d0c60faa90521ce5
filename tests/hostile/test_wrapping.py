"""Every wrapping is one: the naive verifier takes it, and who then reads naively reads what was forged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from gateway.conformance.hostile import naive
from gateway.conformance.hostile.alterations import at, on_tree, removed, text_set
from gateway.conformance.hostile.naive_reader import content_read, parts_of, takes
from gateway.conformance.hostile.wrapping.cases import CASES, WRAPPINGS
from gateway.conformance.hostile.wrapping.variants import Wrapping
from gateway.pki.issue import Order, issue_certificate
from gateway.wire.xml import parse_xml
from tests.hostile.shapes import NOW, bench, same_shapes

TARGETS = sorted({one.target for one in WRAPPINGS})


@pytest.mark.parametrize("wrapping", WRAPPINGS, ids=lambda one: one.case.id)
def test_the_naive_gateway_is_fooled(wrapping: Wrapping) -> None:
    honest, forged = wrapping.control(bench()), wrapping.make(bench())
    assert wrapping.takes(honest)
    assert wrapping.takes(forged)
    assert wrapping.forged not in (wrapping.reads(honest) or "")
    assert wrapping.forged in (wrapping.reads(forged) or "")


def test_there_are_nine_variants_on_seven_targets_and_more() -> None:
    variants: dict[str, set[str]] = defaultdict(set)
    for one in WRAPPINGS:
        variants[one.target].add(f"{one.attack}.{one.variant}")
    assert set(variants) >= {
        "MessageHeader", "Manifest", "Body", "Acknowledgment", "AckRequested", "cid", "CallBody", "Timestamp",
    }  # fmt: skip
    assert {target: len(names) for target, names in variants.items() if len(names) < 9} == {}
    assert len(CASES) == sum(map(len, variants.values())) >= 63
    assert all(case.naive for case in CASES)


def test_no_two_are_the_same() -> None:
    assert same_shapes(CASES) == []


@pytest.mark.parametrize("who", ["a", "b", "stranger", "selfsigned"])
def test_the_naive_verifier_takes_what_is_rightly_signed(who: str) -> None:
    assert takes(bench().message(signer=who))
    assert takes(bench().call(signer=who))


@pytest.mark.parametrize("kind", ["rsa-3072", "p-384", "p-521", "ed25519"])
def test_the_naive_verifier_knows_every_kind_of_key(kind: str) -> None:
    issued = issue_certificate(bench().outsider, "CN=kind", NOW, Order(key_kind=kind))
    assert takes(bench().message(signer=issued.signer))
    assert takes(bench().call(signer=issued.signer))


TAMPERED = {
    "another conversation": text_set("//eb:ConversationId", "another"),
    "another digest": text_set("(//ds:DigestValue)[1]", "A" * 43 + "="),
    "another value": text_set("//ds:SignatureValue", "A" * 342 + "=="),
    "no signature": removed("//ds:Signature"),
    "no SignedInfo": removed("//ds:SignedInfo"),
    "no KeyInfo": removed("//ds:KeyInfo"),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_the_naive_verifier_sees_plain_tampering(change: object) -> None:
    assert not takes(bench().message(tampered=on_tree(change)))  # type: ignore[arg-type]


def test_the_naive_verifier_looks_at_attachments() -> None:
    post = bench().message()
    assert not takes(replace(post, body=post.body.replace("튤립".encode(), "수련".encode())))
    root, *parts = parts_of(post)
    assert content_read(post, "first") == parts[0].content
    contents = {part.content_id: part.content for part in parts}
    assert naive.accepts(parse_xml(root.content), contents)
    assert not naive.accepts(parse_xml(root.content), dict(list(contents.items())[1:]))


def test_the_naive_verifier_knows_whose_key_it_is() -> None:
    """It takes any certificate, but not the value of another key."""
    made = bench().message()
    root = parse_xml(parts_of(made)[0].content)
    contents = {part.content_id: part.content for part in parts_of(made)[1:]}
    other = parse_xml(parts_of(bench().message(signer="stranger"))[0].content)
    path = "//ds:X509Certificate"
    at(root, path).text = at(other, path).text
    assert not naive.accepts(root, contents)
