"""Two bundles are compared: every change of a mapping is told once, with its place."""

from __future__ import annotations

import pytest
import yaml

from gateway.errors import GatewayError
from gateway.harmonize import BundleChange, compare_mapping_files, list_shared_names, load_bundle
from gateway.hub import read_mapping_files
from gateway.share import MemoryPath, get_data_folder
from gateway.wire import YamlNode
from tests.harmonize.mutation.catalogue import chosen, every
from tests.harmonize.mutation.judging import Court
from tests.harmonize.small_bundle import FILES

TINY = "agencies/ORG/TINY.yaml"


def load_files(files: dict[str, str]) -> dict[str, bytes]:
    """Return the octets of files that load as a folder of mappings."""
    octets = {name: text.encode() for name, text in files.items()}
    load_bundle(MemoryPath(octets))
    return octets


def compare_files(before: dict[str, str], after: dict[str, str]) -> tuple[BundleChange, ...]:
    return compare_mapping_files(load_files(before), load_files(after))


def compare(file: str, old: str, new: str) -> tuple[BundleChange, ...]:
    assert FILES[file].count(old) >= 1, old
    return compare_files(FILES, FILES | {file: FILES[file].replace(old, new, 1)})


def test_equal_bundles_have_no_difference() -> None:
    assert compare(TINY, "Tiny document", "Tiny document") == ()


@pytest.mark.night
@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            TINY,
            "en: Tiny document",
            "en: Small document",
            ["TINY changes: en Tiny document becomes Small document"],
        ),
        (
            TINY,
            "max: 200, req: O",
            "max: 200, req: M",
            ["TINY asks Remark (remark) in another way: req O becomes M"],
        ),
        (
            TINY,
            "optional: [amount,",
            "optional: [payer.name, amount,",
            ["TINY uses Payer (payer.name) of the declaration, needs optional"],
        ),
        (
            TINY,
            'item.licence: {when: {risky: {is: "true"}}}',
            'item.licence: {when: {risky: {is: "false"}}}',
            ["TINY uses Licence (item.licence) in another way: when.risky.is true becomes false"],
        ),
        (
            TINY,
            "  - Previous: {common: previous}\n",
            "  - Before: {common: previous}\n",
            ["TINY sends Request/Before, common previous", "TINY no longer sends Request/Previous"],
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
            ["TINY sends Request/Line/Value in another way: round half_up becomes half_even"],
        ),
        (
            TINY,
            'at_most: "100"',
            'at_most: "90"',
            ["TINY checks Shares exceed 100 (shares) in another way: at_most 100 becomes 90"],
        ),
        ("codelists/colour.csv", "1E3,grey\n", "1E3,grey\nX,blue\n", ["code list colour: code X is new"]),
        (
            "codelists/place.csv",
            "Alpha",
            "Beta",
            ["code list placeName: code AA changes: name Alpha becomes Beta"],
        ),
        (
            "common.yaml",
            "max: 70, ko: 납세자",
            "max: 60, ko: 납세자",
            ["common meaning Payer (payer.name) changes"],
        ),
        (
            "organisations.yaml",
            "en: Organisation",
            "en: Office",
            ["organisation Office (ORG) changes: en Organisation becomes Office"],
        ),
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
    asked, sent = compare_files(FILES, FILES | {TINY: text})
    assert asked.sentence == "TINY asks Extra (extra), req O, type text"
    assert asked.after["max"] == "9"
    assert sent.sentence == "TINY sends Request/Extra, ask extra"


def test_a_change_names_its_document_and_its_line() -> None:
    (one,) = compare(TINY, "means: meeting, ko: 만남", "means: meeting.at, ko: 만남")
    assert (one.document, one.organisation, one.part, one.change) == ("TINY", "ORG", "ask", "changed")
    assert (one.before, one.after) == ({"means": "meeting"}, {"means": "meeting.at"})
    line = FILES[TINY].splitlines().index(next(x for x in FILES[TINY].splitlines() if "meeting:" in x)) + 1
    assert one.place == f"{TINY}:{line}"


def test_a_document_that_comes_or_goes_is_one_change() -> None:
    other = FILES[TINY].replace("document: TINY", "document: OTHER")
    two = FILES | {"agencies/ORG/OTHER.yaml": other}
    assert [one.sentence for one in compare_files(FILES, two)] == ["OTHER is a new document"]
    assert [one.sentence for one in compare_files(two, FILES)] == ["OTHER is no document any more"]


