"""Calls in whose Body an agency signs more or other than belongs there, and calls beyond the limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.store import NewSeenCall
from gateway.web import soap_security
from gateway.web.agency_service import build_agency_service
from gateway.wire import DEFAULT_LIMITS, SERVICE_AGENCY, AddressingHeaders, WireLimits, xml
from tests.kit.soap import agency_call
from tests.kit.soap_bodies import HARMLESS, list_bodies, sign_body
from tests.web.test_agency_service import DECISION, Recorder, World, security

VALUES = AddressingHeaders(f"{SERVICE_AGENCY}:SubmitDecision", "urn:uuid:call-1")
ELEMENT = f'<SubmitDecision xmlns="{SERVICE_AGENCY}">{DECISION}</SubmitDecision>'
BODIES = list_bodies(ELEMENT, "<Decision>", "R01")
GOOD = agency_call("SubmitDecision", DECISION)
PROBLEMS = {
    "an instruction": "GW104",
    "an unknown entity": "GW104",
    "a second Envelope": "GW104",
    "a deep tree": "GW102",
    "a second Body": "GW107",
    "an element between two": "GW107",
    "an unsigned Body of another name": "GW107",
    "an empty Body of another name": "GW107",
    "a Timestamp": "GW211",
    "a Security": "GW202",
    "a token": "GW202",
    "a Signature": "GW202",
    "a Body": "GW202",
    "an Envelope": "GW202",
    "the element twice": "GW311",
    "nothing": "GW311",
    "text": "GW311",
    "a long text": "GW402",
    "an attribute": "GW402",
    "an identifier of xml": "GW402",
    "an identifier with a prefix": "GW402",
    "an identifier with white space": "GW402",
}


class Forgetful:
    """Takes every call, also what came before."""

    @contextmanager
    def admit_call(self, call: NewSeenCall, now: datetime) -> Iterator[None]:
        yield


def serve(limits: WireLimits = DEFAULT_LIMITS) -> World:
    """Return a service that writes down what it is told."""
    handler = Recorder()
    return World(handler, build_agency_service(handler.apply, security(limits=limits, memory=Forgetful())))


def read_effect(world: World, body: bytes) -> list[object]:
    """Return what a call tells the handler, without its octets."""
    world.handler.said.clear()
    world.post(body)
    return [said for said, _ in world.handler.said]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_no_signature_covers_changes_nothing(name: str) -> None:
    world = serve()
    effect = read_effect(world, GOOD)
    assert len(effect) == 1
    assert read_effect(world, sign_body(VALUES, BODIES[name])) == effect


@pytest.mark.parametrize("name", sorted(BODIES.keys() - HARMLESS))
def test_a_call_with_another_body_has_no_effect(name: str) -> None:
    world = serve()
    assert world.post(sign_body(VALUES, BODIES[name])).problem == PROBLEMS[name]
    assert world.handler.said == []


@pytest.mark.parametrize("name", ["s-2", "s-3", "s-4"])
def test_an_identifier_that_is_signed_elsewhere_is_refused(name: str) -> None:
    """Nobody can tell which of two elements the reference means."""
    world = serve()
    body = sign_body(VALUES, ELEMENT.replace("<law>", f'<law Id="{name}">', 1))
    assert f':Id="{name}"'.encode() in body
    assert world.post(body).problem == "GW202"
    assert world.handler.said == []


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        (WireLimits(envelope=100), "the limit is 100"),
        (WireLimits(depth=3), "nested more than 3 deep"),
        (WireLimits(name=50, value=70), "an attribute has more than 70 characters"),
        (WireLimits(elements=9), "more than 9 elements"),
    ],
)
def test_a_call_keeps_the_limits_of_the_settings(limits: WireLimits, detail: str) -> None:
    world = serve(limits)
    answer = world.post(GOOD)
    assert answer.problem == "GW102"
    assert detail in answer.fault.detail[0][1].text
    assert world.handler.said == []


WORLD = serve()
EFFECT = read_effect(WORLD, GOOD)


@pytest.mark.night
def test_no_changed_octet_changes_the_effect() -> None:
    for at in range(len(GOOD)):
        for octet in (GOOD[at] ^ 1, 60):
            changed = GOOD[:at] + bytes([octet]) + GOOD[at + 1 :]
            assert read_effect(WORLD, changed) in ([], EFFECT)


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(source=st.integers(0, 6000), target=st.integers(0, 6000), length=st.integers(1, 900))
def test_octets_of_another_call_have_no_effect(source: int, target: int, length: int) -> None:
    other = agency_call("SubmitDecision", DECISION.replace("REJECTED", "APPROVED"), "urn:uuid:call-2")
    source, target = source % len(other), target % len(GOOD)
    changed = GOOD[:target] + other[source : source + length] + GOOD[target + length :]
    assert read_effect(WORLD, changed) in ([], EFFECT)


def test_a_call_that_cannot_be_read_for_want_of_memory_may_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soap_security, "canonicalize_element", lambda *_, **__: b"<a")
    world = serve()
    answer = world.post(GOOD)
    assert (answer.status[:3], answer.problem, world.handler.said) == ("503", "GW806", [])


def test_a_call_is_refused_only_by_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    write, forms = xml._write_canonical_form, list[bytes]()

    def write_wrongly_once(*given: Any) -> bytes:
        forms.append(write(*given))
        return forms[-1][:-9] if len(forms) == 1 else forms[-1]

    monkeypatch.setattr(xml, "_write_canonical_form", write_wrongly_once)
    world = serve()
    answer = world.post(GOOD)
    assert (answer.status[:3], answer.problem, world.handler.said) == ("503", "GW806", [])
    assert world.post(GOOD).status == "200 OK"
