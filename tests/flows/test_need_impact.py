"""What is told of a new table before it is loaded is what the admission says once it is."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.config import NeedSettings
from gateway.operations import CaseImpact, need_impact
from gateway.store import cases, read_transaction
from tests.flows.craft import Change, all_of, reference, text, without
from tests.flows.test_changed_needs import amendment, code_of, disclaim
from tests.flows.test_held_case_waking import naming
from tests.flows.test_partial_release import child
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.story import Story

_HEAD = "hs,direction,law,origin,use,documents,organisation,mandatory,exemptions,valid_from,valid_until"
#: Goods that the sample does not have.
ELSEWHERE = "0301,import,12,,,,,yes,,,"
BULBS = "0601101000"
NEEDS = ("GW508", "GW509", "GW510", "GW511", "GW516")
WITHOUT_A3 = without("Application[@id='A3']")
CERTIFICATE = "NPQS-77"


class Office:
    """A hub with a table of its own: files submissions, asks what an edition changes, and loads it."""

    def __init__(self, engine: Engine, folder: Path, capsys: Any, policy: str) -> None:
        self.story = Story(engine)
        self.story.hub.need_policy = NeedSettings(imports=policy, test_edition=False)
        self._folder, self._capsys = folder, capsys
        url = engine.url.render_as_string(hide_password=False)
        settings = f'[database]\nurl = "{url}"\n[needs]\ntest_edition = false\nimports = "{policy}"\n'
        (folder / "gateway.toml").write_text(settings)

    def write(self, edition: int, *rows: str) -> str:
        """Write an edition of the table; return its file."""
        file = self._folder / f"border-{edition}.csv"
        head = f"# table: border\n# edition: {edition}\n# valid_from: 2026-0{edition}-01\n{_HEAD}\n"
        cells = (row + "," * (_HEAD.count(",") - row.count(",")) for row in rows)
        file.write_text(head + "".join(f"{row}\n" for row in cells), "utf-8")
        return str(file)

    def run(self, *words: str) -> Any:
        """Run a verb on the hub; return what it says."""
        self._capsys.readouterr()
        assert main([*words, "--home", str(self._folder), "--json"]) == 0
        return json.loads(self._capsys.readouterr().out)

    def load(self, file: str) -> None:
        """Load an edition."""
        self.run("rules", "load", file)

    def ask(self, file: str) -> dict[str, Any]:
        """Return what an edition would change, by reference of the cases; ``""`` is the whole."""
        self.story.clock.forward(seconds=1)
        said = self.run("rules", "impact", file, "--until", self.story.clock().isoformat())
        return {"": said} | {one["reference"]: one for one in said["changed"]}

    def file(self, name: str, *changes: Change) -> str:
        """File the sample with changes, and return what became of it."""
        root = self.story.submission(all_of(*changes, reference(name)))
        attached = root.find("Application[@id='A2']") is not None or "KFDA" in etree.tostring(root).decode()
        self.story.submit(root, attach=attached)
        self.story.tick(seconds=1)
        state = self.find(name).state
        return {"REFUSED": "refused", "HELD": "held"}.get(state, "admitted")

    def find(self, name: str) -> Any:
        """Return the case of a reference."""
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_reference(conn, "broker1", name)

    def list_told(self, name: str) -> set[tuple[str, str]]:
        """Return what the admission has told of needs, whatever the edition."""
        case = self.find(name)
        told = [(one["id"], one["text"]) for one in (case.detail or {}).get("warnings", ())]
        for result in self.story.inbox.documents("Result"):
            if result.findtext("{*}CaseNumber") == case.number:
                told += [(str(one.get("id")), one.text or "") for one in result.findall("{*}Problem")]
        return {(name, _strip_edition(words)) for name, words in told if name in NEEDS}


def _strip_edition(words: str) -> str:
    return re.sub(r"border@\d", "border", words)


def _read(found: list[dict[str, str]], *effects: str) -> set[tuple[str, str]]:
    return {(one["id"], _strip_edition(one["text"])) for one in found if one["effect"] in effects}


@pytest.fixture(params=["refuse", "hold", "warn"])
def office(engine: Engine, tmp_path: Path, capsys: Any, request: pytest.FixtureRequest) -> Office:
    """Return the office of each policy."""
    return Office(engine, tmp_path, capsys, request.param)


def dms(root: etree._Element) -> None:
    """Let the type of the declaration say no direction."""
    found = [one for one in root.iter("{*}TypeCode") if str(one.getparent().tag).endswith("}Declaration")]  # type: ignore[union-attr]
    found[0].text = "DMS"


#: What is filed, a row of the first edition and of the second, the laws that lack then, and the finding.
TURNS: dict[str, tuple[Change, str, str, list[str], str]] = {
    "is mandatory now": (WITHOUT_A3, f"{BULBS},import,12,,,,,no", f"{BULBS},import,12", ["12"], "GW508"),
    "is certain now": (WITHOUT_A3, f"{BULBS},import,12,,1", f"{BULBS},import,12", ["12"], "GW508"),
    "asks another document": (
        all_of(),
        f"{BULBS},import,24,,,FITI-MODEL-IMP,,no",
        f"{BULBS},import,24,,,KATRI-MODEL-IMP",
        ["24"],
        "GW508",
    ),
    "accepts no disclaimer now": (
        all_of(WITHOUT_A3, disclaim("3", "12", "B")),
        f"{BULBS},import,12",
        f"{BULBS},import,12,,,,,yes,-",
        [],
        "GW509",
    ),
    "a new law, disclaimed": (
        all_of(WITHOUT_A3, disclaim("3", "12", "B")), ELSEWHERE, f"{BULBS},import,12", [], "",
    ),
    "a new law, by a certificate": (
        all_of(WITHOUT_A3, naming(CERTIFICATE)), ELSEWHERE, f"{BULBS},import,12", [], "",
    ),
    "a new law, possible": (WITHOUT_A3, ELSEWHERE, f"{BULBS},import,12,,1", ["12"], "GW510"),
    "the applications say the direction": (dms, ELSEWHERE, f"{BULBS},import,23", ["23"], "GW508"),
    "superfluous now": (all_of(), "0301,import,23", "0301,import,12", [], "GW511"),
}  # fmt: skip


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("turn", TURNS)
def test_what_is_told_is_what_filing_again_says(office: Office, turn: str) -> None:
    change, before, after, lacking, problem = TURNS[turn]
    words = ("--agency", "NPQS", "--quantity", "100", "--unit", "KGM", "--by", "anna")
    office.run("requirement", "add", CERTIFICATE, *words)
    office.load(office.write(1, before))
    was = office.file("ONE-1", change)
    file = office.write(2, after)
    found = office.ask(file)["ONE-1"]
    assert [one for item in found["items"] for one in item["lacking"]] == lacking
    assert {one["id"] for one in found["told"]} >= ({problem} if problem else set())
    office.load(file)
    now = office.file("TWO-1", change)
    assert (found["admission"]["before"], found["admission"]["after"]) == (was, now)
    assert office.ask(file)[""]["newly_refused"] == 0


@pytest.mark.long
def test_an_amended_case_is_asked_by_the_goods_in_force(office: Office) -> None:
    office.load(office.write(1, ELSEWHERE))
    office.file("ONE-1")
    changed = amendment(code_of(2, BULBS))
    office.story.submit(office.story.submission(all_of(reference("ONE-1"), changed)), action="Amend")
    office.story.tick(seconds=1)
    found = office.ask(office.write(2, f"{BULBS},import,23"))["ONE-1"]
    assert [(one["item"], one["hs"], one["lacking"]) for one in found["items"]] == [
        (2, BULBS, ["23"]),
        (3, BULBS, ["23"]),
    ]


@pytest.mark.long
def test_a_case_that_fails_the_comparison_is_counted_and_the_others_are_compared(
    engine: Engine, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(engine, tmp_path, capsys, "warn")
    office.load(office.write(1, ELSEWHERE))
    for name in ("ONE-1", "TWO-1"):
        office.file(name)

    def compare(comparison: Any, goods: Any, impact: CaseImpact) -> CaseImpact:
        if impact.reference == "ONE-1":
            raise ValueError("odd")
        return compare_goods(comparison, goods, impact)

    compare_goods = need_impact._TableComparison.compare_goods
    monkeypatch.setattr(need_impact._TableComparison, "compare_goods", compare)
    impact = office.ask(office.write(2, f"{BULBS},import,23"))
    assert impact.keys() == {"", "TWO-1"}
    assert impact[""]["unreadable"] == {"GW905": 1}


@pytest.mark.long
def test_what_the_parent_has_approved_is_not_lacking(engine: Engine, tmp_path: Path, capsys: Any) -> None:
    office = Office(engine, tmp_path, capsys, "warn")
    office.load(office.write(1, ELSEWHERE))
    office.file("PARENT-1")
    office.story.decide_all("KFDA")
    office.story.decide("KFDA")
    office.story.tick()
    part = child("CHILD-1", office.find("PARENT-1").number, (1, "200.5", "40"))
    office.story.submit(office.story.submission(part), attach=False)
    office.story.tick()
    assert office.find("CHILD-1").state == "CLOSED"
    found = office.ask(office.write(2, "3004101000,import,01", "3004101000,import,23"))["CHILD-1"]
    assert [one["lacking"] for one in found["items"]] == [["23"]]


def test_what_the_case_of_another_declarant_has_approved_is_lacking(
    engine: Engine, tmp_path: Path, capsys: Any
) -> None:
    """The child was refused; its declarant is told of all that it would lack."""
    office = Office(engine, tmp_path, capsys, "warn")
    office.load(office.write(1, ELSEWHERE))
    office.file("PARENT-1")
    office.story.decide_all()
    office.story.tick()
    office.story.register("importer", "IMP-1")
    office.story.mandate("broker1", "importer")
    part = child("CHILD-1", office.find("PARENT-1").number, (1, "200.5", "40"))
    of_importer = all_of(part, text(".//Declarant/ID", "IMP-1"))
    office.story.submit(office.story.submission(of_importer, signer_named("importer")), attach=False)
    office.story.tick()
    assert [problem for problem, _ in office.story.problems()] == ["GW416"]
    impact = office.ask(office.write(2, "3004101000,import,01", "3004101000,import,23"))["CHILD-1"]
    assert [item["lacking"] for item in impact["items"]] == [["01", "23"]]


def _draw_rows(draw: random.Random) -> Iterator[str]:
    for _ in range(draw.randint(1, 6)):
        code = draw.choice(("3004101000", "1905320000", BULBS))[: draw.choice((4, 6, 10, 10))]
        law = draw.choice(("01", "05", "12", "23", "60"))
        origin = draw.choice(("", "", "GB", "!GB", "NL"))
        use = draw.choice(("", "", "", "1"))
        must, exempt = draw.choice(("yes", "yes", "no")), draw.choice(("", "", "A B", "-"))
        yield f"{code},import,{law},{origin},{use},,,{must},{exempt}"


def _draw_change(draw: random.Random) -> Change:
    changes = [without(f"Application[@id='{one}']") for one in ("A1", "A3") if draw.random() < 0.4]
    stated = {(draw.choice("123"), draw.choice(("01", "12", "23"))) for _ in range(draw.randint(0, 2))}
    changes += [disclaim(item, law, draw.choice("AB")) for item, law in sorted(stated)]
    if draw.random() < 0.3:
        changes.append(code_of(draw.choice((2, 3)), draw.choice(("3004101000", BULBS, "1905320000"))))
    if draw.random() < 0.2:
        changes.append(dms)
    return all_of(*changes)


@pytest.mark.night
@pytest.mark.parametrize("seed", range(4))
def test_drawn_submissions_filed_under_both_editions(office: Office, seed: int) -> None:
    draw = random.Random(seed)
    drawn = [_draw_change(draw) for _ in range(5)]
    office.load(office.write(1, *dict.fromkeys(_draw_rows(draw))))
    was = [office.file(f"OLD-{n}", one) for n, one in enumerate(drawn)]
    file = office.write(2, *dict.fromkeys(_draw_rows(draw)))
    found = office.ask(file)
    assert found[""]["asked"] == len(drawn)
    office.load(file)
    for n, one in enumerate(drawn):
        now = office.file(f"NEW-{n}", one)
        said = found.get(f"OLD-{n}")
        if said is None:
            assert (was[n], office.list_told(f"OLD-{n}")) == (now, office.list_told(f"NEW-{n}"))
            continue
        assert (said["admission"]["before"], said["admission"]["after"]) == (was[n], now)
        effects = [now] if now == "refused" else ["admitted"]
        kept = office.list_told(f"OLD-{n}") if was[n] == now else set()
        told = (kept - _read(said["untold"], *effects)) | _read(said["told"], *effects)
        after = office.list_told(f"NEW-{n}")
        assert told == after if was[n] == now else told <= after
