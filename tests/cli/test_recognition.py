"""The three modes of recognition from the shell: every line of the manual's page, and a running gateway."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway_conformance import DATA_FOLDER
from tests.cli.test_pki_list import MANUAL
from tests.kit.house import AGREEMENT
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.tutorial import blocks
from tests.kit.waiting import retry, until

PAGE = list(blocks(MANUAL.read_text(encoding="utf-8").split("### All three, to try")[1]))
SAMPLE = DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_text(encoding="utf-8")
RUN = "gateway run --home ."
# Message, mode and source of its signer, and of the submission's where that is another.
TABLE = re.compile(r"^\| (\d) \| `([\w-]+)`, ([^|]+) \| (?:the same|`(\w+)`, ([^|]+)) \|$", re.MULTILINE)
NO_AGENCIES = re.compile(r"<Application .*</Application>", re.DOTALL)


def written(text: str, port: int) -> str:
    return text.replace("8900", str(port))


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Lay out the files of the page, and those that it describes, in the folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    found = find_free_port()
    for block in PAGE:
        if block.language == "toml":
            Path(block.kind.removeprefix("file=")).write_text(written(block.content, found), encoding="utf-8")
    older = Path("zz-5.toml").read_text(encoding="utf-8")
    newer = older.replace("sequence = 5", "sequence = 6").replace('"granted"', '"withdrawn"')
    assert newer.count("6\n") == newer.count("withdrawn") == 1
    Path("zz-6.toml").write_text(newer, encoding="utf-8")
    for country, party in (("zz", "zz-firm"), ("yy", "yy-firm"), ("xx", "xx-gateway")):
        Path(f"{party}.yaml").write_bytes(AGREEMENT.replace(b"broker1", party.encode()))
        alone, gone = NO_AGENCIES.subn("", SAMPLE)
        assert gone == 1
        Path(f"{country}.xml").write_text(alone.replace("6N001", f"{country.upper()}001"), encoding="utf-8")
    return found


@contextmanager
def running(tmp_path: Path) -> Iterator[None]:
    """Run the gateway as the page's line does, in the background, until it serves."""
    command = [sys.executable, "-m", "gateway", *shlex.split(RUN)[1:]]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with (tmp_path / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, (tmp_path / "gateway.log").read_text(encoding="utf-8")


class Shell:
    """Types the lines of the page, one after another, and keeps what each printed."""

    def __init__(self, port: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.port = port
        self._capsys = capsys
        lines = [line for block in PAGE if block.language == "sh" for line in block.content.splitlines()]
        self.lines = iter(lines)

    def type(self, line: str) -> tuple[int, str]:
        status = main(shlex.split(written(line, self.port))[1:])
        printed = self._capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out + printed.err

    def until(self, last: str) -> list[str]:
        """Type the lines before one, which must all be good; return what each printed."""
        told = []
        for line in self.lines:
            if line.startswith(last):
                return [*told, line]
            status, text = self.type(line)
            assert status == 0, (line, text)
            told.append(text)
        raise AssertionError(f"no line begins with {last}")

    def patiently(self, line: str) -> str:
        """Type a line until it is good: what it asks for is under way."""

        def type_line() -> str:
            status, text = self.type(line)
            assert status == 0, text
            return text

        return retry(type_line, AssertionError, every=0.2)

    def ways(self, line: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Type ``message show`` until the case of the message is open; return both signers' ways.

        `number` is what the message has here: whatever goes out meanwhile has one too.
        """
        line = re.sub(r"show \d", f"show {number}", line)

        def read_ways() -> dict[str, Any]:
            message = json.loads(self.patiently(line))
            return {row["kind"]: row["data"].get("admitted") for row in message["evidence"]}

        until(lambda: "admitted" in read_ways(), every=0.2)
        ways = read_ways()
        return ways["NRO"], ways["admitted"]


@pytest.mark.night
def test_the_three_modes_of_the_page(port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(port, capsys)
    shell.until(RUN)
    with running(tmp_path):
        first, *others = [next(shell.lines) for _ in range(5)]
        assert "receipt: verified" in shell.patiently(first)
        for line in others:
            status, text = shell.type(line)
            assert status == 0, (line, text)
            assert "submit" not in line or "receipt: verified" in text
        listed = shell.type(f"{next(shell.lines)} --json")[1].splitlines()
        numbers = sorted(json.loads(row)["id"] for row in listed)
        shown = [shell.ways(next(shell.lines), number) for number in numbers]
        table = TABLE.findall(MANUAL.read_text(encoding="utf-8"))
        assert len(table) == 3
        for (message, case), (_, mode, source, inner, about) in zip(shown, table, strict=True):
            assert (message["mode"], message["source"]) == (mode, source)
            assert (case["mode"], case["source"]) == (inner or mode, about or source)
        assert [case.get("levels") for _, case in shown] == [["qualified"], ["qualified"], ["basic"]]
        *_, older = shell.until("gateway pki list import zz-5")
        status, text = shell.type(older)
        assert status == 1
        assert "GW804 sequence number 5, and 6 is in hand" in text
        status, text = shell.type(next(shell.lines))
        assert status == 0
        assert re.findall(r"^(\w+) +own +(\d+) +(ours|in force) ", text, re.MULTILINE) == [
            ("KR", "1", "ours"),
            ("ZZ", "6", "in force"),
        ]
        status, text = shell.type(next(shell.lines))
        assert status == 1
        assert "CA for traders is 'withdrawn' on the list of ZZ" in text
        assert list(shell.lines) == []
        listed = shell.type("gateway case list --home . --json")[1].splitlines()
        (number,) = [row["number"] for row in map(json.loads, listed) if row["declarant"] == "xx-firm"]
        status, text = shell.type(f"gateway case show {number} --home .")
        assert "admitted by vouched as basic: CN=xx-gateway" in text
