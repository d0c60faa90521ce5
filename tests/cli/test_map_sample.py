"""``gateway map sample``: what it draws obeys the code tables, and can be sent to a hub."""

from __future__ import annotations

import json
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.client import read_membership, sign_submission
from gateway.harmonize import (
    SampleFiling,
    find_broken_rules,
    load_bundle,
    make_sample,
    make_sendable_sample,
)
from gateway.message_model import PartyId, Payload
from gateway.share import get_data_folder
from gateway.store import cases, parties, read_transaction, write_transaction
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import sign_document
from tests.cli.test_submission import home, keys  # noqa: F401
from tests.kit.databases import BOTH
from tests.kit.documents import each_document
from tests.kit.house import signer_named
from tests.kit.story import Story

BUNDLE = load_bundle(get_data_folder("mappings"))


def write_sample(document: str, out: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Let the verb write a sample; return the words of the command that it says to send it by."""
    capsys.readouterr()
    assert main(["map", "sample", document, "--declarant", "6N001", "--out", str(out), *words]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Wrote the submission ")
    assert told[1].startswith("Send it: gateway submit ")
    assert told[1].endswith(" --as PARTY --partner DIR --to URL")
    assert told[2].startswith("Fill in: PARTY is ")
    return shlex.split(told[1].removeprefix("Send it: gateway submit "))


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
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
    # Random goods: no law may ask for the document (GW510, GW511), nor is their licence known (GW413).
    assert (status, told["problems"]) == (0, [])
    assert {one["id"] for one in told["warnings"]} <= {"GW413", "GW510", "GW511"}
    assert told["signer"] == "broker"


def send_sample(story: Story, document: str, filing: SampleFiling, declarant: str) -> cases.Case:
    """Let the broker sign and send a sample of a document; return its case."""
    made = make_sendable_sample(BUNDLE, BUNDLE.documents[document], "7", 2, filing)
    root = sign_document(parse_xml(made.xml), signer_named("broker1"), now=story.clock())
    files = tuple(Payload(one.content_id, "application/pdf", one.content) for one in made.attachments)
    unit = story.broker.message("Submit", serialize_element(root))
    unit = story.broker.message("Submit", serialize_element(root), payloads=(unit.payloads[0], *files))
    assert story.house.post(story.broker.seal(unit)).status in (200, 204)
    story.tick()
    with read_transaction(story.house.engine) as conn:
        case = cases.find_by_reference(conn, declarant, filing.reference)
    assert case is not None
    assert case.state != "REFUSED", case.detail
    return case


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("document", ["KFDA-FOOD-IMP", "NPQS-PLA-IMP"])
def test_a_sample_that_is_sent_opens_a_case_with_its_request(engine: Engine, document: str) -> None:
    story = Story(engine)
    case = send_sample(story, document, SampleFiling("6N001", "SAMPLE-1", story.clock()), "broker1")
    # The random goods of a sample are not always those for which a law asks the document (GW511).
    assert {one["id"] for one in case.detail.get("warnings", ())} <= {"GW510", "GW511"}
    (call,) = [one for one in story.soap.calls if one.destination == BUNDLE.documents[document].organisation]
    assert call.destination in document


def test_a_broker_that_files_for_an_importer_is_the_agent_of_its_sample(engine: Engine) -> None:
    story = Story(engine)
    importer = PartyId("1248612345", "urn:example:business-number")
    with write_transaction(engine) as conn:
        parties.register_party(conn, "importer1", "An importer", "trader", story.clock(), (importer,))
    story.mandate("broker1", "importer1")
    filing = SampleFiling("1248612345", "SAMPLE-2", story.clock(), "6N001")
    send_sample(story, "KFDA-FOOD-IMP", filing, "importer1")


def test_the_agent_of_a_sample_is_the_one_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_sample("KFDA-FOOD-IMP", tmp_path / "sample", capsys, "--agent", "7B002")
    root = parse_xml(Path(words[0]).read_bytes())
    assert root.findtext(".//{*}Declaration/{*}Agent/{*}ID") == "7B002"
    assert root.findtext(".//{*}Declaration/{*}Declarant/{*}ID") == "6N001"


def test_the_agent_of_a_sample_without_agent_is_its_declarant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(write_sample("KFDA-FOOD-IMP", tmp_path / "sample", capsys)[0])
    (agent,) = parse_xml(file.read_bytes()).iterfind(".//{*}Declaration/{*}Agent/{*}ID")
    assert agent.text == "6N001"


@pytest.mark.parametrize(
    "words",
    [
        ["--declarant", "X"],
        ["--out", "d"],
        ["--agent", "X"],
        ["--declarant", "X", "--out", "d", "--reference", "R" * 36],
    ],
)
def test_misuse_is_told(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["map", "sample", "KFDA-FOOD-IMP", *words]) == 2
    assert not (tmp_path / "d").exists()


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_the_codes_of_every_sample_are_in_the_tables(document: str) -> None:
    for seed in range(4):
        root = etree.fromstring(make_sample(BUNDLE, BUNDLE.documents[document], str(seed), 2))
        assert find_broken_rules(root, BUNDLE) == ()
        for item in root.iter("{*}Classification"):
            assert item.findtext("{*}ID", "").isdigit()


@pytest.mark.night
def test_a_sample_that_can_be_sent_obeys_a_check_against_its_own_date(tmp_path: Path) -> None:
    """Its date is the day on which it is made: the other date of the comparison gives way."""
    folder = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), folder)
    file = folder / "agencies" / "KFDA" / "KFDA-HFF-IMP.yaml"
    check = "{id: fresh, per: item, ko: 규칙, en: Rule, compare: {left: expiry_date, at_least: issued_at}}"
    words = file.read_text(encoding="utf-8")
    file.write_text(words.replace("\nreads:\n", f"\nchecks:\n  - {check}\nreads:\n"), encoding="utf-8")
    bundle = load_bundle(folder)
    document = bundle.documents["KFDA-HFF-IMP"]
    assert "fresh" in [one.id for one in document.checks]
    filing = SampleFiling("6N001", "R-1", datetime(2099, 3, 4, 5, tzinfo=UTC))
    made = parse_xml(make_sendable_sample(bundle, document, "5", 2, filing).xml)
    dates = [one.text for one in made.iter("{*}ExpiryDate")]
    assert len(dates) == 2
    assert all(day is not None and day >= "2099-03-04" for day in dates)
    assert made.findtext("{*}Declaration/{*}IssueDateTime/{*}DateTimeString") == "20990304050000Z"
