# ruff: noqa: E501 (mappings with long lines)
"""The checks: compare, tolerance, distinct, one of, all or none; when they apply, and where they point."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import SplitResult
from gateway.harmonize.language.document_mapping import AgreementOverride
from gateway.harmonize.proofs.lossless_proof import list_unit_notes
from gateway.harmonize.proofs.totality_proof import prove_totality
from tests.harmonize import small_bundle
from tests.harmonize.test_combined_sources import fields, folder, group, load_bundle, made, quantity

NAMES = "ko: 규칙, en: Rule"


def with_check(target: Path, check: str, line: str = "  - Plain: {const: x}") -> Path:
    root = folder(target, line)
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("checks:\n", f"checks:\n  - {{id: mine, {check}, {NAMES}}}\n", 1), encoding="utf-8"
    )
    return root


def run(target: Path, check: str, extra: str, old: str = "", new: str = "") -> SplitResult:
    filled = fields(extra).replace(old, new) if old else fields(extra)
    return small_bundle.apply(load_bundle(with_check(target, check)), small_bundle.submission(fields=filled))


def broken(result: SplitResult) -> list[str]:
    assert not result.unaccounted_leaves
    assert all(one.problem.id == "GW404" for one in result.problems)
    return [one.pointer for one in result.problems if "Rule (규칙)" in one.detail]


def both(first: str, second: str) -> str:
    return f"<t:WhenAt>{first}</t:WhenAt><t:Day>{second}</t:Day>"


#: Which occurrences are checked is chosen by another member of the same occurrence.
CHOSEN = "per: grp, compare: {left: grp.id, equals: A}, when: {grp.key: {is: K1}}"
HOLDS = [
    ("per: application, compare: {left: day, at_most: when_at}", both("2026-01-03T10:00:00Z", "2026-01-03")),
    (
        "per: application, compare: {left: day, less_than: when_at}",
        both("2026-01-03T10:00:00Z", "2026-01-02"),
    ),
    ("per: application, compare: {left: day, at_least: '2026-01-01'}", "<t:Day>2026-01-01</t:Day>"),
    ("per: application, compare: {left: day, at_most: when_at}", "<t:Day>2026-01-03</t:Day>"),
    (
        "per: application, compare: {left: day, at_most: when_at, days: 5}",
        both("2026-01-28T10:00:00Z", "2026-02-02"),
    ),
    (
        "per: application, compare: {left: when_at, at_least: issued_at, days: 5}",
        both("2026-11-25T09:30:15Z", "2026-01-01"),
    ),
    (
        "per: application, compare: {left: day, more_than: '2026-01-10', days: -3}",
        "<t:Day>2026-01-08</t:Day>",
    ),
    ("per: application, compare: {left: mass, at_most: '10'}", quantity("10", "KGM")),
    ("per: application, compare: {left: mass, equals: '10'}, within: '0.5'", quantity("9.5", "KGM")),
    ("per: application, compare: {left: colour, equals: NO}, when: {ref: {present: 'yes'}}", ""),
    ("per: application, compare: {left: origin, equals: C1}", "<t:Origin>C1</t:Origin>"),
    ("per: item, compare: {left: weight, at_most: '3'}", ""),
    ("per: item, compare: {left: animal.share, more_than: '39'}", ""),
    (
        "per: application, compare: {left: grp.id, equals: ref}",
        group("K1", "A") + group("K2", "A") + "<t:Ref>A</t:Ref>",
    ),
    ("per: item, sum: {ask: animal.share}, equals: '100', within: '0.5'", ""),
    ("per: application, sum: {ask: mass}, more_than: '1'", quantity("2", "KGM")),
    ("per: application, distinct: grp.id", group("K1", "A") + group("K1", "B") + group("K1")),
    ("per: application, distinct: [grp.key, grp.id]", group("K1", "A") + group("K2", "A")),
    ("per: application, one_of: [ref, origin]", "<t:Ref>A</t:Ref>"),
    ("per: application, one_of: [ref, grp]", group("K1")),
    ("per: application, exactly_one: [ref, origin]", "<t:Origin>C1</t:Origin>"),
    ("per: application, exactly_one: [ref, grp, origin]", group("K1") + group("K2")),
    ("per: grp, exactly_one: [grp.id, grp.value]", group("K1", "A") + group("K2", value="x")),
    ("per: application, exactly_one: [ref, grp.key]", group("K1")),
    ("per: application, all_or_none: [ref, origin]", ""),
    ("per: application, all_or_none: [ref, origin]", "<t:Ref>A</t:Ref><t:Origin>C1</t:Origin>"),
    ("per: grp, all_or_none: [grp.id, grp.value]", group("K1", "A", "x") + group("K1")),
    (CHOSEN, group("K1", "A") + group("K2", "B")),
    ("per: application, sum: {multiply: [weight, price]}, at_most: amount, when_same: currency", ""),
]


@pytest.mark.long
@pytest.mark.parametrize(("check", "extra"), HOLDS, ids=[check for check, _ in HOLDS])
def test_what_holds_is_let_through(tmp_path: Path, check: str, extra: str) -> None:
    assert broken(run(tmp_path, check, extra)) == []


# check, fields, end of the pointer
BREAKS = [
    ("per: application, compare: {left: day, at_most: when_at}", both("2026-01-03T10:00:00Z", "2026-01-04"), "/Day[1]"),
    ("per: application, compare: {left: day, less_than: when_at}", both("2026-01-03T10:00:00Z", "2026-01-03"), "/Day[1]"),
    ("per: application, compare: {left: when_at, more_than: '2026-01-03'}", both("2026-01-03T10:00:00Z", "2026-01-03"), "/WhenAt[1]"),
    ("per: application, compare: {left: day, at_most: when_at, days: 5}", both("2026-01-28T10:00:00Z", "2026-02-03"), "/Day[1]"),
    ("per: application, compare: {left: when_at, at_least: issued_at, days: 5}", both("2026-11-25T09:30:14Z", "2026-01-01"), "/WhenAt[1]"),
    ("per: application, compare: {left: day, more_than: '2026-01-10', days: -3}", "<t:Day>2026-01-07</t:Day>", "/Day[1]"),
    ("per: application, compare: {left: mass, at_most: '10'}", quantity("10.000001", "KGM"), "/Mass[1]"),
    ("per: application, compare: {left: mass, equals: '10'}, within: '0.5'", quantity("9.499999", "KGM"), "/Mass[1]"),
    ("per: application, compare: {left: colour, equals: NO}, when: {ref: {present: 'yes'}}", "<t:Ref>A</t:Ref>", "/Colour[1]"),
    ("per: item, compare: {left: weight, at_most: mass}", quantity("1", "KGM"), "/Weight[1]"),
    ("per: item, compare: {left: animal.share, more_than: '40'}", "", "/Share[1]"),
    ("per: application, compare: {left: grp.id, equals: ref}", group("K1", "A") + group("K2", "B") + "<t:Ref>A</t:Ref>", "Grp[2]/Id[1]"),
    ("per: item, sum: {ask: animal.share}, equals: '101', within: '0.5'", "", "/ITEM[1]"),
    ("per: item, sum: {ask: animal.share}, less_than: '100'", "", "/ITEM[1]"),
    ("per: application, distinct: grp.id", group("K1", "A") + group("K1", "A"), "Grp[2]/Id[1]"),
    ("per: application, distinct: [grp.key, grp.id]", group("K1", "A") + group("K1", "A"), "Grp[2]/Key[1]"),
    ("per: application, one_of: [ref, origin]", "", "/Ref"),
    ("per: application, one_of: [ref, grp]", "", "/Ref"),
    ("per: application, exactly_one: [ref, origin]", "", "/Ref"),
    ("per: application, exactly_one: [ref, origin]", "<t:Ref>A</t:Ref><t:Origin>C1</t:Origin>", "/Origin"),
    ("per: application, exactly_one: [ref, grp]", group("K1") + "<t:Ref>A</t:Ref>", "/Grp"),
    ("per: grp, exactly_one: [grp.id, grp.value]", group("K1", "A") + group("K1", "A", "x"), "Grp[2]/Value[1]"),
    ("per: application, all_or_none: [ref, origin]", "<t:Ref>A</t:Ref>", "/Origin"),
    ("per: grp, all_or_none: [grp.id, grp.value]", group("K1", "A", "x") + group("K1", "A"), "Grp[2]/Value[1]"),
    (CHOSEN, group("K2", "B") + group("K1", "B"), "Grp[2]/Id[1]"),
    ("per: item, compare: {left: weight, at_most: mass}", quantity("1", "GRM"), "/Weight[1]"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("check", "extra", "end"), BREAKS, ids=[check for check, _, _ in BREAKS])
def test_what_does_not_hold_is_pointed_to(tmp_path: Path, check: str, extra: str, end: str) -> None:
    (pointer,) = broken(run(tmp_path, check, extra))
    assert pointer.removesuffix("[1]").endswith(end.removesuffix("[1]")), pointer


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("compare: {left: mass, equals: '10'}, within: '0.5'", "9 is not equal to 10 (within 0.5)"),
        ("sum: {ask: mass}, equals: '10'", "9 is not equal to 10"),
        ("sum: {ask: mass}, more_than: '10'", "9 is not more than 10"),
    ],
)
def test_a_broken_comparison_is_said_in_words(tmp_path: Path, check: str, words: str) -> None:
    result = run(tmp_path, f"per: application, {check}", quantity("9", "KGM"))
    assert [one.detail for one in result.problems] == [f"Rule (규칙): {words}"]


def test_values_of_unlike_units_are_refused_or_left_alone(tmp_path: Path) -> None:
    check = "per: item, compare: {left: weight, at_most: mass}"
    result = run(tmp_path / "a", check, quantity("1", "MTR"))
    (problem,) = [one for one in result.problems if "Rule" in one.detail]
    assert problem.detail.endswith("values of different units cannot be compared: KGM, MTR")
    assert problem.pointer.removesuffix("[1]").endswith("/Weight")
    assert broken(run(tmp_path / "b", f"{check}, when_same: unit", quantity("1", "MTR"))) == []
    # A unit that the table does not have.
    assert broken(run(tmp_path / "c", check, quantity("1", "XXX"))) != []


@pytest.mark.night
@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (quantity("2125", "GRM"), ""),
        (quantity("2124.999999", "GRM"), "2125 GRM is not at most 2124.999999 GRM"),
        (quantity("0.002125", "TNE"), ""),
        (quantity("0.002124", "TNE"), "0.002125 TNE is not at most 0.002124 TNE"),
        # 2.125 kg are 4.684823072... pounds: compared exactly, and told rounded.
        (quantity("4.684824", "LBR"), ""),
        (quantity("4.684823", "LBR"), "about 4.684823 LBR is not at most 4.684823 LBR"),
    ],
)
@pytest.mark.parametrize("kind", ["compare: {left: weight,", "sum: {ask: weight},"])
def test_quantities_of_one_dimension_are_converted_exactly(
    tmp_path: Path, kind: str, bound: str, words: str
) -> None:
    end = " at_most: mass}" if "compare" in kind else " at_most: mass"
    result = run(tmp_path, f"per: item, {kind}{end}", bound)
    told = [one.detail for one in result.problems if "Rule" in one.detail]
    assert told == ([f"Rule (규칙): {words}"] if words else [])
    # What differs in its unit is left alone where the rule says so.
    result = run(tmp_path / "same", f"per: item, {kind}{end}, when_same: unit", bound)
    assert broken(result) == []


WEIGHED = (
    '<t:Item sequence="2"><t:Risky>false</t:Risky><t:Weight unitCode="{}">{}</t:Weight>'
    '<t:Price currencyID="EUR">1</t:Price></t:Item>'
)


@pytest.mark.parametrize(
    ("unit", "amount", "check", "words"),
    [
        ("TNE", "0.5", "at_most: mass", ""),
        ("TNE", "0.501", "at_most: mass", "503125 GRM is not at most 502125 GRM"),
        # A tolerance is in the unit in which the two sides are compared.
        ("TNE", "0.501", "equals: mass, within: '1000'", ""),
        ("TNE", "0.501", "equals: mass, within: '999.999'", "503125 GRM is not equal to 502125 GRM (within 999.999)"),
        ("KGM", "500.001", "at_most: mass", "502126 GRM is not at most 502125 GRM"),
        ("EA", "1", "at_most: mass", "values of different units cannot be compared: EA, GRM, KGM"),
        # Zero is the same in each unit.
        ("TNE", "0.5", "more_than: '0'", ""),
        ("EA", "1", "more_than: '0'", "values of different units cannot be compared: EA, KGM"),
    ],
)  # fmt: skip
def test_the_total_of_several_units_is_exact(
    tmp_path: Path, unit: str, amount: str, check: str, words: str
) -> None:
    root = with_check(tmp_path, f"per: application, sum: {{ask: weight}}, {check}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    assert "units: [KGM, EA]" in text
    path.write_text(text.replace("units: [KGM, EA]", "units: [KGM, TNE, EA]"), encoding="utf-8")
    filled = fields(quantity("502125", "GRM")) + WEIGHED.format(unit, amount)
    result = small_bundle.apply(load_bundle(root), small_bundle.submission(fields=filled, items="1 2"))
    assert not result.unaccounted_leaves
    told = [one.detail for one in result.problems if "Rule" in one.detail]
    assert told == ([f"Rule (규칙): {words}"] if words else [])


@pytest.mark.night
@pytest.mark.parametrize(
    ("unit", "factor", "check", "words"),
    [
        # 2.125 KGM at 3.333 and half a ton at 1: 507.082625.
        ("TNE", "{of: weight, in: KGM}", "at_most: '507.082625'", ""),
        ("TNE", "{of: weight, in: KGM}", "at_most: '507.082624'", "507.082625 is not at most 507.082624"),
        ("TNE", "{of: weight, in: KGM}", "equals: '507', within: '0.09'", ""),
        # A number that is no finite decimal in the unit: 0.5 / 0.45359237 pounds.
        ("KGM", "{of: weight, in: LBR}", "at_most: '16.71'", "about 16.716827 is not at most 16.71"),
        ("EA", "{of: weight, in: KGM}", "at_most: '9'", "a value in EA cannot be counted in KGM"),
        # By its number, in the unit of its own price.
        ("TNE", "{of: weight, in: stated}", "at_most: '7.582625'", ""),
        ("TNE", "weight", "at_most: '7.582624'", "7.582625 is not at most 7.582624"),
    ],
)  # fmt: skip
def test_a_factor_counts_in_the_unit_that_the_check_says(
    tmp_path: Path, unit: str, factor: str, check: str, words: str
) -> None:
    root = with_check(tmp_path, f"per: application, sum: {{multiply: [{factor}, price]}}, {check}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8").replace("units: [KGM, EA]", "units: [KGM, TNE, EA]")
    path.write_text(text, encoding="utf-8")
    filled = fields("") + WEIGHED.format(unit, "0.5")
    result = small_bundle.apply(load_bundle(root), small_bundle.submission(fields=filled, items="1 2"))
    assert not result.unaccounted_leaves
    told = [one.detail for one in result.problems if "Rule" in one.detail]
    assert told == ([f"Rule (규칙): {words}"] if words else [])


@pytest.mark.parametrize(
    ("check", "noted"),
    [
        ("per: application, sum: {multiply: [weight, price]}, at_most: '9'", "check mine of TINY: weight may"),
        ("per: application, sum: {multiply: [{of: weight, in: KGM}, price]}, at_most: '9'", ""),
        ("per: application, sum: {multiply: [{of: weight, in: stated}, price]}, at_most: '9'", ""),
        ("per: application, sum: {ask: weight}, more_than: '0'", ""),
        ("per: item, one_of: [reason, photo], when: {weight: {at_least: 9}}", "condition of mine in TINY: weight"),
        ("per: item, one_of: [reason, photo], when: {weight: {more_than: 0}}", ""),
        ("per: item, one_of: [reason, photo], when: {animal.share: {at_least: 9}}", ""),
    ],
)  # fmt: skip
def test_a_number_whose_unit_does_not_count_is_noted(tmp_path: Path, check: str, noted: str) -> None:
    notes = list_unit_notes([load_bundle(with_check(tmp_path, check)).documents["TINY"]])
    mine = [one for one in notes if "check total of TINY" not in one]
    assert [noted in one for one in mine] == ([True] if noted else []), mine


def test_an_asked_unit_that_no_list_has_is_noted(tmp_path: Path) -> None:
    document = load_bundle(with_check(tmp_path, "per: application, sum: {ask: weight}, more_than: '0'"))
    known = {unit for ask in document.documents["TINY"].ask_names.values() for unit in ask.units}
    tiny = [document.documents["TINY"]]
    (note,) = set(list_unit_notes(tiny, known - {"EA"})) - set(list_unit_notes(tiny, known))
    assert "weight of TINY: EA is no unit of Recommendation 20 or of the table of units" in note
    assert "TINY.yaml:" in note


@pytest.mark.night
@pytest.mark.parametrize(
    ("units", "same", "message"),
    [
        ("TNE, GRM", "", ""),
        ("TNE, GRM", ", when_same: unit", "weight and mass never have the same unit"),
        ("MTR", "", "weight and mass never have units of one dimension"),
        ("XXX", "", "weight and mass never have units of one dimension"),
        ("MTR, EA", ", when_same: unit", ""),
    ],
)
@pytest.mark.parametrize(
    "kind", ["compare: {left: weight, at_most: mass}", "sum: {ask: weight}, at_most: mass"]
)
def test_units_that_are_never_compared_are_found_before(
    tmp_path: Path, kind: str, units: str, same: str, message: str
) -> None:
    root = with_check(tmp_path, f"per: item, {kind}{same}")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    text = path.read_text(encoding="utf-8")
    assert "units: [KGM, GRM, TNE, LBR, MTR, XXX]" in text
    path.write_text(
        text.replace("units: [KGM, GRM, TNE, LBR, MTR, XXX]", f"units: [{units}]"), encoding="utf-8"
    )
    findings = prove_totality(load_bundle(root).documents["TINY"]).breaches.values()
    found = [one.message for one in findings if one.field == "mine"]
    assert [one[: len(message)] for one in found] == ([message] if message else [])


WRONG = [
    ("per: application", "one of sum, compare, distinct, one_of, exactly_one, all_or_none, found none"),
    ("per: application, one_of: [ref, day], all_or_none: [ref, day]", "one of sum, compare"),
    ("per: grp, sum: {ask: mass}, equals: '1'", "a place around what is added"),
    ("per: nothing, distinct: ref", "application, item or a group"),
    ("per: application, compare: {left: nothing, at_most: '1'}", "an asked field or a common meaning, found nothing"),
    ("per: application, compare: {left: grp, at_most: '1'}", "an asked field or a common meaning, found grp"),
    ("per: application, compare: {left: mass}", "one of at_most"),
    ("per: application, compare: {left: mass, at_most: ten}", "a number or a common meaning that is one"),
    ("per: application, compare: {left: mass, at_most: day}", "a number or a common meaning that is one"),
    ("per: application, compare: {left: mass, at_most: amount}", "a number or a common meaning that is one"),
    ("per: application, compare: {left: day, at_most: '2026-13-01'}", "a value of day"),
    ("per: application, compare: {left: ref, at_most: origin}", "a number or a date"),
    ("per: application, compare: {left: day, equals: when_at}, within: '1'", "a tolerance of two equal numbers"),
    ("per: application, compare: {left: mass, at_most: '1', days: 5}", "two dates to compare, found mass"),
    ("per: application, compare: {left: day, at_most: when_at, days: some}", "a whole number from -36600"),
    ("per: application, compare: {left: day, at_most: when_at, days: 40000}", "a whole number from -36600"),
    ("per: application, compare: {left: mass, at_most: '1'}, within: '1'", "a tolerance of two equal numbers"),
    ("per: application, compare: {left: mass, equals: '1'}, within: '-1'", "a number of zero or more"),
    ("per: item, compare: {left: grp.id, equals: reason}", "values of which one stands around the other"),
    ("per: application, distinct: [grp.id, ref]", "fields that stand side by side"),
    ("per: application, one_of: [ref]", "2 to 10 fields"),
    ("per: application, one_of: [ref, ref]", "each field once"),
    ("per: application, exactly_one: [ref]", "2 to 10 fields"),
    ("per: grp, exactly_one: [grp.id, grp.key]", "fields that may be missing, found grp.key, mandatory"),
    ("per: grp, one_of: [grp.id, reason]", "fields that stand together"),
    ("per: application, sum: {common: importer.name}, equals: '1'", "a common number, found importer.name"),
    ("per: application, one_of: [ref, day], when: {nothing: {present: 'yes'}}", "an asked field or a common meaning, found nothing"),
    ("per: application, sum: {multiply: [{of: weight, in: MTR}, price]}, at_most: '1'", "a unit to which those of weight convert, found MTR"),
    ("per: application, sum: {multiply: [{of: weight, in: XXX}, price]}, at_most: '1'", "a unit of the table, for a quantity, found XXX"),
    ("per: application, sum: {multiply: [{of: price, in: KGM}, weight]}, at_most: '1'", "a unit of the table, for a quantity, found KGM"),
    ("per: application, sum: {multiply: [weight, {of: price, in: stated}]}, at_most: '1'", "it of a factor before the last, found price"),
    ("per: application, sum: {multiply: [{of: weight}, price]}, at_most: '1'", "the key 'in'"),
    ("per: application, one_of: [ref, day], extra: x", "unknown key 'extra'"),
]  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize(("check", "words"), WRONG, ids=[check for check, _ in WRONG])
def test_a_wrong_check_names_the_line(tmp_path: Path, check: str, words: str) -> None:
    root = with_check(tmp_path, check)
    with pytest.raises(GatewayError) as refused:
        load_bundle(root)
    assert refused.value.problem.id == "GW502"
    assert words in str(refused.value)
    file, _, number = refused.value.location.rpartition(":")
    assert "id: mine" in (root / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]


def test_a_check_says_all_that_it_reads(tmp_path: Path) -> None:
    check = "per: application, compare: {left: mass, at_most: amount.of}, when: {ref: {present: 'yes'}}"
    bundle = load_bundle(with_check(tmp_path, check.replace("amount.of", "'9'")))
    mine = next(one for one in bundle.documents["TINY"].checks if one.id == "mine")
    assert [one.name for one in mine.list_read_sources()] == ["mass", "ref"]


def test_two_checks_of_one_name_are_refused(tmp_path: Path) -> None:
    root = with_check(tmp_path, "per: application, one_of: [ref, day]")
    path = root / "agencies" / "ORG" / "TINY.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("id: shares", "id: mine"), encoding="utf-8")
    with pytest.raises(GatewayError, match="each check once"):
        load_bundle(root)


OVERRIDE = "overrides:\n  remark: {instead_of: importer.name, reason: the agency wants it in Korean, ko: 사유, en: In Korean}\nchecks:\n"


def test_an_exception_of_agreement_is_declared_and_visible(tmp_path: Path) -> None:
    bundle = small_bundle.mapping(tmp_path, document=("checks:\n", OVERRIDE))
    (override,) = bundle.documents["TINY"].overrides.values()
    assert isinstance(override, AgreementOverride)
    assert (override.ask.name, override.instead_of.name) == ("remark", "importer.name")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  remark:", "  nothing:", "a field that the document asks, found nothing"),
        ("  remark:", "  animal:", "a field that the document asks, found animal"),
        ("of: importer.name", "of: nobody", "a meaning of the dictionary, found nobody"),
        ("reason: the agency wants it in Korean, ", "", "the key 'reason'"),
    ],
)
def test_a_wrong_exception_names_the_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        small_bundle.mapping(tmp_path, document=("checks:\n", OVERRIDE.replace(old, new, 1)))


def test_documents_without_checks_of_their_own_load(tmp_path: Path) -> None:
    assert made(tmp_path, "  - Plain: {const: x}").documents["TINY"].overrides == {}
