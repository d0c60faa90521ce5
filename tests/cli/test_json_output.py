"""With ``--json`` every verb prints one JSON object or JSON Lines, and its errors as one object."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.added_verbs import list_verbs
from gateway.cli.verb_groups import load_verb
from tests.kit.paths import ROOT

VERBS = list_verbs()

#: The home of the good cases.
HOME = "--home HOME"
SAMPLE = "PLACE/submission.xml"

#: One simple good case of each verb that needs nothing but a home, in this order.
GOOD = {
    "pki demo": "--out HOME/pki --party hub --party broker1",
    "migrate": f"--new {HOME}",
    "check": HOME,
    "party add": f"broker1 --id urn:t|B1 --certificate HOME/pki/broker1.cert.pem {HOME}",
    "party list": HOME,
    "party show": f"broker1 {HOME}",
    "party suspend": f"broker1 {HOME}",
    "party resume": f"broker1 {HOME}",
    "party mandate list": HOME,
    "party certificate list": HOME,
    "agreement list": HOME,
    "case list": HOME,
    "message list": HOME,
    "audit list": HOME,
    "audit show": f"1 {HOME}",
    "error": "GW206",
    "queue list": HOME,
    "queue lanes": HOME,
    "map list": HOME,
    "map build": "--out PLACE/built",
    "conformance list": "",
    "conformance table": "",
    "completion": "bash",
    "pki key": HOME,
    "pki ours": HOME,
    "pki request": "CN=x --key PLACE/x.key.pem --out PLACE/x.csr",
    "pki issue": "PLACE/x.csr --ca HOME/pki --out PLACE/x.cert.pem",
    "pki revoke": "PLACE/x.cert.pem --ca HOME/pki",
    "pki crl": f"HOME/pki/crl.pem {HOME}",
    "pki list list": HOME,
    "pki source list": HOME,
    "pki validate": "--leaf HOME/pki/broker1.cert.pem --anchor HOME/pki/ca.pem --crl HOME/pki/crl.pem",
    "evidence list": HOME,
    "evidence check": HOME,
    "signature make": "PLACE/a.xml --key HOME/pki/broker1.key.pem --certificate HOME/pki/broker1.cert.pem"
    " --out PLACE/signed.xml",
    "signature verify": "PLACE/signed.xml",
    "config show": HOME,
}


def count_lines_verbs() -> set[str]:
    """Return the verbs that print JSON Lines, as the reference of verbs names them."""
    words = tomllib.loads((ROOT / "gateway" / "cli" / "reference_words.toml").read_text(encoding="utf-8"))
    return set(words["json_lines"])


def run(words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    there = words.replace("PLACE", str(place)).replace("HOME", str(place / "home"))
    status = main([*there.split(), "--json"])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def read_lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(one, dict) for one in found)
    return found


def test_every_verb_has_the_option() -> None:
    assert [
        words for words in VERBS if "--json" not in {o for p in load_verb(words).params for o in p.opts}
    ] == []


def test_the_verbs_of_json_lines_exist() -> None:
    assert count_lines_verbs() <= set(VERBS)


@pytest.mark.night
@pytest.mark.parametrize("words", VERBS)
def test_misuse_of_each_verb_is_one_object(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(f"{words} --no-such-option", tmp_path, capsys)
    told = json.loads(err)
    assert (status, out, told["problem"]) == (2, "", "GW808")
    assert told["help"] == f"gateway {words} --help"


@pytest.mark.night
def test_good_cases_print_the_form_that_the_manual_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.xml").write_text("<a/>")
    lines_verbs = count_lines_verbs()
    wrong = []
    for words, rest in GOOD.items():
        status, out, err = run(f"{words} {rest}", tmp_path, capsys)
        assert status in (0, 1), (words, err)
        try:
            if words in lines_verbs:
                read_lines(out)
            else:
                assert isinstance(json.loads(out), dict)
            assert all(one.keys() >= {"problem", "detail"} for one in read_lines(err))
        except (ValueError, AssertionError):
            wrong.append((words, out[:200], err[:200]))
    assert wrong == []


@pytest.mark.night
def test_what_is_not_there_is_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("migrate --new --home PLACE", tmp_path, capsys)[0] == 0
    rows = ("party mandate revoke 9", "party certificate retire 00", "audit show 9", "account show none")
    for words in ("case show SW250000001", "message show 9", "queue show 9", "party show none", *rows):
        status, out, err = run(f"{words} --home PLACE", tmp_path, capsys)
        assert (status, out) == (1, ""), words
        (told,) = read_lines(err)
        assert told.keys() == {"problem", "detail", "location", "help"}, words
        assert told["problem"] == "GW808", words
        assert main([*words.split(), "--home", str(tmp_path)]) == 1
        assert capsys.readouterr().err.splitlines()[-1] == f"gateway: GW808 {told['detail']}"
