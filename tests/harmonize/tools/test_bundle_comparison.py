# ruff: noqa: E501 (tables with long lines)
"""Two bundles are compared: every change of a mapping is told once, with its place."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import BundleChange, MappingBundle, compare_bundles, load_bundle
from gateway.share import MemoryPath
from tests.harmonize.mutation.catalogue import chosen, every
from tests.harmonize.mutation.judging import Court
from tests.harmonize.small_bundle import FILES

TINY = "agencies/ORG/TINY.yaml"


def load_files(files: dict[str, str]) -> MappingBundle:
    return load_bundle(MemoryPath({name: text.encode() for name, text in files.items()}))


def compare(file: str, old: str, new: str) -> tuple[BundleChange, ...]:
    assert FILES[file].count(old) >= 1, old
    changed = FILES | {file: FILES[file].replace(old, new, 1)}
    return compare_bundles(load_files(FILES), load_files(changed))


def test_equal_bundles_have_no_difference() -> None:
    assert compare(TINY, "Tiny document", "Tiny document") == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            TINY,
            "en: Tiny document",
            "en: Small document",
            ["TINY changes: name Tiny document (작은 문서) becomes"],
        ),
        (
            TINY,
            "max: 200, req: O",
            "max: 200, req: M",
            ["TINY asks Remark (remark) in another way: required no becomes always"],
        ),
        (
            TINY,
            "optional: [amount,",
            "optional: [payer.name, amount,",
            ["TINY uses Payer (payer.name) of the declaration, required no"],
        ),
        (
            TINY,
            'item.licence: {when: {risky: {is: "true"}}}',
            'item.licence: {when: {risky: {is: "false"}}}',
            [
                "TINY uses Licence (item.licence) in another way: required where Risky is true becomes where Risky is"
            ],
        ),
        (
            TINY,
            "  - Previous: {common: previous}\n",
            "  - Before: {common: previous}\n",
            ["TINY sends Request/Before, source previous", "TINY no longer sends Request/Previous"],
        ),
        (
            TINY,
            "  - Kind: {const: T1}\n  - Number: {hub: application_number, limit: {chars: 13, exact: yes}}\n",
            "  - Number: {hub: application_number, limit: {chars: 13, exact: yes}}\n  - Kind: {const: T1}\n",
            ["TINY sends Request/Number at another place: after Request/Kind becomes nothing"],
        ),
        (
            TINY,
            "round: half_up",
            "round: half_even",
            ["TINY sends Request/Line/Value in another way: source product"],
        ),
        (
            TINY,
            'at_most: "100"',
            'at_most: "90"',
            [
                "TINY checks Shares exceed 100 (shares) in another way: comparison at_most 100 becomes at_most 90"
            ],
        ),
        ("codelists/colour.csv", "1E3,grey\n", "1E3,grey\nX,blue\n", ["code list colour: code X is new"]),
        (
            "codelists/place.csv",
            "Alpha",
            "Beta",
            ["code list placeName: code AA changes: translation Alpha becomes Beta"],
        ),
        (
            "common.yaml",
            "max: 70, ko: 납세자",
            "max: 60, ko: 납세자",
            ["common meaning Payer (payer.name) changes"],
        ),
        ("organisations.yaml", "en: Organisation", "en: Office", ["organisation Office (ORG) changes: name"]),
    ],
)
def test_a_change_is_told(file: str, old: str, new: str, told: list[str]) -> None:
    sentences = [one.sentence for one in compare(file, old, new)]
    missing = [words for words in told if not any(one.startswith(words) for one in sentences)]
    assert missing == [], sentences


def test_a_new_field_is_told_with_its_bounds_and_where_it_is_sent() -> None:
    extra = "  extra: {type: text, max: 9, req: O, per: application, means: extra, ko: 덤, en: Extra}\n"
    text = FILES[TINY].replace("  remark: {", f"{extra}  remark: {{", 1)
    text = text.replace("  - Kind: {const: T1}\n", "  - Kind: {const: T1}\n  - Extra: {ask: extra}\n")
    asked, sent = compare_bundles(load_files(FILES), load_files(FILES | {TINY: text}))
    assert asked.sentence == "TINY asks Extra (extra), required no, type text"
    assert asked.after["length"] == "9"
    assert sent.sentence == "TINY sends Request/Extra, source extra"


def test_a_change_names_its_document_and_its_line() -> None:
    (one,) = compare(TINY, "means: meeting, ko: 만남", "means: meeting.at, ko: 만남")
    assert (one.document, one.organisation, one.part, one.change) == ("TINY", "ORG", "ask", "changed")
    assert (one.before, one.after) == ({"meaning": "meeting"}, {"meaning": "meeting.at"})
    line = FILES[TINY].splitlines().index(next(x for x in FILES[TINY].splitlines() if "meeting:" in x)) + 1
    assert one.place == f"{TINY}:{line}"


def test_a_document_that_comes_or_goes_is_one_change() -> None:
    other = FILES[TINY].replace("document: TINY", "document: OTHER")
    two = FILES | {"agencies/ORG/OTHER.yaml": other}
    before, after = load_files(FILES), load_files(two)
    assert [one.sentence for one in compare_bundles(before, after)] == ["OTHER is a new document"]
    assert [one.sentence for one in compare_bundles(after, before)] == ["OTHER is no document any more"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_change_of_a_shipped_mapping_is_silent() -> None:
    """Every mutant that loads is another mapping, so something is told of it."""
    court, silent, loaded = Court.open(), [], 0
    for mutant in chosen(every(court.sheets), 90, "2"):
        try:
            changed = court.load_mutant(mutant)
        except GatewayError:
            continue
        loaded += 1
        if not compare_bundles(court.bundle, changed):
            silent.append(mutant)
    assert loaded > 50
    assert silent == []
