"""Times that tests allow: a slow machine must not make a test fail.

What must run out in a test is short, and says so by a comment beside it (`# short: why`). Every other limit
guards against hanging alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.kit.paths import ROOT
from tests.kit.waiting import SHORTEST as SHORTEST_WAIT
from tests.kit.waiting import retry, until

#: Seconds: what is meant to end well has at least this time.
SHORTEST = 5
#: Keywords by which functions of the gateway and of tests take a limit of time in seconds.
LIMITS = {"connect_seconds", "patience", "read_seconds", "time_out", "total_seconds"}
MARK = "# short: "


def find_short_limits(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and words of each limit of a program that is short and does not say why."""
    if not any(f"{name}=" in source for name in {*LIMITS, "seconds"}):
        return
    lines = source.splitlines()
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        limits = LIMITS | {"seconds"} if ast.unparse(call.func).endswith("make_engine") else LIMITS
        for keyword in call.keywords:
            value = keyword.value
            if (
                keyword.arg in limits
                and isinstance(value, ast.Constant)
                and isinstance(value.value, int | float)
                and value.value < SHORTEST
                and MARK not in lines[value.lineno - 1]
            ):
                yield value.lineno, f"{keyword.arg}={value.value}"


def test_a_limit_that_is_short_says_why() -> None:
    short = [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, words in find_short_limits(path.read_text(encoding="utf-8"))
    ]
    assert short == []


def test_a_short_limit_is_seen() -> None:
    source = "HttpLimits(read_seconds=1,\n total_seconds=0.5)  # short: it must run out\n"
    assert list(find_short_limits(source)) == [(1, "read_seconds=1")]
    assert list(find_short_limits("store.make_engine(url, seconds=4.9)")) == [(1, "seconds=4.9")]
    assert list(find_short_limits("clock.forward(seconds=1)\nHttpLimits(read_seconds=5)")) == []


def test_a_condition_is_asked_until_it_holds() -> None:
    answers = iter([None, [], "held"])
    assert until(lambda: next(answers), every=0.0) == "held"


def test_an_action_is_repeated_while_it_raises_what_is_named() -> None:
    problems = iter([ConnectionRefusedError(), TimeoutError()])

    def act() -> int:
        for problem in problems:
            raise problem
        return 0

    assert retry(act, OSError, every=0.0) == 0
    problems = iter([KeyError("else")])
    with pytest.raises(KeyError, match="else"):
        retry(act, OSError)


def test_what_never_holds_fails_and_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 30.0, SHORTEST_WAIT + 1])
    clock = SimpleNamespace(monotonic=lambda: next(moments), sleep=lambda _: None)
    monkeypatch.setattr("tests.kit.waiting.time", clock)
    with pytest.raises(AssertionError, match="within 60 s: two rows"):
        until(lambda: False, SHORTEST_WAIT, every=0.0, problem=lambda: "two rows")


def test_a_wait_has_no_short_limit() -> None:
    with pytest.raises(ValueError, match="at least 60 s"):
        until(lambda: True, 59)
