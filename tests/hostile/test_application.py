"""Values meant for what stands behind the gateway: taken as values, and found again as they were sent."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.conformance_home import invite_suite, make_suite_home
from gateway.conformance.hostile import application
from gateway.conformance.hostile.bench import Bench, read_bench
from gateway.conformance.hostile.case import ACCEPTED, Post
from gateway.conformance.hostile.judging import hear, wrong_with
from gateway.conformance.hostile.partner import sample_bench
from gateway.conformance.hostile.target import WsgiTarget
from gateway.model import Octets, UserMessage
from gateway.protocols import ebms2
from gateway.protocols.core import Parcel
from gateway.web.app import application as web
from gateway.wire.prescan import DEFAULT_LIMITS

SAMPLE = sample_bench()
TAKEN = [
    case for case in application.CASES if case.face == "ebms2" and next(case.play(SAMPLE)).expected.accepted
]


def test_most_values_are_values_like_others() -> None:
    assert len(TAKEN) > 60


@pytest.mark.parametrize(
    "value", ["'; DROP TABLE message; --", "${jndi:ldap://127.0.0.1:9/x}", "<script>alert(1)</script>"]
)
def test_a_value_arrives_as_it_was_sent(value: str) -> None:
    post = SAMPLE.message(SAMPLE.unit(conversation_id=value))
    sent = ebms2.sent(Parcel(post.headers, Octets(post.body)), DEFAULT_LIMITS)
    assert isinstance(sent.unit, UserMessage)
    assert sent.unit.conversation_id == value


class Terminal(io.StringIO):
    """A terminal that keeps what it is given."""

    def isatty(self) -> bool:
        return True


#: A control sequence introducer, a turned line, and a tag that is nowhere seen.
MOVING = "x\u009b2J\u202eetix\U000e0041@suite"


@pytest.mark.parametrize(
    "words", [["list"], ["list", "--json"], ["show", "{id}"], ["show", "{id}", "--json"]]
)
def test_no_word_of_a_stranger_moves_the_cursor_of_an_operator(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_suite_home(tmp_path / "home")
    invite_suite(settings, tmp_path / "partner")
    bench = read_bench(tmp_path / "partner")
    target = WsgiTarget(web(settings), bench.faces)
    unit = bench.unit(message_id=MOVING)
    assert hear(target.send(bench.message(unit))).taken
    command = ["message", *(word.format(id=unit.message_id) for word in words)]
    home = ["--home", str(settings.home)]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main([*command, *home]) == 0
    shown = terminal.getvalue()
    assert "x\\u009b2J\\u202eetix\\udb40\\udc41@suite" in shown
    assert all(one.isprintable() or one == "\n" for one in shown)
    # A file gets the octets as they are.
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main([*command, *home]) == 0
    assert MOVING in sys.stdout.getvalue()  # type: ignore[attr-defined]


def test_no_name_from_outside_becomes_a_file_and_no_value_is_logged(
    opponents: tuple[Bench, WsgiTarget],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, target = opponents
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    for case in application.CASES:
        for exchange in case.play(bench):
            assert isinstance(exchange.step, Post)
            answer = target.send(exchange.step)
            assert not wrong_with(answer, exchange.expected), (case.id, str(hear(answer)))
            break
    assert not list(tmp_path.rglob("*"))
    text = caplog.text
    for value in ("DROP TABLE", "jndi", "alert(1)", "cron.d", "BEGIN PRIVATE"):
        assert value not in text
    assert not wrong_with(target.send(bench.message()), ACCEPTED)
