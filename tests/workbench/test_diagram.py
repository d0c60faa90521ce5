"""The picture of a mapping: everything of the mapping is in it, and it needs nothing from outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli import main
from gateway.harmonize import MappingBundle, load_bundle
from gateway.harmonize.language import build_read_set, list_guard_tests, list_mapping_lines, walk_fields
from gateway.share import get_data_folder
from gateway_workbench import build_diagram
from gateway_workbench.diagram.diagram_rows import arrange_rows, list_unused_rows
from gateway_workbench.diagram.html_page import ROW_HEIGHT
from tests.harmonize import small_bundle
from tests.kit import pictures
from tests.kit.documents import each_document

XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@pytest.fixture(params=each_document())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def page(text: str) -> etree._Element:
    return etree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


@pytest.mark.night
def test_every_meaning_and_every_field_is_on_the_left(bundle: MappingBundle, name: str) -> None:
    document = bundle.documents[name]
    keys = [row.get("data-key") for row in page(pictures.drawn(name, bundle)).iter(f"{XHTML}div")]
    listed = [f"common:{need.meaning.name}" for need in document.needs]
    listed += [f"ask:{ask.name}" for ask in walk_fields(document.asks)]
    assert set(listed) <= set(keys)
    assert len([key for key in keys if key]) == len({key for key in keys if key})


@pytest.mark.night
def test_every_line_of_the_mapping_has_a_line_drawn(bundle: MappingBundle, name: str) -> None:
    document = bundle.documents[name]
    tree = page(pictures.drawn(name, bundle))
    rows = [row for row in tree.iter(f"{XHTML}div") if (row.get("id") or "").startswith("t")]
    drawn: dict[str, set[str]] = {}
    for path in tree.iter(f"{SVG}path"):
        if path.get("data-to"):
            drawn.setdefault(path.get("data-to", ""), set()).add(path.get("data-from", ""))
    leaves = [row for row in rows if "leaf" in row.get("class", "").split()]
    wanted = [
        line
        for line in list_mapping_lines(document)
        if not re.search(r"\[(?!@)[^]]*\]/[A-Za-z]+$", line.path) or line.content is None or line.read_fields
    ]
    assert len(leaves) == len(wanted)
    for row, line in zip(leaves, wanted, strict=True):
        named = row.findtext(f"{XHTML}span", "").rpartition("/")[2].partition("[")[0].removeprefix("@")
        assert named == (line.attribute.name if line.attribute is not None else line.target.name)
        forwarded = {f"{'ask' if hasattr(one, 'means') else 'common'}:{one.name}" for one in line.read_fields}
        assert forwarded <= drawn[row.get("id", "")[1:]], line.path
        assert str(line.mark) in row.get("title", "")


def test_everything_that_a_document_reads_is_tied_to_something(bundle: MappingBundle, name: str) -> None:
    document = bundle.documents[name]
    made = build_diagram(document, bundle)
    tied = {link.key for link in made.links} | {key for key, _ in made.arcs}
    checked = {f"ask:{one.name}" for check in document.checks for one in check.list_read_sources()}
    for key, read in build_read_set(document, bundle.dictionary).entries_by_key.items():
        if read.read_kinds & {"value", "attribute", "key"} or key.startswith("group:"):
            assert key in tied | checked | {
                f"common:{one.name}" for c in document.checks for one in c.list_read_sources()
            }
    for target in document.root.walk_elements():
        for test in list_guard_tests(target.when) if target.when is not None else ():
            assert any(link.role == "guard" and link.key.endswith(test.source.name) for link in made.links)


@pytest.mark.night
def test_the_page_is_well_formed_and_needs_nothing_from_outside(bundle: MappingBundle, name: str) -> None:
    text = pictures.drawn(name, bundle)
    tree = page(text)
    names = {etree.QName(one).localname for one in tree.iter("*")}
    assert not names & {"script", "link", "img", "iframe", "object", "image", "use", "foreignObject"}
    attributes = {attribute for one in tree.iter("*") for attribute in one.attrib}
    assert not {one for one in attributes if "href" in one or "src" in one or one.startswith("on")}
    sheet = tree.findtext(f".//{XHTML}style", "")
    assert not re.search(r"url\(|@import|expression", sheet)
    assert not set(sheet) & set("<>&"), "HTML reads a style sheet as it stands, XML does not"
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/2000/svg",
    }
    assert not re.search(r"<(?:div|span|p|li|ul|h1|h2)\b[^>]*/>", text), "HTML knows no empty div"


@pytest.mark.night
def test_ids_are_unique_and_what_lights_up_is_there(bundle: MappingBundle, name: str) -> None:
    tree = page(pictures.drawn(name, bundle))
    ids = [one.get("id") for one in tree.iter("*") if one.get("id")]
    assert len(ids) == len(set(ids))
    lit = set(re.findall(r":has\(#([st][0-9]+):hover\)", tree.findtext(f".//{XHTML}style", "")))
    assert lit <= set(ids)
    tied = {one.get("id") for one in tree.iter(f"{XHTML}div") if "tied" in one.get("class", "").split()}
    assert tied == lit


def test_rows_of_the_left_stand_in_the_order_of_use_and_never_in_one_place(
    bundle: MappingBundle, name: str
) -> None:
    made = build_diagram(bundle.documents[name], bundle)
    places = arrange_rows(made)
    assert set(places) == set(made.left)
    assert len(set(places.values())) == len(places)
    first: dict[str, int] = {}
    for link in made.links:
        if link.role in ("value", "attribute"):
            first[link.key] = min(link.right_index, first.get(link.key, link.right_index))
    ordered = sorted(first, key=lambda one: places[one])
    assert [first[key] for key in ordered] == sorted(first.values())
    assert all(places[key] >= first[key] for key in first)


def test_the_pictures_of_the_manual_are_up_to_date(bundle: MappingBundle) -> None:
    found = {path.stem: path for path in pictures.PICTURES.glob("*.html")}
    assert set(found) == set(pictures.DRAWN)
    for name, path in found.items():
        text = path.read_text(encoding="utf-8")
        assert text == pictures.drawn(name, bundle), "run: python -m tests.test_manual --write"
        assert len(text.encode()) < 150_000


def test_lines_and_badges_say_what_a_line_does(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle.write(tmp_path))
    tree = page(pictures.drawn("TINY", bundle))
    kinds = {name for path in tree.iter(f"{SVG}path") for name in path.get("class", "").split()}
    assert {"common", "ask", "own", "guard", "key", "count", "attribute", "value", "arc"} <= kinds
    badges = {
        (one.get("class"), one.text)
        for one in tree.iter(f"{XHTML}span")
        if one.get("class", "").startswith("badge ")
    }
    assert {
        ("badge source", "const T1"),
        ("badge source", "hub application_number"),
        ("badge source", "count items"),
        ("badge source", "serial T%03d"),
        ("badge source", "multiply"),
        ("badge step", "form CCYYMMDD"),
        ("badge step", "via colourName"),
        ("badge step", "via unitOut"),
        ("badge split", "split 2 of 3"),
        ("badge each", "each item, 1 to 999"),
        ("badge each", "up to 3 values"),
        ("badge guard", "when"),
    } <= badges
    arcs = {(key, about) for key, about in build_diagram(bundle.documents["TINY"], bundle).arcs}
    assert arcs == {
        ("ask:risky", "common:item.licence"),
        ("ask:risky", "ask:reason"),
        ("ask:animal.tag", "ask:animal.vaccination"),
    }


def test_what_decides_whether_something_is_written_is_tied_to_it(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle.write(tmp_path))
    made = build_diagram(bundle.documents["TINY"], bundle)
    guarded = {(link.key, made.right[link.right_index].name) for link in made.links if link.role == "guard"}
    assert guarded == {("ask:risky", "Risk")}
    counted = {(link.key, made.right[link.right_index].name) for link in made.links if link.role == "count"}
    assert {("group:seal", "Position"), ("group:seal", "Seal"), ("ask:animal", "No")} <= counted


def test_what_is_not_sent_stands_at_the_end_below_a_heading(bundle: MappingBundle) -> None:
    made = build_diagram(bundle.documents["KPTA-PHARM-IMP"], bundle)
    places, alone = arrange_rows(made), list_unused_rows(made)
    assert "common:item.net_mass" in alone
    assert "ask:manufacturer" not in alone, "a group stands with its members"
    assert places["ask:manufacturer"] + 1 == places["ask:manufacturer.address"]
    used = [row for key, row in places.items() if key not in alone]
    assert min(places[key] for key in alone) == max(used) + 2
    (heading,) = (
        one
        for one in page(pictures.drawn("KPTA-PHARM-IMP", bundle)).iter(f"{XHTML}div")
        if one.get("class") == "row left heading"
    )
    assert heading.get("style") == f"top:{(max(used) + 1) * ROW_HEIGHT}px"


def test_the_verb_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert main(["map", "matrix", "KTL-ELEC-IMP", "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["written"] == str(out)
    assert shown["document"] == "KTL-ELEC-IMP"
    assert min(shown["left"], shown["right"], shown["lines"]) > 50
    assert page(out.read_text(encoding="utf-8")).findtext(f".//{XHTML}h1") == "KTL-ELEC-IMP"


@pytest.mark.parametrize(
    ("words", "told"),
    [(["NO-SUCH", "--out", "x.html"], "no document"), (["KTL-ELEC-IMP", "--out", "no/x.html"], "no/x.html")],
)
def test_what_cannot_be_drawn_is_said_in_a_line(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["map", "matrix", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
