"""``gateway submission check`` judges a whole submission as the hub does, before it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.client import read_membership, sign_submission
from gateway.wire import serialize_element
from tests.kit.paths import ROOT

SAMPLE = ROOT / "conformance/samples/import-three-items.xml"
LABEL = f"korean-label@sample={ROOT / 'conformance/samples/korean-label.pdf'}"

Check = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the keys of the sandbox, with an agreement."""
    folder = tmp_path_factory.mktemp("keys")
    assert main(["pki", "demo", "--out", str(folder)]) == 0
    (folder / "agreement.yaml").write_bytes((ROOT / "conformance/agreements/example.yaml").read_bytes())
    return folder


@pytest.fixture
def check(tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return what the verb says of the sample with some texts replaced, signed by a party if wished."""

    def run(*words: str, changes: dict[str, str] | None = None, by: str | None = "broker") -> dict[str, Any]:
        text = SAMPLE.read_text("utf-8")
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new, 1)
        file = tmp_path / "submission.xml"
        content = text.encode()
        if by is not None:
            content = serialize_element(sign_submission(content, read_membership(keys, by)))
        file.write_bytes(content)
        capsys.readouterr()
        status = main(["submission", "check", str(file), *words, "--json"])
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (0 if told["accepted"] else 1)
        return told

    return run


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str, keys: Path) -> Path:
    """Return the home of a hub that knows the broker."""
    place = tmp_path / "home"
    place.mkdir()
    (place / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{sqlite_url}"\n')
    (place / "pki").symlink_to(keys)
    assert main(["migrate", "--new", "--home", str(place)]) == 0
    party = ["party", "add", "broker", "--id", "urn:x|6N001"]
    assert main([*party, "--certificate", str(keys / "broker.cert.pem"), "--home", str(place)]) == 0
    return place


def places(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["id"], one["pointer"]) for one in told["problems"]]


def test_a_good_submission_has_no_problem(check: Check, home: Path, keys: Path) -> None:
    told = check("--attach", LABEL, "--home", str(home))
    assert (told["accepted"], told["signer"], told["not_checked"]) == (True, "broker", [])
    assert told["reference"] == "HB2026-000123"
    alone = check("--attach", LABEL, "--trust", str(keys / "ca.pem"))
    assert alone["accepted"] is True
    assert len(alone["not_checked"]) == 2


def test_every_step_tells_its_problems_at_once(check: Check, home: Path) -> None:
    changes = {"<Name>한빛관세법인</Name>": "", 'document="NPQS-PLA-IMP"': 'document="MOON"'}
    told = check("--home", str(home), "--sender", "stranger", changes=changes)
    found = places(told)
    assert found[:2] == [("GW405", "Declarant/ID"), ("GW408", "cid:korean-label@sample")]
    assert ("GW503", "42A/57B[1]/R124") in found
    assert ("GW501", "APP[3]") in found
    assert all(one["line"] > 0 for one in told["problems"] if one["id"] in ("GW503", "GW501"))


def test_a_changed_document_and_a_strange_signer_are_refused(check: Check, home: Path, keys: Path) -> None:
    assert places(check("--attach", LABEL, "--home", str(home), by="customs"))[0][0] == "GW205"
    assert places(check("--attach", LABEL, by=None)) == [("GW201", "/sub:Submission")]
    signed = check("--attach", LABEL, "--as", "broker", "--partner", str(keys), by=None)
    assert signed["accepted"] is True
    ended = check("--attach", LABEL, "--trust", str(keys / "ca.pem"), by="expired")
    assert places(ended) == [("GW206", "/Submission/ds:Signature")]


def test_the_schema_and_the_signature_are_told_together(check: Check) -> None:
    told = check(changes={"<Application ": "<Application colour='red' "}, by=None)
    assert [one["id"] for one in told["problems"]] == ["GW402", "GW201"]
    assert told["problems"][0]["line"] > 0
    assert "content, attachments and mappings: the schema comes first" in told["not_checked"]


def test_a_wrong_namespace_inside_is_told_as_that(check: Check) -> None:
    """The elements around a declaration accept any of its namespace: the words name both namespaces."""
    right, wrong = (f"urn:wco:datamodel:WCO:DEC-DMS:{number}" for number in (2, 3))
    told = check(changes={f'xmlns="{right}"': f'xmlns="{wrong}"'}, by=None)["problems"]
    assert [one["message"] for one in told if one["id"] == "GW402"] == [
        f"the namespace of Declaration is '{wrong}'; expected is '{right}'"
    ]


def test_a_supplement_needs_an_open_case(check: Check, home: Path) -> None:
    changes = {"<Function>9<": "<Function>35<"}
    told = check("--attach", LABEL, "--home", str(home), changes=changes)
    assert places(told) == [("GW407", "/Submission/Reference")]


def test_what_was_not_checked_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submission", "check", str(SAMPLE)]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("the hub would refuse it: 2 problems")
    assert "not checked: who may file" in out


@pytest.mark.parametrize("name", ["README.md", "conformance/samples/korean-label.pdf", "no-such-file"])
def test_a_file_that_is_no_submission(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submission", "check", str(ROOT / name)]) in (1, 2)
    captured = capsys.readouterr()
    assert "GW" in captured.out + captured.err


def test_a_home_and_an_authority_are_not_mixed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submission", "check", str(SAMPLE), "--home", str(home), "--trust", "ca.pem"]) == 2
    assert "--trust" in capsys.readouterr().err


def test_declaration_check_names_the_verb_for_a_submission(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["declaration", "check", str(SAMPLE)]) == 1
    assert "this is a submission, not a declaration: `gateway submission check" in capsys.readouterr().out