def make_plain(node: YamlNode) -> object:
    """Return a tree of YAML as texts, lists and tables."""
    if isinstance(node.value, dict):
        return {key: make_plain(entry) for key, entry in node.value.items()}
    return [make_plain(entry) for entry in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.night
@pytest.mark.timeout(900)
def test_no_change_of_a_shipped_mapping_is_silent() -> None:
    """Every mutant that loads is another mapping, so something is told of it."""
    court, silent, loaded = Court.open(), [], 0
    files = read_mapping_files(get_data_folder("mappings"))
    for mutant in chosen(every(court.sheets), 90, "2"):
        try:
            court.load_mutant(mutant)
        except GatewayError:
            continue
        loaded += 1
        file = "codelists.yaml" if mutant.registry else court.sheets[mutant.document].file
        changed = yaml.safe_dump(make_plain(mutant.tree), allow_unicode=True, sort_keys=False).encode()
        if not compare_mapping_files(files, files | {file: changed}):
            silent.append(mutant)
    assert loaded > 50
    assert silent == []


CARRIER = """
carriers:
  ORG:
    form: fixed
    charset: euc-kr
    numbers: zeros
    longest: 60
    overflow: refuse
    end: crlf
    fields:
      Tiny/Remark: {width: 200, overflow: continue}
"""
SPEAKS = (
    "form fixed, charset euc-kr, numbers zeros, longest 60, overflow refuse, end crlf, "
    "fields.Tiny/Remark.width 200, fields.Tiny/Remark.overflow continue"
)


def compare_carriers(before: str | None, after: str | None) -> list[str]:
    folders = [FILES | ({} if text is None else {"carriers.yaml": text}) for text in (before, after)]
    return [one.sentence for one in compare_files(*folders)]


def test_the_form_that_an_organisation_speaks_is_told_when_it_comes_goes_and_changes() -> None:
    name = "Organisation (ORG)"
    assert compare_carriers(None, CARRIER) == [f"{name} speaks a form of its own, {SPEAKS}"]
    assert compare_carriers(CARRIER, None) == [f"{name} speaks XML again"]
    (told,) = compare_carriers(CARRIER, CARRIER.replace("euc-kr", "utf-8").replace("200", "100"))
    assert told == (
        f"{name} speaks its form in another way: charset euc-kr becomes utf-8; "
        "fields.Tiny/Remark.width 200 becomes 100"
    )
    (told,) = compare_carriers(None, "carriers:\n  ORG: {form: json, numbers: exact}\n")
    assert told == f"{name} speaks a form of its own, form json, numbers exact"


def test_a_form_of_xml_is_no_form_of_its_own() -> None:
    xml = "carriers:\n  ORG: {form: xml}\n"
    assert compare_carriers(None, xml) == []
    assert compare_carriers(CARRIER, xml) == ["Organisation (ORG) speaks XML again"]


def test_what_a_document_names_is_told_of_the_lists_and_meanings_that_it_uses() -> None:
    names = list_shared_names(read_mapping_files(get_data_folder("mappings")), "KFDA-FOOD-IMP")
    assert {"importer.name", "import-purpose"} <= {name.replace("_", "-") for name in names}
    assert list_shared_names({}, "KFDA-FOOD-IMP") == frozenset()


def compare_shipped(name: str, old: str, new: str) -> list[str]:
    before = read_mapping_files(get_data_folder("mappings"))
    text = before[name].decode()
    assert text.count(old) >= 1, old
    after = before | {name: text.replace(old, new, 1).encode()}
    load_bundle(MemoryPath(after))
    return [one.sentence for one in compare_mapping_files(before, after)]


@pytest.mark.night
@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        (
            "notices.yaml",
            "range: [1, 99]",
            "range: [2, 99]",
            [
                "fact Version after the correction (version) of notices changes: range 1, 99 becomes 2, 99",
            ],
        ),
        (
            "notices.yaml",
            "    role: error\n    status: verified\n",
            "    role: error\n    status: modelled\n",
            ["notice Error notice (GOVCBRRBG) changes: status verified becomes modelled"],
        ),
        (
            "agencies/NPQS/NPQS-PLA-IMP.yaml",
            "[GOVCBRBR1]",
            "[GOVCBRBR2]",
            ["NPQS-PLA-IMP changes: reads.type_codes GOVCBRBR1 becomes GOVCBRBR2"],
        ),
        ("codelists/unit-factors.csv", "\nGRM,mass,0.001", "\nGRM,mass,0.01", None),
    ],
)
def test_what_documents_share_is_told_in_words(name: str, old: str, new: str, told: list[str] | None) -> None:
    found = compare_shipped(name, old, new)
    assert found == (["unit GRM changes: factor 0.001 becomes 0.01"] if told is None else told)
