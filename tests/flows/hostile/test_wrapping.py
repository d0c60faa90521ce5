"""Every wrapping is one: the naive verifier takes it, and who then reads naively reads what was forged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from gateway.wire import parse_xml
from gateway_conformance.hostile import (
    attachment_attacks,
    element_wrapping,
    get_element,
    mutate_tree,
    naive_verifier,
    remove_element,
    set_text,
    signature_wrapping,
)
from gateway_conformance.hostile.naive_verifier import accepts_request, read_content, split_parts
from gateway_conformance.hostile.signature_wrapping import WrappingAttack
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.flows.hostile.shapes import NOW, bench, same_shapes

_FAMILIES = (signature_wrapping, attachment_attacks, element_wrapping)
WRAPPINGS = tuple(one for family in _FAMILIES for one in family.WRAPPINGS)
CASES = tuple(one.attack_case for one in WRAPPINGS)
TARGETS = sorted({one.target for one in WRAPPINGS})


@pytest.mark.parametrize("wrapping", WRAPPINGS, ids=lambda one: one.attack_case.id)
def test_the_naive_gateway_is_fooled(wrapping: WrappingAttack) -> None:
    honest, forged = wrapping.make_control(bench()), wrapping.make_attack(bench())
    assert wrapping.accepts_request(honest)
    assert wrapping.accepts_request(forged)
    assert wrapping.forged not in (wrapping.read_target(honest) or "")
    assert wrapping.forged in (wrapping.read_target(forged) or "")


def test_there_are_nine_variants_on_seven_targets_and_more() -> None:
    variants: dict[str, set[str]] = defaultdict(set)
    for one in WRAPPINGS:
        variants[one.target].add(f"{one.attack_id}.{one.variant}")
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
    assert accepts_request(bench().build_message(signer=who))
    assert accepts_request(bench().build_call(signer=who))


@pytest.mark.parametrize("kind", ["rsa-3072", "p-384", "p-521", "ed25519"])
def test_the_naive_verifier_knows_every_kind_of_key(kind: str) -> None:
    issued = issue_certificate(bench().stranger_authority, "CN=kind", NOW, CertificateOrder(key_kind=kind))
    assert accepts_request(bench().build_message(signer=issued.signer))
    assert accepts_request(bench().build_call(signer=issued.signer))


TAMPERED = {
    "another conversation": set_text("//eb:ConversationId", "another"),
    "another digest": set_text("(//ds:DigestValue)[1]", "A" * 43 + "="),
    "another value": set_text("//ds:SignatureValue", "A" * 342 + "=="),
    "no signature": remove_element("//ds:Signature"),
    "no SignedInfo": remove_element("//ds:SignedInfo"),
    "no KeyInfo": remove_element("//ds:KeyInfo"),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_the_naive_verifier_sees_plain_tampering(change: object) -> None:
    assert not accepts_request(bench().build_message(tampered=mutate_tree(change)))  # type: ignore[arg-type]


def test_the_naive_verifier_looks_at_attachments() -> None:
    post = bench().build_message()
    assert not accepts_request(replace(post, body=post.body.replace("튤립".encode(), "수련".encode())))
    root, *parts = split_parts(post)
    assert read_content(post, "first") == parts[0].content
    contents = {part.content_id: part.content for part in parts}
    assert naive_verifier.accepts_signature(parse_xml(root.content), contents)
    assert not naive_verifier.accepts_signature(parse_xml(root.content), dict(list(contents.items())[1:]))


def test_the_naive_verifier_knows_whose_key_it_is() -> None:
    """It takes any certificate, but not the value of another key."""
    made = bench().build_message()
    root = parse_xml(split_parts(made)[0].content)
    contents = {part.content_id: part.content for part in split_parts(made)[1:]}
    other = parse_xml(split_parts(bench().build_message(signer="stranger"))[0].content)
    path = "//ds:X509Certificate"
    get_element(root, path).text = get_element(other, path).text
    assert not naive_verifier.accepts_signature(root, contents)
