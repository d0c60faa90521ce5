"""Verbs in a locale whose encoding does not have every character: EUC-KR has Korean, but no `贸`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli.result_output import measure_cells
from gateway.store import make_engine, parties, write_transaction
from tests.kit.databases import Templates
from tests.kit.house import START
from tests.kit.levels import at_night
from tests.kit.paths import ROOT

pytestmark = pytest.mark.long

KOREAN = "한빛관세법인"
CHINESE = "中国贸易 Café 😀"
#: As EUC-KR can show it: the first two characters and the fourth are hanja, too.
ESCAPED = "中国\\u8d38易 Caf\\xe9 \\U0001f600".replace("国", "\\u56fd")


@dataclass
class KoreanComputer:
    """A home, and verbs that run in the locale ko_KR.EUC-KR."""

    home: Path
    locales: Path

    def run_verb(
        self,
        verb: str,
        *words: str | bytes,
        locale: str = "ko_KR.EUC-KR",
        stdin: bytes = b"",
        stdout: int = -1,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a verb of the home; return what it printed, and its exit status."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *verb.split(), *words],
            check=False,
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=self.list_variables(locale),
            timeout=60,
        )

    def list_variables(self, locale: str) -> dict[str, str]:
        """Return the environment of a verb, whose locale is there."""
        language, _, encoding = locale.partition(".")
        if "_" in language and not (self.locales / locale).exists():
            command = ["localedef", "-i", language, "-f", encoding, str(self.locales / locale)]
            compiled = subprocess.run(command, capture_output=True, text=True, check=False)
            assert compiled.returncode == 0, f"is the package `locales` installed? {compiled.stderr}"
        return {"PATH": os.environ["PATH"], "LOCPATH": str(self.locales), "LC_ALL": locale}

    def run_at_home(
        self, verb: str, *words: str | bytes, **options: object
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a verb that needs a home."""
        return self.run_verb(verb, *words, "--home", str(self.home), **options)


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> KoreanComputer:
    """Return a computer whose hub knows two parties."""
    folder = tmp_path_factory.mktemp("computer")
    computer = KoreanComputer(folder / "home", folder)
    templates.fill_home(computer.home)
    engine = make_engine(f"sqlite:///{computer.home}/gateway.sqlite3")
    with write_transaction(engine) as conn:
        for number, name in enumerate((KOREAN, CHINESE)):
            parties.register_party(conn, f"P{number}", name, "applicant", START)
    engine.dispose()
    return computer


def test_a_list_escapes_what_the_encoding_does_not_have(computer: KoreanComputer) -> None:
    ended = computer.run_at_home("party list")
    assert (ended.returncode, ended.stderr) == (0, b"")
    lines = ended.stdout.decode("euc_kr").splitlines()
    assert len(lines) == 3
    rows = {name: line for name in (KOREAN, ESCAPED) for line in lines if name in line}
    # The columns behind the name begin in the same cell of the screen.
    starts = {measure_cells(line.partition("applicant")[0]) for line in rows.values()}
    assert (len(rows), len(starts)) == (2, 1)


def test_a_terminal_gets_escapes(computer: KoreanComputer) -> None:
    reader, terminal = os.openpty()
    ended = computer.run_at_home("party list", stdout=terminal)
    os.close(terminal)
    assert (ended.returncode, ended.stderr) == (0, b"")
    shown = b"".join(_read_terminal(reader)).decode("euc_kr")
    assert KOREAN in shown
    assert "\\u8d38" in shown


def _read_terminal(reader: int) -> Iterator[bytes]:
    try:
        while octets := os.read(reader, 1 << 16):
            yield octets
    except OSError:
        # The end of a terminal that no process has open.
        os.close(reader)


def test_json_has_the_characters_for_every_reader(computer: KoreanComputer) -> None:
    ended = computer.run_at_home("party list", "--json")
    assert (ended.returncode, ended.stderr) == (0, b"")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {row["name"] for row in rows} >= {KOREAN, CHINESE}


def test_a_failure_as_json_has_them_too(computer: KoreanComputer) -> None:
    ended = computer.run_verb("error", "한빛".encode("euc_kr"), "--json")
    assert ended.returncode != 0
    assert "한빛" in json.loads(ended.stderr)["detail"]


