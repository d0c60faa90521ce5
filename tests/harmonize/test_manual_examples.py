"""The document that the manual builds from nothing: every step is run and prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli import main
from gateway.harmonize import SplitResult, load_bundle, make_placeholder_numbers, split_submission
from gateway.harmonize.language import HUB_VALUES, OPERATORS, ROUNDING_NAMES
from gateway.harmonize.language.conversion_steps import FORMATS
from gateway.harmonize.language.document_checks import KINDS
from gateway.harmonize.language.field_reader import _TYPES
from gateway.harmonize.language.source_reader import SOURCES
from gateway.harmonize.proofs import PROOFS, check_bundle
from gateway.share import get_data_folder
from gateway.wire import SchemaSet
from tests.harmonize.carriers.test_carried_documents import YAML as CARRIERS
from tests.kit.paths import MANUAL
from tests.kit.tutorial import FOLDER, SUBMISSION, Desk, Step, blocks, merged, shows, steps

PAGE = (MANUAL / "mapping-language.md").read_text(encoding="utf-8")
#: The reference names things in tables; what it shows of a file is tried where the file is read.
REFERENCE = PAGE.index("## Reference: files")
STEPS = steps(PAGE[:REFERENCE])


def run(words: list[str]) -> str:
    octets = io.BytesIO()
    # Documents are written as octets, past the text.
    printed = io.TextIOWrapper(octets, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(words)
    return octets.getvalue().decode()


@dataclass(frozen=True)
class Read:
    """The page as a reader has done it: the folder, what each step printed, and the folder as it was
    before the mappings in force are exported."""

    place: Path
    printed: dict[int, str]
    before: Path


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Do every step in order, as a reader would."""
    place, before = tmp_path_factory.mktemp("desk"), tmp_path_factory.mktemp("before") / "desk"
    desk = Desk(place, run)
    printed = {}
    with contextlib.chdir(place):
        for step in STEPS:
            if "in-force" in " ".join(step.commands) and not before.exists():
                shutil.copytree(place, before)
            printed[step.line] = desk.take(step)
    return Read(place, printed, before)


@pytest.mark.night
@pytest.mark.parametrize("step", STEPS, ids=lambda one: f"line-{one.line}")
def test_a_step_prints_what_the_page_says(step: Step, read: Read) -> None:
    said = read.printed[step.line]
    assert shows(said, step.printed), f"line {step.line} of the page; the command prints:\n{said}"


def split_at_the_end(place: Path) -> SplitResult:
    root = etree.parse(place / SUBMISSION).getroot()
    return split_submission(root, load_bundle(place / FOLDER), make_placeholder_numbers(root))


@pytest.mark.night
def test_the_document_at_the_end_is_proved_and_its_submission_is_valid(read: Read) -> None:
    place = read.place
    report = check_bundle(load_bundle(place / FOLDER))
    assert not report.findings
    SchemaSet.load_cached(get_data_folder("xsd"), "hub/submission.xsd").validate_document(
        etree.parse(place / SUBMISSION).getroot()
    )
    done = split_at_the_end(place)
    assert not done.problems
    assert done.ledger.count_fates()["unaccounted"] == 0


@pytest.mark.night
def test_the_schema_that_the_tutorial_makes_takes_its_request(read: Read) -> None:
    place = read.before
    schema = etree.XMLSchema(etree.parse(place / "xsd" / "xsd" / "agencies" / "HARBOUR" / "DG-NOTICE.xsd"))
    (request,) = split_at_the_end(place).requests
    assert schema.validate(request.xml), schema.error_log


def test_the_reference_shows_no_file_that_is_tried_nowhere() -> None:
    shown = [block.content for block in blocks(PAGE[REFERENCE:])]
    assert shown == [CARRIERS]


def test_every_wrong_version_is_refused_with_file_and_line() -> None:
    wrong = [step for step in STEPS if any(block.kind == "wrong" for block in step.blocks)]
    assert len(wrong) > 20
    for step in wrong:
        assert re.search(r"agencies/HARBOUR/DG-NOTICE\.yaml:\d+", step.printed), step.line
    broken = {name for name in PROOFS if any(f"({name})" in step.printed for step in wrong)}
    assert broken == set(PROOFS)


def test_every_chapter_of_the_tutorial_adds_and_runs_something() -> None:
    start, end = PAGE.index("## A document from nothing"), PAGE.index("## What is proved")
    chapters = re.split(r"^### ", PAGE[start:end], flags=re.MULTILINE)[1:]
    assert [int(one.partition(".")[0]) for one in chapters] == list(range(1, 18))
    for chapter in chapters[1:]:
        assert "```sh\ngateway map " in chapter, chapter[:40]
        assert "```text\n" in chapter, chapter[:40]
    for chapter in chapters[3:16]:
        assert "```yaml wrong\n" in chapter, chapter[:40]
        assert "```yaml add\n" in chapter, chapter[:40]


def test_the_reference_names_every_word_of_the_language() -> None:
    reference = PAGE[REFERENCE:]
    words = {*SOURCES, *FORMATS, *HUB_VALUES, *_TYPES, *KINDS, *OPERATORS}
    words |= {
        "is",
        "in",
        "in_list",
        "present",
        "all",
        "any",
        "not",
        "where",
        "default",
        "convert",
        "via",
        "with",
        "form",
    }
    words |= {"unknown_time", "unknown_code", "limit", "split", "unit", "currency", "cid", "each", "group_by"}
    words |= {
        "when_same",
        "within",
        "overrides",
        "reads",
        "notices",
        "certificate",
        "among",
        "echoes",
        "gives",
    }
    for word in words:
        assert re.search(rf"\b{word}\b", reference), word
    for word in ROUNDING_NAMES:
        assert re.search(rf"\b{word}\b", reference), word
    for name in PROOFS:
        assert f"**{name.replace('_', ' ').capitalize()}.**" in PAGE, name
    for loss in ("exact", "residue", "lossy"):
        assert f"| {loss}" in reference


@pytest.mark.parametrize(
    ("text", "said", "holds"),
    [
        ("a\nb\nc", "a\n…\nc", True),
        ("a\nc", "a\n…\nc", True),
        ("a\nb\nd", "a\n…\nc", False),
        ("one two three", "one…three", True),
        ("one two\nthree", "one…three", False),
        ("all\nof\nit", "…\nof\n…", True),
        ("all\nof\nit", "of\n…", False),
    ],
)
def test_cuts_stand_for_what_is_left_out_and_no_more(text: str, said: str, holds: bool) -> None:
    assert shows(text, said) is holds


def test_lines_are_added_where_those_above_them_say() -> None:
    document = "a: {}\nputs:\n  - L:\n      puts:\n        - X: {ask: x}\nreads: {}\n"
    added = "a:\n  n: {b: c}\nputs:\n  - L:\n      puts:\n        - Y: {ask: y}\n  - Z: {ask: z}\n"
    wanted = "a:\n  n: {b: c}\nputs:\n  - L:\n      puts:\n        - X: {ask: x}\n        - Y: {ask: y}\n"
    assert merged(document, added) == wanted + "  - Z: {ask: z}\nreads: {}\n"
