"""``gateway declaration check``: one answer for each file, whatever the file is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from tests.kit.paths import ROOT

GOOD = b"<Declaration xmlns='urn:wco:datamodel:WCO:DEC-DMS:2'><FunctionCode>9</FunctionCode></Declaration>"
BAD = GOOD.replace(b">9<", b">7<")
ODD = GOOD.replace(b"</FunctionCode>", b"</FunctionCode><InvoiceAmount currencyID='QQQ'>1</InvoiceAmount>")
LAUGHS = b"<!DOCTYPE a [<!ENTITY a 'ha'>%s]><a>&b9;</a>" % b"".join(
    b"<!ENTITY b%d '%s'>" % (n, b"&a;" * 10 if n == 0 else b"&b%d;" % (n - 1) * 10) for n in range(10)
)

HOSTILE = {
    "empty": b"",
    "blank": b" \n",
    "text": b"no markup",
    "binary": bytes(range(256)) * 40,
    "cut": GOOD[:-5],
    "twice": GOOD + GOOD,
    "utf-16": GOOD.decode().encode("utf-16"),
    "utf-16 without mark": GOOD.decode().encode("utf-16-le"),
    "latin-1 said": b"<?xml version='1.0' encoding='ISO-8859-1'?>" + GOOD,
    "ascii said": b"<?xml version='1.0' encoding='ASCII'?>" + GOOD.replace(b">9<", ">9\u00e9<".encode()),
    "not utf-8": GOOD.replace(b">9<", b">\xff<"),
    "document type": b"<!DOCTYPE Declaration SYSTEM 'file:///etc/passwd'>" + GOOD,
    "external entity": b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    "laughs": LAUGHS,
    "deep": b"<a>" * 100_000 + b"</a>" * 100_000,
    "wide": b"<a " + b" ".join(b"a%d=''" % n for n in range(100_000)) + b"/>",
    "null": GOOD.replace(b">9<", b">9\x00<"),
    "long name": b"<" + b"a" * 1_000_000 + b"/>",
    "foreign": b"<html/>",
}


def check(capsys: pytest.CaptureFixture[str], *files: Path | str) -> tuple[int, list[dict[str, object]]]:
    status = main(["declaration", "check", *(str(file) for file in files), "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    return status, [json.loads(line) for line in captured.out.splitlines()]


@pytest.fixture
def write(tmp_path: Path):
    def written(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return written


def test_each_file_has_one_line_in_order(capsys: pytest.CaptureFixture[str], write) -> None:
    files = [write("good.xml", GOOD), write("bad.xml", BAD), write("odd.xml", ODD)]
    status, lines = check(capsys, *files)
    assert status == 1
    assert [(line["file"], line["accepted"]) for line in lines] == [
        (str(files[0]), True),
        (str(files[1]), False),
        (str(files[2]), True),
    ]
    assert [line["rules_kept"] for line in lines] == [True, None, True]
    told = {"accepted": True, "rules_kept": True, "problems": [], "warnings": []}
    assert lines[0] == {"file": str(files[0]), **told}
    problem = lines[1]["problems"][0]
    assert problem.keys() == {"id", "pointer", "xpath", "line", "message"}
    assert (problem["id"], problem["pointer"], problem["line"]) == ("GW402", "42A/017", 1)
    assert problem["xpath"] == "/wco:Declaration/wco:FunctionCode"
    assert [warning["id"] for warning in lines[2]["warnings"]] == ["GW403"]


def test_warnings_leave_the_exit_status_good(capsys: pytest.CaptureFixture[str], write) -> None:
    assert check(capsys, write("good.xml", GOOD), write("odd.xml", ODD))[0] == 0


BROKEN = (
    b"<GoodsShipment><GovernmentAgencyGoodsItem><SequenceNumeric>1</SequenceNumeric><Commodity>"
    b"<Classification><ID>3002904</ID></Classification></Commodity></GovernmentAgencyGoodsItem></GoodsShipment>"
)


def test_broken_rules_are_told_beside_the_verdict_of_the_schema(
    capsys: pytest.CaptureFixture[str], write
) -> None:
    """`accepted` is the schema's verdict alone; the exit status is that of both."""
    file = write("rules.xml", GOOD.replace(b"</Declaration>", BROKEN + b"</Declaration>"))
    status, (line,) = check(capsys, file)
    assert (status, line["accepted"], line["rules_kept"]) == (1, True, False)
    assert [one["id"] for one in line["problems"]] == ["GW404"]
    assert main(["declaration", "check", str(file)]) == 1
    assert "rules.xml: accepted, rules broken\n  GW404 line 1, 42A/67A[1]/68A[1]/" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ASCII", "US-ASCII", "us-ascii", "UTF-8", "utf-8"])
