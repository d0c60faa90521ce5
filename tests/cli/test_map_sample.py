"""``gateway map sample``: what it draws obeys the code tables, and can be sent to a hub."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.conformance.partners.broker_client import sign_submission
from gateway.conformance.partners.partner_identity import read_membership
from gateway.harmonize import (
    SampleFiling,
    find_broken_rules,
    load_bundle,
    make_sample,
    make_sendable_sample,
)
from gateway.message_model import Payload
from gateway.share import get_data_folder
from gateway.store import cases
from gateway.store.engine import read_transaction
from gateway.wire.xml import parse_xml, serialize_element
from gateway.xmlsec.xades import sign_document
from tests.cli.test_submission import home, keys  # noqa: F401
from tests.kit.house import signer_named
from tests.kit.story import Story

BUNDLE = load_bundle(get_data_folder("mappings"))
DOCUMENTS = sorted(BUNDLE.documents)


def write_sample(document: str, out: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Let the verb write a sample; return the words of the command that it says to send it by."""
    capsys.readouterr()
    assert main(["map", "sample", document, "--declarant", "6N001", "--out", str(out), *words]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Wrote the submission ")
    assert told[1].startswith("Send it: gateway submit ")
    return shlex.split(told[1].removeprefix("Send it: gateway submit "))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_sample_has_no_problem_in_a_home_that_knows_its_declarant(
    document: str,
    home: Path,  # noqa: F811
    keys: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = write_sample(document, tmp_path / "sample", capsys, "--items", "2", "--seed", "5")
    file = Path(words[0])
    file.write_bytes(serialize_element(sign_submission(file.read_bytes(), read_membership(keys, "broker"))))
    attach = words[1 : words.index("--as")]
    status = main(["submission", "check", str(file), *attach, "--home", str(home), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (status, told["problems"], told["warnings"]) == (0, [], [])
    assert told["signer"] == "broker"


@pytest.mark.parametrize("document", ["KFDA-FOOD-IMP", "NPQS-PLA-IMP"])
def test_a_sample_that_is_sent_opens_a_case_with_its_request(engine: Engine, document: str) -> None:
    story = Story(engine)
    filing = SampleFiling("6N001", "SAMPLE-1", story.clock())
    made = make_sendable_sample(BUNDLE, BUNDLE.documents[document], ("7", 2), filing)
    root = sign_document(parse_xml(made.xml), signer_named("broker1"), now=story.clock())
    files = tuple(Payload(one.content_id, "application/pdf", one.content) for one in made.attachments)
    unit = story.broker.message("Submit", serialize_element(root))
    unit = story.broker.message("Submit", serialize_element(root), payloads=(unit.payloads[0], *files))
    assert story.house.post(story.broker.seal(unit)).status in (200, 204)
    story.tick()
    with read_transaction(engine) as conn:
        case = cases.find_by_reference(conn, "broker1", "SAMPLE-1")
    assert case is not None
    assert case.state != "REFUSED", case.detail
    assert "warnings" not in case.detail
    (call,) = [one for one in story.soap.calls if one.destination == BUNDLE.documents[document].organisation]
    assert call.destination in document


@pytest.mark.parametrize(
    "words",
    [["--declarant", "X"], ["--out", "d"], ["--declarant", "X", "--out", "d", "--reference", "R" * 36]],
)
def test_misuse_is_told(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["map", "sample", "KFDA-FOOD-IMP", *words]) == 2
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_codes_of_every_sample_are_in_the_tables(document: str) -> None:
    for seed in range(4):
        root = etree.fromstring(make_sample(BUNDLE, BUNDLE.documents[document], str(seed), 2))
        assert find_broken_rules(root, BUNDLE) == ()
        for item in root.iter("{*}Classification"):
            assert item.findtext("{*}ID", "").isdigit()
