"""New mappings tell which stored cases they would have changed, and how, in the language of fields."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lxml import etree
from sqlalchemy import select, update

from gateway.cli import main
from gateway.harmonize import SubmissionChange, compare_submission, load_bundle
from gateway.hub import pack_mapping_folder
from gateway.operations import ImpactTotals, find_mapping_impact
from gateway.share import get_data_folder
from gateway.store import InsufficientStorageError, mapping_bundles, read_transaction, write_transaction
from tests.flows.craft import all_of, reference, text, without
from tests.kit import tables
from tests.kit.databases import Templates, _make_engine
from tests.kit.story import Story

PHARM = Path("agencies") / "KPTA" / "KPTA-PHARM-IMP.yaml"
OFFICES = Path("codelists") / "mfds-office.csv"
PLANTS = Path("agencies") / "NPQS" / "NPQS-PLA-IMP.yaml"


@pytest.fixture(scope="module")
def story(templates: Templates) -> Iterator[Story]:
    """Give a hub with three cases: approved of, refused for a field, refused for its function."""
    url = templates.fresh("sqlite")
    engine = _make_engine(url)
    made = Story(engine)
    made.submit(made.submission(reference("FIRST-1")))
    made.submit(made.submission(all_of(reference("SECOND-1"), without(".//CompetentOffice"))))
    made.submit(made.submission(all_of(reference("THIRD-1"), text("Function", "7"))))
    made.tick()
    made.clock.forward(seconds=1)
    yield made
    engine.dispose()
    templates.drop(url)


@pytest.fixture
def home(story: Story, tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    url = story.house.engine.url.render_as_string(hide_password=False)
    (place / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    return place


@pytest.fixture
def mappings(tmp_path: Path) -> Path:
    copy = tmp_path / "new"
    shutil.copytree(str(get_data_folder("mappings")), copy)
    return copy


@pytest.fixture
def ask(story: Story, home: Path, mappings: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the verb; return the cases that it tells, and the totals."""

    def run(*words: str, status: int = 1, new: str = "") -> tuple[list[Any], Any]:
        until = story.clock().isoformat().replace("+00:00", "Z")
        capsys.readouterr()
        given = ("map", "impact", new or str(mappings), "--until", until, *words)
        assert main([*given, "--home", str(home), "--json"]) == status
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return lines[:-1], lines[-1]

    return run


def change(file: Path, old: str, new: str) -> None:
    words = file.read_text("utf-8")
    assert words.count(old) == 1, old
    file.write_text(words.replace(old, new), "utf-8")


@pytest.mark.long
def test_the_same_mappings_change_nothing(ask: Callable[..., Any]) -> None:
    for new in ("", "shipped"):
        told, totals = ask(status=0, new=new)
        assert told == []
        assert (totals["asked"], totals["changed"], totals["unchanged"], totals["not_split"]) == (2, 0, 2, 1)


