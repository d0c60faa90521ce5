"""Attacks on signatures: each is an attack of its own, says rightly whom it fools, and is missed by a broken verifier."""

# ruff: noqa: E501  # a table of breakages is read by its lines
from __future__ import annotations

import base64
from fnmatch import fnmatchcase
from typing import Any

import pytest

from gateway.xmlsec import ebms2_signature
from gateway_conformance.hostile import (
    AttackCase,
    AttackerKit,
    AttackRunner,
    WsgiTarget,
    algorithm_attacks,
    attachment_attacks,
    decryption_attacks,
    element_wrapping,
    encryption_attacks,
    forged_signal_attacks,
    key_attacks,
    message_replay_attacks,
    reference_attacks,
    security_header_attacks,
    signature_wrapping,
    spoofing_attacks,
    transform_attacks,
    unsigned_content,
)
from gateway_conformance.hostile.runner import FAILED, PASSED
from tests.flows.hostile.shapes import fools, same_shapes

HIDDEN = (*unsigned_content.CASES, *attachment_attacks.CASES)
_SIGNED = (*reference_attacks.CASES, *transform_attacks.CASES, *algorithm_attacks.CASES)
SIGNATURES = (
    *(case for case in _SIGNED if case.face == "ebms2"),
    *encryption_attacks.CASES,
    *decryption_attacks.CASES,
)
CALLS = (
    *(case for case in _SIGNED if case.face == "soap"),
    *security_header_attacks.CASES,
    *spoofing_attacks.CASES,
)
#: Without those of questions about a message: each goes on only after the answer to an honest one.
REPLAYS = (
    *message_replay_attacks.CASES,
    *(case for case in forged_signal_attacks.CASES if case.attack_id != "APP-05"),
)
ALL = (
    *signature_wrapping.CASES,
    *(case for case in element_wrapping.CASES if case.face == "soap"),
    *HIDDEN,
    *SIGNATURES,
    *key_attacks.CASES,
    *REPLAYS,
    *CALLS,
)
#: A signal made of the gateway's own answer: without one there is only the honest message.
OF_ANSWERS = {"REP-08.own-message", "REP-10.receipt-of-receipt", "REP-10.error-about-receipt"}
FAMILIES = {"hidden": HIDDEN, "signatures": SIGNATURES, "keys": key_attacks.CASES}


@pytest.mark.night
def test_no_two_cases_send_the_same() -> None:
    assert same_shapes(case for case in ALL if case.id not in OF_ANSWERS) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_each_says_rightly_whether_it_fools_the_naive_verifier(family: str) -> None:
    wrong = [case.id for case in FAMILIES[family] if fools(case) != case.naive]
    assert wrong == []


def test_whatever_is_said_to_fool_it_does() -> None:
    assert [case.id for case in (*REPLAYS, *CALLS) if case.naive and not fools(case)] == []


def nothing(*_: Any, **__: Any) -> None:
    """Check nothing."""


def yes(*_: Any, **__: Any) -> bool:
    return True


def any_base64(element: Any, *_: Any) -> bytes:
    return base64.b64decode("".join(element.itertext()))


def without_objects(element: Any) -> list[Any]:
    return [one for one in element if isinstance(one.tag, str) and not one.tag.endswith("}Object")]


class Everything(dict[object, str]):
    """Has whatever is asked for, beside what it is made of."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, key: object) -> str:
        return str(key)


#: What is left out of the gateway, and cases that must then find it.
BREAKAGES: dict[str, tuple[str, Any, str]] = {
    "objects in a signature": (
        "gateway.xmlsec.xml_signature.list_children",
        without_objects,
        "SIG-01.object-of-signature.*",
    ),
    "what is for the next node": (
        "gateway.xmlsec.ebms2_signature._BLOCK_XPATHS",
        Everything(ebms2_signature._BLOCK_XPATHS),
        "SIG-23.unknown-empty",
    ),
    "identifiers": ("gateway.xmlsec.ebms2_signature.check_unique_ids", nothing, "SIG-09.ebxml-twice"),
    "attributes of a reference": (
        "gateway.xmlsec.xml_signature.check_attributes",
        nothing,
        "SIG-10.absent",
    ),
    "digests": ("gateway.xmlsec.signature_verifier.compare_digests", yes, "SIG-15.contents"),
    "forms": ("gateway.xmlsec.ebms2_signature._check_signed_info_method", nothing, "SIG-19.exclusive"),
    "transforms": ("gateway.xmlsec.ebms2_signature._check_envelope_transforms", nothing, "SIG-21.no-xpath"),
    "values": ("gateway.xmlsec.signature_verifier.verify_value_of_checked_key", yes, "SIG-27.zero"),
    "whose key it is": (
        "gateway.protocols.core.ProtocolContext.check_certificate_party",
        nothing,
        "SIG-31.party-of-other",
    ),
    "whether a key is good": (
        "gateway.protocols.core.ProtocolContext.check_signing_certificate",
        nothing,
        "SIG-32.revoked",
    ),
    "base64": ("gateway.xmlsec.xml_signature.decode_base64", any_base64, "SIG-35.behind-padding"),
    "replays": ("gateway.web.replay_cache._StoredCall.insert", nothing, "REP-03.call"),
    "the time to live": ("gateway.protocols.ebms2.check_time_to_live", nothing, "REP-04.year"),
    "timestamps": ("gateway.xmlsec.wss.check_timestamp", nothing, "REP-05.expired"),
    "actors": ("gateway.protocols.ebms2.header_blocks.read_actor", nothing, "REP-11.ack-to-url"),
    "addresses": ("gateway.wire.addressing._check_endpoint", nothing, "REP-11.call-reply-to"),
    "what was agreed": (
        "gateway.protocols.ebms2.message_opening.check_agreed_terms",
        nothing,
        "REP-12.no-ack",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_verifier_that_overlooks_one_thing_is_found_out(
    name: str, opponents: tuple[AttackerKit, WsgiTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, instead, pattern = BREAKAGES[name]
    cases = [case for case in ALL if fnmatchcase(case.id, pattern)]
    assert cases
    assert {one.verdict for one in played(cases, opponents)} == {PASSED}
    monkeypatch.setattr(broken, instead)
    missed = [one for one in played(cases, opponents) if one.verdict == FAILED]
    assert missed
    assert any(one.got.startswith("accepted") for one in missed)


def played(cases: list[AttackCase], opponents: tuple[AttackerKit, WsgiTarget]) -> list[Any]:
    return list(AttackRunner(*opponents, control_interval=1000).run_cases(cases).results)
