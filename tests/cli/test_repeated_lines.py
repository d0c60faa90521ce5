"""What strangers cause is logged a bounded number of times, in lines of bounded length."""

from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path

import pytest

from gateway import process_log
from gateway.process_log import FIELDS, RepeatedLineFilter, set_up_logging

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def make_record(name: str, text: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, text, (), None)


def test_what_servers_say_again_and_again_is_counted() -> None:
    now = 0.0
    lines = RepeatedLineFilter(lambda: now)
    written = [lines.filter(make_record("gateway.web.server.request_gate", "shut")) for _ in range(1000)]
    assert (written.count(True), written.index(False)) == (30, 30)
    # Another form, another place and a lower level have their own number.
    assert lines.filter(make_record("gateway.web.server.request_gate", "broken off"))
    assert lines.filter(make_record("gateway.web.api.api_application", "shut"))
    assert all(lines.filter(make_record("gateway.delivery.worker", "failed")) for _ in range(100))
    info = make_record("gateway.web.server.request_gate", "shut", logging.INFO)
    assert lines.filter(info)
    now = 60.0
    again = [make_record("gateway.web.server.request_gate", "shut") for _ in range(2)]
    assert all(lines.filter(record) for record in again)
    assert [record.getMessage() for record in again] == ["shut (970 more were left out)", "shut"]


@pytest.mark.parametrize("as_json", [True, False])
def test_what_moves_a_cursor_or_breaks_a_line_is_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    set_up_logging(as_json=as_json)
    root.warning("%s", "허브 a\tb\n\r\x1b[2J\x00\x0b\x85\u2028\u202e\ud800")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "허브 a\\tb\\n\\r\\u001b[2J\\u0000\\u000b\\u0085\\u2028\\u202e\\ud800" in line


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    set_up_logging(as_json=as_json)
    root.warning("%s", "a\nb" * 10_000)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 4200
    assert "Traceback" not in line


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_names_its_objects_as_fields(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    set_up_logging(as_json=as_json)
    root.warning("it failed", extra={"delivery": 12, "partner": 'a "b" c', "case": None, "source": "x" * 900})
    (line,) = capsys.readouterr().err.splitlines()
    if as_json:
        fields = json.loads(line)
        assert (fields["delivery"], fields["partner"], fields["source"]) == (12, 'a "b" c', "x" * 200)
        assert "case" not in fields
    else:
        assert line.endswith(rf' it failed partner="a \"b\" c" delivery=12 source={"x" * 200}')


@pytest.mark.long
def test_each_field_of_a_line_is_one_that_is_written() -> None:
    calls = [
        node
        for path in Path(process_log.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
    ]
    written = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "extra"]
    names = {
        key.value
        for value in written
        for key in (value.keys if isinstance(value, ast.Dict) else ())
        if isinstance(key, ast.Constant)
    }
    assert len(written) > 15
    assert names <= set(FIELDS)
    texts = [ast.unparse(call.args[0]) for call in calls if call.args and "log" in ast.unparse(call.func)]
    assert [text for text in texts if re.search(r"\b(delivery|case|deadline|message|row) %[sd]", text)] == []