@pytest.mark.long
def test_a_new_mandatory_field_is_a_new_problem(
    ask: Callable[..., Any], mappings: Path, home: Path, story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    change(
        mappings / PHARM,
        "date: {type: date, req: O, means: production.date",
        "date: {type: date, req: M, means: production.date",
    )
    told, totals = ask()
    assert [one["reference"] for one in told] == ["SECOND-1", "FIRST-1"]
    first = told[1]
    assert first["verdict"] == {"before": "admitted", "after": "refused"}
    (problem,) = first["problems"]
    assert (problem["change"], problem["id"], problem["warning"]) == ("added", "GW503", False)
    assert problem["pointer"] == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/Production[2]/Date"
    assert [(one["change"], one["document"]) for one in first["requests"]] == [("removed", "KPTA-PHARM-IMP")]
    assert first["agencies"] == {"added": [], "dropped": []}
    assert told[0]["verdict"] == {"before": "refused", "after": "refused"}
    assert (totals["newly_refused"], totals["problems"]) == (1, {"added": {"GW503": 2}, "removed": {}})
    until = story.clock().isoformat().replace("+00:00", "Z")
    assert main(["map", "impact", str(mappings), "--until", until, "--home", str(home)]) == 1
    words = capsys.readouterr().out
    assert "FIRST-1 (broker1, " in words
    assert "): admitted -> refused\n  + GW503 " in words
    assert "  - KPTA-PHARM-IMP has no request any more (application A1)" in words
    assert "problem GW503 is new in 2 cases" in words
    assert "changes 2 of 2 cases; 1 would be refused, 0 admitted. 1 case had ended before" in words


@pytest.mark.long
def test_a_field_that_is_no_longer_asked_lets_a_refused_case_through(
    ask: Callable[..., Any], mappings: Path
) -> None:
    change(
        mappings / PHARM,
        "competent_office: {type: code, list: mfdsOffice, req: M",
        "competent_office: {type: code, list: mfdsOffice, req: O",
    )
    told, totals = ask()
    assert [one["reference"] for one in told] == ["SECOND-1"]
    assert told[0]["verdict"] == {"before": "refused", "after": "admitted"}
    assert [(one["change"], one["id"]) for one in told[0]["problems"]] == [("removed", "GW503")]
    assert [(one["change"], one["document"]) for one in told[0]["requests"]] == [("added", "KPTA-PHARM-IMP")]
    assert totals["newly_admitted"] == 1


@pytest.mark.long
def test_a_document_that_is_gone_drops_its_agency(ask: Callable[..., Any], mappings: Path) -> None:
    (mappings / PLANTS).unlink()
    rows = (mappings / "reconciled.csv").read_text("utf-8").splitlines(keepends=True)
    kept = [row for row in rows if ",NPQS-PLA-IMP," not in row]
    (mappings / "reconciled.csv").write_text("".join(kept), "utf-8")
    told, totals = ask()
    assert {tuple(one["agencies"]["dropped"]) for one in told} == {("NPQS",)}
    assert [(one["id"], one["pointer"]) for one in told[1]["problems"]] == [("GW501", "APP[3]")]
    assert [(one["change"], one["document"]) for one in told[1]["requests"]] == [("removed", "NPQS-PLA-IMP")]
    assert totals["agencies"] == {"added": {}, "dropped": {"NPQS": 2}}


@pytest.mark.long
def test_a_code_that_is_told_in_other_words_changes_a_field(ask: Callable[..., Any], mappings: Path) -> None:
    change(mappings / OFFICES, "003,서울지방식품의약품안전청,", "003,서울식약청,")
    told, totals = ask()
    (one,) = told
    assert (one["verdict"], one["problems"]) == ({"before": "admitted", "after": "admitted"}, [])
    (request,) = one["requests"]
    (value,) = request["values"]
    assert (request["change"], request["document"]) == ("changed", "KPTA-PHARM-IMP")
    assert value == {
        "path": "Declaration/Control/Certifier/Name",
        "field": "ask:competent_office",
        "ko": "식약처 관할지방",
        "en": "Competent office",
        "before": "서울지방식품의약품안전청",
        "after": "서울식약청",
        "sentence": "sends Competent office (Declaration/Control/Certifier/Name) in another way: "
        "서울지방식품의약품안전청 becomes 서울식약청",
    }
    assert totals["requests"] == {"added": 0, "removed": 0, "changed": 1}
    assert [(one["path"], one["requests"]) for one in totals["fields"]] == [
        ("Declaration/Control/Certifier/Name", 1)
    ]


@pytest.mark.long
def test_values_that_are_new_gone_or_elsewhere(ask: Callable[..., Any], mappings: Path) -> None:
    file = mappings / PHARM
    change(file, "  - FunctionCode: {hub: function}\n", "  - Remarks: {const: X}\n")
    told, _ = ask()
    values = [(one["path"], one["before"], one["after"]) for one in told[0]["requests"][0]["values"]]
    assert values == [("Declaration/Remarks", None, "X"), ("Declaration/FunctionCode", "9", None)]


def test_the_newest_cases_are_asked_first_and_periods_end(ask: Callable[..., Any], story: Story) -> None:
    assert ask("--limit", "1", status=0)[1]["not_split"] == 1
    totals = ask("--limit", "2", status=0)[1]
    assert (totals["asked"], totals["not_split"]) == (1, 1)
    assert ask("--all", status=0)[1]["asked"] == 2
    early = ("--since", "2020-01-01T00:00:00Z")
    assert ask(*early, status=0)[1]["since"] == "2020-01-01T00:00:00+00:00"


@pytest.mark.long
def test_days_are_those_of_the_hub(
    story: Story, home: Path, mappings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case is opened on another day there than in UTC, and a time without a zone is one of there."""
    with read_transaction(story.house.engine) as conn:
        opened = conn.execute(select(tables.cases.c.opened_at).order_by(tables.cases.c.id)).scalars().first()
    assert opened is not None
    zone = "Pacific/Kiritimati" if opened.hour >= 12 else "Etc/GMT+12"
    settings = home / "gateway.toml"
    settings.write_text(f'{settings.read_text()}[hub]\ntime_zone = "{zone}"\n')
    there = opened.astimezone(ZoneInfo(zone))
    assert there.date() != opened.date()
    change(mappings / PHARM, "  - FunctionCode: {hub: function}\n", "")
    local = there.replace(tzinfo=None)
    for since, until, asked in ((0, 60, 1), (-60, 0, 0)):
        period = [str((local + timedelta(seconds=one)).isoformat()) for one in (since, until)]
        given = (
            "map",
            "impact",
            str(mappings),
            "--home",
            str(home),
            "--since",
            period[0],
            "--until",
            period[1],
        )
        assert main(given) == asked
        out = capsys.readouterr().out
        assert (f", {there.date().isoformat()})" in out) == bool(asked), out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere",), "there is no folder or file nowhere"),
        (("shipped", "--all", "--since", "2020-01-01T00:00:00Z"), "not both"),
        (
            ("shipped", "--since", "2100-01-01T00:00:00Z"),
            "the period is empty: it begins at 2100-01-01T09:00:00",
        ),
        (("shipped", "--limit", "0"), "0 is not between 1 and"),
    ],
)
def test_misuse_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert main(["map", "impact", *words, "--home", str(home)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.long
def test_a_file_that_is_no_bundle_and_a_broken_folder_are_refused(
    home: Path, tmp_path: Path, mappings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.xml").write_text("<MappingBundle")
    assert main(["map", "impact", str(tmp_path / "bad.xml"), "--home", str(home)]) == 1
    assert "GW515" in capsys.readouterr().err
    change(mappings / PHARM, "document: KPTA-PHARM-IMP", "document: [")
    assert main(["map", "impact", str(mappings), "--home", str(home)]) == 1
    assert "GW502" in capsys.readouterr().err


@pytest.mark.long
def test_a_packed_file_is_asked_as_its_folder(
    ask: Callable[..., Any], mappings: Path, tmp_path: Path
) -> None:
    change(mappings / OFFICES, "003,서울지방식품의약품안전청,", "003,서울식약청,")
    packed = tmp_path / "new.zip"
    packed.write_bytes(pack_mapping_folder(mappings))
    assert ask(new=str(packed)) == ask()


def test_pages_are_read_one_by_one(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is a transaction of its own, and no case is left out or asked twice."""
    from gateway.operations import mapping_impact

    monkeypatch.setattr(mapping_impact, "_PAGE_SIZE", 2)
    new = load_bundle(get_data_folder("mappings"))
    until = story.clock()
    found = list(find_mapping_impact(story.house.engine, new, until.replace(year=2020), until, None))
    assert [one.reference for one in found][1:] == ["SECOND-1", "FIRST-1"]
    totals = ImpactTotals()
    for one in found:
        totals.add_case(one)
    assert totals.not_split == 1
    with read_transaction(story.house.engine) as conn:
        assert mapping_bundles.list_bundles(conn) == []


def test_a_case_that_fails_the_comparison_is_counted_and_the_others_are_compared(
    story: Story, ask: Callable[..., Any], mappings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(mappings / OFFICES, "003,서울지방식품의약품안전청,", "003,서울식약청,")
    _, before = ask()

    def compare(root: etree._Element, *others: Any) -> SubmissionChange:
        if ">SECOND-1<" in etree.tostring(root, encoding="unicode"):
            raise ValueError("odd")
        return compare_submission(root, *others)

    with monkeypatch.context() as patched:
        patched.setattr("gateway.operations.mapping_impact.compare_submission", compare)
        told, totals = ask()
    (unread,) = [one for one in told if one["unreadable"]]
    assert unread["unreadable"] == {
        "id": "GW905",
        "message": "the examination has failed: ValueError: odd",
    }
    assert (totals["asked"], totals["unreadable"]) == (before["asked"] - 1, {"GW905": 1})


def test_a_store_of_payloads_that_is_away_ends_the_examination(
    story: Story, mappings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> etree._Element:
        raise InsufficientStorageError("the bucket is away")

    change(mappings / OFFICES, "003,서울지방식품의약품안전청,", "003,서울식약청,")
    monkeypatch.setattr("gateway.operations.mapping_impact.load_stored_tree", refuse)
    until = story.clock()
    with pytest.raises(InsufficientStorageError):
        list(
            find_mapping_impact(
                story.house.engine, load_bundle(mappings), until.replace(year=2020), until, None
            )
        )


def test_cases_that_cannot_be_read_are_told_with_their_reason(
    story: Story, ask: Callable[..., Any], mappings: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose mappings an earlier program did not store, and one whose octets retention has removed."""
    change(mappings / OFFICES, "003,서울지방식품의약품안전청,", "003,서울식약청,")
    engine = story.house.engine
    with write_transaction(engine) as conn:
        first = conn.execute(tables.cases.select()).first().id  # type: ignore[union-attr]
        old = update(tables.agency_requests).where(tables.agency_requests.c.case_id == first)
        conn.execute(old.values(mapping_sha256="0" * 64))
        conn.execute(update(tables.messages).values(parcel=b"", purged_at=story.clock()))
    told, totals = ask(status=0)
    assert [one["unreadable"]["id"] for one in told] == ["GW320", "GW518"]
    assert told[1]["unreadable"]["message"] == "the mappings 0000000000000000 are not stored"
    assert (totals["asked"], totals["unreadable"]) == (0, {"GW320": 1, "GW518": 1})
    until = story.clock().isoformat().replace("+00:00", "Z")
    assert main(["map", "impact", str(mappings), "--until", until, "--home", str(home)]) == 0
    words = capsys.readouterr().out
    assert "  not asked: GW518 the mappings 0000000000000000 are not stored" in words
    assert "1 case could not be asked (GW320). 1 case could not be asked (GW518)." in words