def test_ascii_is_read_as_utf_8(capsys: pytest.CaptureFixture[str], write, name: str) -> None:
    declared = f"<?xml version='1.0' encoding=\"{name}\" standalone='no'?>\n".encode()
    status, (line,) = check(capsys, write("a.xml", declared + BAD.replace(b">7<", b">9<")))
    assert (status, line["accepted"]) == (0, True)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_answered(capsys: pytest.CaptureFixture[str], write, name: str) -> None:
    status, (line,) = check(capsys, write("hostile.xml", HOSTILE[name]))
    assert status == 1
    assert line["accepted"] is False
    expected = {"foreign": "GW402", "deep": "GW102", "wide": "GW102", "long name": "GW102"}.get(name, "GW104")
    (problem,) = line["problems"]
    assert problem["id"] == expected
    assert problem["message"]
    assert len(problem["message"]) < 500
    assert "root:" not in problem["message"]


@pytest.mark.parametrize("name", ["", "missing.xml", "\udcff.xml", "a\x00b", "x" * 5_000])
def test_what_is_no_file_is_misuse(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    good = tmp_path / "good.xml"
    good.write_bytes(GOOD)
    assert main(["declaration", "check", "--json", str(tmp_path / name), str(good)]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["accepted"] is True
    told = json.loads(printed.err)
    assert (told["problem"], told["detail"].count("cannot be read")) == ("GW808", 1)


@pytest.mark.parametrize("words", [["check"], ["check", "--what", "f"], [], ["judge", "f"]])
def test_misuse_ends_with_two(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["declaration", *words]) == 2
    told = capsys.readouterr().err
    assert "Try `gateway declaration" in told or told.startswith("Usage: gateway declaration")


def test_people_read_lines(capsys: pytest.CaptureFixture[str], write) -> None:
    assert main(["declaration", "check", str(write("bad.xml", BAD)), str(write("odd.xml", ODD))]) == 1
    text = capsys.readouterr().out
    assert "bad.xml: refused\n  GW402 line 1, 42A/017: " in text
    assert "odd.xml: accepted\n  warning GW403 line 1, 42A/109/@currencyID: 'QQQ'" in text


@pytest.mark.night
def test_a_narrow_terminal_gets_escapes_and_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "선언.xml"
    file.write_bytes(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "declaration", "check", str(file)],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"\\uc120" in done.stdout
    assert done.stderr == b""


@pytest.mark.vectors
def test_the_outside_samples_by_the_verb(capsys: pytest.CaptureFixture[str], vectors: Path) -> None:
    folder = vectors / "data/hmrc-cds/samples"
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".xml"]
    status, lines = check(capsys, *files)
    assert status == 1
    accepted = [line["file"] for line in lines if line["accepted"]]
    assert (len(lines), len(accepted)) == (519, 197)
    refused = [line for line in lines if not line["accepted"]]
    assert all(line["problems"] and len(line["problems"]) <= 50 for line in refused)
    assert all(problem["pointer"] for line in refused for problem in line["problems"])
