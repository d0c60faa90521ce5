"""The hub knows which documents goods need: it warns or refuses, weighs disclaimers, sends the rest on."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.config import NeedSettings, load_settings
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.harmonize import load_bundle
from gateway.hub import ActiveNeeds
from gateway.hub.register.active_rules import (
    ActiveRules,
)
from gateway.hub.register.decision_rules import (
    DecisionRules,
)
from gateway.share import MemoryPath, get_data_folder
from gateway.wire import SUB
from tests.flows.craft import Change, reference, withdrawal, without_applications
from tests.flows.test_withdrawals import cancelling
from tests.kit.databases import BOTH
from tests.kit.house import bundle, status_codes
from tests.kit.story import Story


def without_application(document: str) -> Change:
    """Leave one application out."""

    def change(root: etree._Element) -> None:
        for one in root.findall(f"{{{SUB}}}Application"):
            if one.get("document") == document:
                root.remove(one)

    return change


def with_disclaimer(item: str, law: str, reason: str, words: str = "") -> Change:
    """Disclaim a law for an item."""

    def change(root: etree._Element) -> None:
        element = etree.SubElement(root, f"{{{SUB}}}Disclaimer", item=item, law=law, reason=reason)
        element.text = words or None

    return change


def submit(
    engine: Engine, *changes: Change, policy: NeedSettings | None = None, attach: bool = True
) -> Story:
    """Return the story of the sample with these changes, admitted."""
    story = Story(engine)
    if policy is not None:
        story.hub.need_policy = policy

    def change(root: etree._Element) -> None:
        for one in changes:
            one(root)

    story.submit(story.submission(change), attach=attach)
    story.tick()
    return story


def called(story: Story) -> set[str]:
    return {call.destination for call in story.soap.calls} - {"customs"}


def told(story: Story) -> list[tuple[str, str]]:
    return [(one["id"], one["pointer"]) for one in (story.case().detail or {}).get("warnings", ())]


def attachments(story: Story, agency: str) -> dict[str, str]:
    """Return what an agency was sent beside its document."""
    body = next(call.body for call in story.soap.calls if call.destination == agency)
    return {
        one.get("cid", ""): base64.b64decode(one.text or "").decode("latin-1")
        for one in body.iterfind("{*}Attachment")
    }


@BOTH
def test_a_missing_document_is_warned_of_and_the_others_are_asked(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = submit(engine, without_application("NPQS-PLA-IMP"))
    assert called(story) == {"KPTA", "KFDA"}
    assert told(story) == [("GW508", "42A/67A[1]/68A[3]")]
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", story.case().number, "--home", str(tmp_path)]) == 0
    words = "warning GW508 item 3 (0601101000) needs NPQS-PLA-IMP under law 12 (Plant Protection Act"
    assert words in capsys.readouterr().out


@pytest.mark.long
def test_a_withdrawn_declaration_needs_no_document(engine: Engine) -> None:
    """Its Result names none that was missing; the case keeps what it was warned of."""
    story = submit(engine, without_application("KPTA-PHARM-IMP"))
    cancelling(story, KFDA="G03", NPQS="G03")
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert (story.outcome()[0], story.result().findall("{*}Warning")) == ("WITHDRAWN", [])
    assert told(story) == [("GW508", "42A/67A[1]/68A[1]")]


def test_what_the_goods_need_and_no_more_gives_no_warning(engine: Engine) -> None:
    story = submit(engine, reference("GOOD-1"))
    assert story.case().detail["need_tables"] == ["kr-customs-confirmation@2016-02"]
    assert told(story) == []


def test_by_policy_it_is_refused_with_the_list_and_nobody_is_asked(engine: Engine) -> None:
    story = submit(
        engine,
        without_application("NPQS-PLA-IMP"),
        without_application("KPTA-PHARM-IMP"),
        policy=NeedSettings(imports="refuse"),
    )
    assert story.problems() == [("GW508", "42A/67A[1]/68A[1]"), ("GW508", "42A/67A[1]/68A[3]")]
    assert story.soap.calls == []
    problem = story.result().findall("{*}Problem")[1]
    assert "needs NPQS-PLA-IMP under law 12" in (problem.text or "")


def test_the_policy_of_exports_does_not_concern_imports(engine: Engine) -> None:
    story = submit(engine, without_application("NPQS-PLA-IMP"), policy=NeedSettings(exports="refuse"))
    assert called(story) == {"KPTA", "KFDA"}


def test_without_test_editions_nothing_is_known(engine: Engine) -> None:
    policy = NeedSettings(imports="refuse", test_edition=False)
    story = submit(engine, without_application("NPQS-PLA-IMP"), policy=policy)
    assert called(story) == {"KPTA", "KFDA"}
    assert "need_tables" not in story.case().detail


def test_a_declaration_alone_is_told_which_documents_it_lacks(engine: Engine) -> None:
    story = submit(engine, without_applications, attach=False)
    assert story.outcome() == ("APPROVED", {})
    assert [problem for problem, _ in told(story)] == ["GW508"] * 3


def test_an_application_that_nothing_asks_for_is_sent_on_with_a_warning(engine: Engine) -> None:
    def other_goods(root: etree._Element) -> None:
        next(one for one in root.iter("{*}ID") if one.text == "30041010").text = "84388000"

    story = submit(engine, other_goods, policy=NeedSettings(imports="refuse"))
    assert called(story) == {"KPTA", "KFDA", "NPQS"}
    assert ("GW511", "APP[1]") in told(story)


def test_a_disclaimer_answers_the_need_and_the_agency_concerned_is_told(engine: Engine) -> None:
    story = submit(
        engine,
        with_disclaimer("1", "12", "Z", "no plant & no soil"),
        with_disclaimer("2", "01", "A"),
        policy=NeedSettings(imports="refuse"),
    )
    assert [one["verdict"] for one in story.case().detail["disclaimers"]] == ["not needed", "not needed"]
    number = story.case().number
    (plants,) = (text for cid, text in attachments(story, "NPQS").items() if cid.startswith("disclaimers"))
    assert f"disclaimers@{number}" in attachments(story, "NPQS")
    assert '<Disclaimer item="1" law="12" reason="Z">no plant &amp; no soil</Disclaimer>' in plants
    assert 'law="01"' not in plants
    assert 'law="01" reason="A"' in attachments(story, "KPTA")[f"disclaimers@{number}"]
    assert not [cid for cid in attachments(story, "KFDA") if cid.startswith("disclaimers")]


def test_a_disclaimed_need_is_not_missing(engine: Engine) -> None:
    policy = NeedSettings(imports="refuse")
    changes = without_application("NPQS-PLA-IMP"), with_disclaimer("3", "12", "B")
    story = submit(engine, *changes, policy=policy)
    assert called(story) == {"KPTA", "KFDA"}
    assert told(story) == []
    (weighed,) = story.case().detail["disclaimers"]
    assert weighed == {
        "item": 3,
        "law": "12",
        "reason": "B",
        "text": "",
        "verdict": "accepted",
        "organisations": ["NPQS"],
    }


def forbid(story: Story, law: str) -> None:
    """Let the law accept no disclaimer, in the mappings of the hub."""
    place = get_data_folder("mappings").joinpath("needs")
    laws = place.joinpath("laws.csv").read_text("utf-8")
    lines = [f"{line}forbidden" if line.startswith(f"{law},") else line for line in laws.splitlines()]
    files: dict[str, Any] = {
        "needs/laws.csv": "\n".join(lines).encode(),
        "needs/choices.csv": place.joinpath("choices.csv").read_bytes(),
    }
    rules = DecisionRules(bundle(), status_codes(), ActiveNeeds(MemoryPath(files), bundle()))
    story.hub.register._active_rules = ActiveRules(rules)


def test_a_disclaimer_that_the_law_forbids_is_refused_whatever_the_policy(engine: Engine) -> None:
    story = Story(engine)
    forbid(story, "12")
    change = with_disclaimer("3", "12", "B")
    story.submit(story.submission(change))
    story.tick()
    assert story.problems() == [("GW509", "42A/67A[1]/68A[3]")]
    assert story.soap.calls == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("disclaimer", "problem", "place"),
    [
        (("9", "12", "B"), "GW505", "/Submission/Disclaimer[1]/@item"),
        (("3", "12", "Z"), "GW404", "/Submission/Disclaimer[1]"),
        (("3", "99", "A"), "GW403", "42A/67A[1]/68A[3]"),
    ],
)
def test_a_disclaimer_that_says_nothing_sound_is_refused(
    engine: Engine, disclaimer: tuple[str, str, str], problem: str, place: str
) -> None:
    assert submit(engine, with_disclaimer(*disclaimer)).problems() == [(problem, place)]


@pytest.mark.long
def test_the_same_law_is_disclaimed_once_for_an_item(engine: Engine) -> None:
    again = with_disclaimer("3", "12", "A")
    story = submit(engine, again, again)
    assert story.problems() == [("GW505", "/Submission/Disclaimer[2]")]


def test_a_submission_is_inspected_by_the_same_rules(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(engine)
    root = story.submission(without_application("NPQS-PLA-IMP"))
    file = tmp_path / "submission.xml"
    file.write_bytes(etree.tostring(root))
    capsys.readouterr()
    main(["submission", "check", str(file)])
    assert "warning GW508" in capsys.readouterr().out


@pytest.mark.parametrize("time", ["30s", "400d", "soon"])
def test_a_case_is_held_for_a_time_that_people_can_use(tmp_path: Path, time: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[needs]\nimports = "hold"\nhold_time = "{time}"\n')
    with pytest.raises(GatewayError) as caught:
        load_settings(file)
    assert caught.value.problem is SETTINGS_WRONG
    assert caught.value.location.endswith("hold_time") or "hold_time" in str(caught.value)


@pytest.mark.long
def test_the_law_book_is_part_of_what_a_folder_of_mappings_is_known_by() -> None:
    """A folder that forbids a disclaimer is another one than that in force."""
    place = get_data_folder("mappings")
    files = {
        "needs/laws.csv": place.joinpath("needs", "laws.csv").read_bytes(),
        "needs/choices.csv": place.joinpath("needs", "choices.csv").read_bytes(),
    }
    for name in ("codelists.yaml", "common.yaml", "organisations.yaml"):
        files[name] = place.joinpath(name).read_bytes()
    for entry in place.joinpath("codelists").iterdir():
        if entry.name.endswith(".csv"):
            files[f"codelists/{entry.name}"] = entry.read_bytes()
    before = load_bundle(MemoryPath(files)).digest
    files["needs/laws.csv"] = files["needs/laws.csv"].replace(
        b"Plant Protection Act,", b"Plant Protection Act,A"
    )
    assert load_bundle(MemoryPath(files)).digest != before
