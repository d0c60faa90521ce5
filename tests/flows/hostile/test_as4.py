"""Attacks on AS4: by the generators of the other faces, and by its own; each can find something."""

from __future__ import annotations

import base64
from collections import defaultdict
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from gateway_conformance.hostile import (
    AttackCase,
    AttackerKit,
    AttackRunner,
    WsgiTarget,
    as4_derived_attacks,
    as4_encryption_attacks,
    as4_header_attacks,
    as4_signal_attacks,
    element_wrapping,
    read_attack_table,
)
from gateway_conformance.hostile.attacker_kit import make_as4_kit
from gateway_conformance.hostile.exchange import NotOfferedError
from gateway_conformance.hostile.runner import FAILED, PASSED
from tests.flows.hostile.sample_kit import choose_one_of_each
from tests.flows.hostile.shapes import bench, fools, same_shapes

DERIVED = as4_derived_attacks.CASES
OWN = (
    *(case for case in element_wrapping.CASES if case.face == "as4"),
    *as4_header_attacks.CASES,
    *as4_encryption_attacks.CASES,
    *as4_signal_attacks.CASES,
)
#: What is of ebMS 2.0, of the services for agencies and customs, or of HTTP, a page or an operator.
OF_OTHERS = {
    "SIG-22", "REP-03", "REP-04", "REP-06", "REP-09", "PKI-01", "PKI-02", "PKI-03", "PKI-05", "PKI-06",
    "PKI-07", "PKI-10", "PKI-12", "PKI-13", "PKI-14", "DOS-11", "DOS-13", "DOS-14", "DOS-15",
}  # fmt: skip


def test_every_attack_that_applies_is_tried_over_as4() -> None:
    tried = {case.attack_id for case in (*DERIVED, *OWN)}
    wanted = {one.id for one in read_attack_table() if not one.id.startswith("APP-")}
    assert wanted - tried - OF_OTHERS == set()
    assert {"APP-01", "APP-02", "APP-03", "APP-04"} <= tried
    assert len(DERIVED) >= 600
    assert len(OWN) >= 170


def test_every_case_can_be_chosen_by_its_name() -> None:
    assert [case.id for case in (*DERIVED, *OWN) if not fnmatchcase(case.id, "*.as4*")] == []
    assert {case.face for case in (*DERIVED, *OWN)} == {"as4"}


def test_no_two_cases_of_as4_send_the_same() -> None:
    random = ("SIG-36.", "SIG-37.")
    assert same_shapes(case for case in OWN if not case.id.startswith(random)) == []


def test_what_is_said_to_fool_the_naive_verifier_does() -> None:
    assert [case.id for case in OWN if case.naive and not fools(case)] == []
    assert sum(case.naive for case in OWN) >= 70


def test_each_generator_makes_what_the_naive_verifier_takes() -> None:
    """A generator whose every message were refused for a broken digest would try nothing."""
    found: dict[str, list[bool]] = defaultdict(list)
    for case in [one for one in DERIVED if not one.id.startswith(("DOS-", "APP-"))][::5]:
        found[case.attack_id].append(fools(case))
    taken = {attack for attack, answers in found.items() if any(answers)}
    assert len(taken) >= 20, taken


def test_a_partner_folder_of_before_has_no_agreement_by_as4() -> None:
    with pytest.raises(NotOfferedError, match="no agreement by AS4"):
        make_as4_kit(replace(bench(), as4_members={}))


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(choose_one_of_each((*OWN, *DERIVED)), id="one of each attack"),
        pytest.param((*OWN, *DERIVED), id="every case", marks=pytest.mark.night),
    ],
)
def test_no_attack_by_as4_passes_this_gateway(
    opponents: tuple[AttackerKit, WsgiTarget], cases: tuple[AttackCase, ...]
) -> None:
    results = AttackRunner(*opponents, control_interval=100).run_cases(cases).results
    assert [(one.id, one.got) for one in results if one.verdict != PASSED] == []


def nothing(*_: Any, **__: Any) -> None:
    """Check nothing."""


def yes(*_: Any, **__: Any) -> bool:
    return True


def any_base64(element: Any, *_: Any) -> bytes:
    return base64.b64decode("".join(element.itertext()))


def first_messaging(envelope: Any) -> Any:
    return next(
        envelope.root.iter("{http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/}Messaging")
    )


#: What is left out of the gateway, and cases that must then find it.
BREAKAGES: dict[str, tuple[tuple[tuple[str, Any], ...], str]] = {
    "what is signed": ((("gateway.xmlsec.swa_signature._check_coverage", nothing),), "SIG-13.as4-token-only"),
    "digests": ((("gateway.xmlsec.signature_verifier.compare_digests", yes),), "SIG-15.as4-contents"),
    "values": ((("gateway.xmlsec.signature_verifier.verify_value_of_checked_key", yes),), "SIG-27.as4-zero"),
    "base64": ((("gateway.xmlsec.xml_signature.decode_base64", any_base64),), "SIG-35.as4-behind-padding"),
    "whose key it is": (
        (("gateway.protocols.core.ProtocolContext.check_certificate_party", nothing),),
        "SIG-30.as4-other-authority",
    ),
    "whether a key is good": (
        (("gateway.protocols.core.ProtocolContext.check_signing_certificate", nothing),),
        "SIG-32.as4-revoked",
    ),
    "parts that nobody names": (
        (("gateway.protocols.as4.message_reading.check_parts_named", nothing),),
        "SIG-14.as4-names-less",
    ),
    "which of two headers": (
        (("gateway.protocols.as4.message_reading.find_messaging", first_messaging),),
        "SIG-02.as4-after.messaging",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_handler_that_overlooks_one_thing_is_found_out(
    name: str, opponents: tuple[AttackerKit, WsgiTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, pattern = BREAKAGES[name]
    (case,) = [one for one in (*DERIVED, *OWN) if one.id == pattern]
    runner = AttackRunner(*opponents, control_interval=1000)
    assert runner.run_case(case, probes_after=False).verdict == PASSED
    for place, instead in broken:
        monkeypatch.setattr(place, instead)
    assert runner.run_case(case, probes_after=False).verdict == FAILED