def test_a_document_has_its_own_encoding(computer: KoreanComputer) -> None:
    """What `map sample` writes is UTF-8, as its readers take it; its Korean names show that."""
    samples = {
        computer.run_verb("map sample", "KFDA-FOOD-IMP", "--seed", "1", locale=locale).stdout
        for locale in ("ko_KR.EUC-KR", "C.UTF-8")
    }
    assert len(samples) == 1
    sample = samples.pop()
    assert not sample.isascii()
    assert etree.fromstring(sample).tag


def test_a_log_as_json_is_ascii(computer: KoreanComputer) -> None:
    program = (
        "import logging; from gateway.process_log import set_up_logging; set_up_logging(as_json=True);"
        "logging.getLogger('gateway').error('\\u8d38 \\ud55c \\xe9')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=computer.list_variables("ko_KR.EUC-KR"),
    )
    assert json.loads(ended.stderr)["text"] == "贸 한 é"


@pytest.mark.parametrize("argument", ["贸".encode(), *at_night(b"\xff\xfe")])
def test_an_argument_that_is_no_text_of_the_locale_is_refused(
    computer: KoreanComputer, argument: bytes
) -> None:
    ended = computer.run_at_home("case show", argument)
    assert ended.returncode == 2
    line = ended.stderr.decode("ascii")
    assert line.startswith("gateway: GW808 an argument or a file name is not text in euc_kr, the encoding")
    assert len(line.splitlines()) == 1


def test_help_and_octets_of_an_argument_are_escaped_too(computer: KoreanComputer) -> None:
    """Outside of tables; ISO-8859-1 has no ellipsis."""
    refused = computer.run_verb("declaration check", b"\xff.xml", locale="C.UTF-8")
    assert (refused.returncode, b"\\udcff.xml" in refused.stderr + refused.stdout) == (2, True)
    helped = computer.run_verb("submit", "--help", locale="en_US.ISO-8859-1")
    assert (helped.returncode, helped.stderr) == (0, b"")
    assert b"\\u2026" in helped.stdout


@pytest.mark.parametrize("locale", ["ko_KR.EUC-KR", *at_night("C.UTF-8", "C")])
def test_a_password_that_is_no_text_is_misuse(computer: KoreanComputer, locale: str) -> None:
    ended = computer.run_at_home(
        "account password", "admin", stdin=b"long-enough-\xff-password\n", locale=locale
    )
    assert ended.returncode == 2
    assert b"GW808 what was typed or piped is no text in " in ended.stderr


def test_a_typed_password_that_is_no_text_is_misuse(computer: KoreanComputer) -> None:
    keyboard, terminal = os.openpty()
    command = ["account", "password", "kim", "--home", str(computer.home)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *command],
        stdin=terminal,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=computer.list_variables("ko_KR.EUC-KR"),
        start_new_session=True,
    )
    assert process.stderr is not None
    # What is typed before the prompt is discarded.
    assert process.stderr.read(len("New password: ")) == b"New password: "
    os.write(keyboard, b"\xff-long-enough-password\n")
    printed = process.communicate(timeout=60)[1]
    os.close(terminal)
    os.close(keyboard)
    assert process.returncode == 2
    assert b"GW808 what was typed or piped is no text in " in printed


def test_xml_in_a_report_has_references(computer: KoreanComputer) -> None:
    submission = str(ROOT / "conformance/submissions/KFDA-FOOD-IMP/valid.xml")
    ended = computer.run_verb("map split", submission, locale="en_US.ISO-8859-1")
    assert ended.returncode == 0
    assert b"&#51452;&#49885;" in ended.stdout


@pytest.mark.parametrize("locale", ["tr_TR.ISO-8859-9", *at_night("ko_KR.EUC-KR", "en_US.ISO-8859-1")])
def test_a_file_name_that_the_locale_does_not_have_is_named(
    computer: KoreanComputer, tmp_path: Path, locale: str
) -> None:
    """Mappings name their files, and UTF-8 is their encoding whatever the locale is."""
    folder = tmp_path / "mappings"
    shutil.copytree(ROOT / "mappings", folder)
    index = folder / "codelists.yaml"
    index.write_text(
        index.read_text("utf-8").replace("codelists/food-class.csv", "codelists/贸.csv"), "utf-8"
    )
    ended = computer.run_verb("map check", "--path", str(folder), locale=locale)
    assert ended.returncode == 2
    assert b"GW808 the file name " in ended.stderr
    assert b"codelists/\\u8d38.csv' has '\\u8d38', which " in ended.stderr
