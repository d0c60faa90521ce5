"""Values meant for what stands behind the gateway: taken as values, and found again as they were sent."""

from __future__ import annotations

import io
import logging
import re
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.message_model import MemoryBody, UserMessage
from gateway.protocols import Parcel, ebms2
from gateway.web import build_application as web
from gateway.wire import DEFAULT_LIMITS
from gateway_conformance.hostile import (
    AttackerKit,
    HttpRequest,
    WsgiTarget,
    injection_attacks,
    read_attacker_kit,
)
from gateway_conformance.hostile.answer_evaluation import explain_mismatch, summarize_answer
from gateway_conformance.hostile.exchange import ACCEPTED
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.flows.hostile.sample_kit import SAMPLE_KIT

SAMPLE = SAMPLE_KIT
TAKEN = [
    case
    for case in injection_attacks.CASES
    if case.face == "ebms2" and next(case.scenario(SAMPLE)).expected.is_acceptance
]


def test_most_values_are_values_like_others() -> None:
    assert len(TAKEN) > 60


@pytest.mark.parametrize(
    "value", ["'; DROP TABLE message; --", "${jndi:ldap://127.0.0.1:9/x}", "<script>alert(1)</script>"]
)
def test_a_value_arrives_as_it_was_sent(value: str) -> None:
    post = SAMPLE.build_message(SAMPLE.make_unit(conversation_id=value))
    sent = ebms2.read_sent_unit(Parcel(post.headers, MemoryBody(post.body)), DEFAULT_LIMITS)
    assert isinstance(sent.unit, UserMessage)
    assert sent.unit.conversation_id == value


class Terminal(io.StringIO):
    """A terminal that keeps what it is given."""

    def isatty(self) -> bool:
        return True


#: A control sequence introducer, a turned line, and a tag that is nowhere seen.
MOVING = "x\u009b2J\u202eetix\U000e0041@suite"


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [["list"], ["list", "--json"], ["show", "{id}"], ["show", "{id}", "--json"]]
)
def test_no_word_of_a_stranger_moves_the_cursor_of_an_operator(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_suite_home(tmp_path / "home")
    invite_suite(settings, tmp_path / "partner")
    bench = read_attacker_kit(tmp_path / "partner")
    target = WsgiTarget(web(settings), bench.faces)
    unit = bench.make_unit(message_id=MOVING)
    assert summarize_answer(target.send(bench.build_message(unit))).is_acceptance
    command = ["message", *(word.format(id=unit.message_id) for word in words)]
    home = ["--home", str(settings.home_folder)]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "250")
    assert main([*command, *home]) == 0
    # Colours are ours; no other control sequence may be there.
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert "x\\u009b2J\\u202eetix\\udb40\\udc41@suite" in shown
    assert all(one.isprintable() or one == "\n" for one in shown)
    # A file gets JSON as it is; lines for people stay lines there too.
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main([*command, *home]) == 0
    written = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert (MOVING in written) is ("--json" in words), written


def test_no_name_from_outside_becomes_a_file_and_no_value_is_logged(
    opponents: tuple[AttackerKit, WsgiTarget],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, target = opponents
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    for case in injection_attacks.CASES:
        for exchange in case.scenario(bench):
            assert isinstance(exchange.step, HttpRequest)
            answer = target.send(exchange.step)
            assert not explain_mismatch(answer, exchange.expected), (case.id, str(summarize_answer(answer)))
            break
    assert not list(tmp_path.rglob("*"))
    text = caplog.text
    for value in ("DROP TABLE", "jndi", "alert(1)", "cron.d", "BEGIN PRIVATE"):
        assert value not in text
    assert not explain_mismatch(target.send(bench.build_message()), ACCEPTED)
