"""A refusal that blames a sender is judged twice, and what was accepted once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.errors import (
    NO_ROOM,
    OUR_MISTAKE,
    SIGNATURE_INVALID,
    XML_MALFORMED,
    GatewayError,
    confirm_finding,
    confirm_refusal,
)
from gateway.protocols import PROTOCOLS
from gateway.protocols.known_envelopes.message_opener import KnownEnvelopes
from gateway.wire import canonicalize_document, canonicalize_element, find_violation, schema_validation, xml
from gateway.xmlsec import sign_document
from tests.kit import soap
from tests.kit.failed_allocation import SOURCE, WORKS
from tests.kit.paths import ROOT
from tests.protocols import sample_parties


class Judgements:
    """Gives one outcome after the other, and counts."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.made = 0

    def __call__(self) -> object:
        self.made += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_what_is_accepted_is_judged_once() -> None:
    judge = Judgements("good")
    assert (confirm_refusal(judge), judge.made) == ("good", 1)


def test_a_refusal_that_comes_again_is_raised() -> None:
    judge = Judgements(GatewayError(SIGNATURE_INVALID, "a"), GatewayError(SIGNATURE_INVALID, "b"))
    with pytest.raises(GatewayError, match="GW202 b"):
        confirm_refusal(judge)
    assert judge.made == 2


@pytest.mark.parametrize("second", ["good", GatewayError(XML_MALFORMED, "b"), GatewayError(NO_ROOM)])
def test_a_refusal_that_does_not_come_again_is_for_want_of_memory(second: object) -> None:
    judge = Judgements(GatewayError(SIGNATURE_INVALID, "a"), second)
    with pytest.raises(GatewayError) as caught:
        confirm_refusal(judge)
    assert (caught.value.problem, judge.made) == (NO_ROOM, 2)


@pytest.mark.parametrize("error", [GatewayError(OUR_MISTAKE), GatewayError(NO_ROOM), ValueError("x")])
def test_what_blames_no_sender_is_not_judged_again(error: Exception) -> None:
    judge = Judgements(error)
    with pytest.raises(type(error)) as caught:
        confirm_refusal(judge)
    assert (caught.value, judge.made) == (error, 1)


def test_the_refusal_of_another_reader_is_the_first_one() -> None:
    judge = Judgements(GatewayError(SIGNATURE_INVALID, "a"))
    with pytest.raises(GatewayError, match="GW202"):
        confirm_refusal(judge, is_already_refused=True)
    assert judge.made == 1


def test_inside_a_judgement_nothing_is_judged_twice() -> None:
    refusal = GatewayError(SIGNATURE_INVALID, "a")
    inner, finding = Judgements(*[refusal] * 4), Judgements(*["wrong"] * 4)

    def judge() -> object:
        confirm_finding(finding)
        return confirm_refusal(inner)

    with pytest.raises(GatewayError, match="GW202"):
        confirm_refusal(judge)
    assert (inner.made, finding.made) == (2, 2)
    assert confirm_finding(finding) == "wrong"
    assert finding.made == 4, "the outer judgement has ended"


def test_a_finding_is_found_twice() -> None:
    good, wrong = Judgements(None), Judgements("first", "second")
    assert (confirm_finding(good), good.made) == (None, 1)
    assert confirm_finding(wrong) == "second"
    with pytest.raises(GatewayError, match="GW806"):
        confirm_finding(Judgements("wrong", None))


def answer_wrongly_once(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, spoil: Callable[..., object]
) -> None:
    """Let one function answer wrongly the first time that it is called from now on."""
    answer, called = getattr(module, name), []

    def answer_next(*given: Any, **named: Any) -> object:
        called.append(given)
        result = answer(*given, **named)
        return spoil(result) if len(called) == 1 else result

    monkeypatch.setattr(module, name, answer_next)


def test_a_violation_that_is_none_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = etree.XMLSchema(
        etree.fromstring(
            '<s:schema xmlns:s="http://www.w3.org/2001/XMLSchema"><s:element name="a"/></s:schema>'
        )
    )
    root = etree.fromstring("<a/>")
    assert find_violation(schema, root) is None
    answer_wrongly_once(monkeypatch, schema_validation, "_is_valid", lambda _: False)
    with pytest.raises(GatewayError, match="GW806"):
        find_violation(schema, root)
    assert find_violation(schema, etree.fromstring("<b/>")) is not None


@pytest.mark.parametrize(
    "canonicalize", [canonicalize_document, canonicalize_element, lambda root: canonicalize_element(root[0])]
)
def test_a_form_that_lacks_something_is_not_used(
    monkeypatch: pytest.MonkeyPatch, canonicalize: Callable[[etree._Element], bytes]
) -> None:
    root = etree.fromstring("<a><b c='1'>text</b></a>")
    right = canonicalize(root)
    answer_wrongly_once(monkeypatch, xml, "_write_canonical_form", lambda octets: octets[:-9])
    with pytest.raises(GatewayError, match="GW806"):
        canonicalize(root)
    assert canonicalize(root) == right


def test_nothing_is_signed_in_a_form_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_wrongly_once(monkeypatch, xml, "_write_canonical_form", lambda octets: octets[:-9])
    with pytest.raises(GatewayError, match="GW806"):
        sign_document(etree.fromstring("<a><b/></a>"), soap.signer("hub"), now=soap.NOW)


def test_a_message_is_refused_only_by_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    core, context = PROTOCOLS["ebms2"], sample_parties.context()
    parcel = core.seal((sample_parties.message(),), sample_parties.SUBMIT, context)
    assert parcel is not None
    answer_wrongly_once(monkeypatch, xml, "_write_canonical_form", lambda octets: octets[:-9])
    with pytest.raises(GatewayError, match="GW806"):
        KnownEnvelopes().open_units(core, parcel, context)
    assert KnownEnvelopes().open_units(core, parcel, context).verified_signature is not None


@pytest.mark.parametrize("known", [False, True])
def test_a_forged_message_is_read_at_most_twice(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    core, context, envelopes = PROTOCOLS["ebms2"], sample_parties.context(), KnownEnvelopes()
    parcel = core.seal((sample_parties.message(),), sample_parties.SUBMIT, context)
    assert parcel is not None
    for _ in range(3 if known else 0):
        envelopes.open_units(core, parcel, context)
    spoiled = sample_parties.parcel(
        sample_parties.octets(parcel).replace(b"<eb:ConversationId>c-1<", b"<eb:ConversationId>c-2<"),
        parcel.get_header("Content-Type"),
    )
    read: list[object] = []
    for name in ("open_related", "open_reading"):
        monkeypatch.setattr(core, name, note_call(read, getattr(core, name)))
    with pytest.raises(GatewayError, match="GW202"):
        envelopes.open_units(core, spoiled, context)
    assert len(read) == 2


def note_call(calls: list[object], function: Callable[..., object]) -> Callable[..., object]:
    def noting(*given: object) -> object:
        calls.append(given)
        return function(*given)

    return noting


@pytest.mark.night
@pytest.mark.parametrize("work", WORKS)
def test_one_failed_allocation_blames_no_sender(tmp_path: Path, work: str) -> None:
    """At points of the whole work; each is passing, or the outcome is right all the same."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc, to make an allocation fail")
    library = tmp_path / "failed.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.kit.failed_allocation", work, "23"],
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes = json.loads(ran.stdout)["outcomes"]
    assert "GW806" in outcomes
    assert outcomes.keys() <= {"GW806", "right"}, outcomes
