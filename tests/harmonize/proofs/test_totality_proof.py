# ruff: noqa: E501 (changes of mappings are long lines)
"""Totality: a mandatory target without a source is refused, with the values that show it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.harmonize.proofs import check_bundle, guard_valuations
from gateway.harmonize.samples import make_sample
from gateway.harmonize.split import submission_split
from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, breaches, line_of, plant
from tests.kit.paths import ROOT


def test_a_field_that_must_be_given_while_its_line_is_shut(tmp_path: Path) -> None:
    folder = plant(
        tmp_path, ('            when: {risky: {is: "true"}}', '            when: {risky: {is: "false"}}')
    )
    (finding,) = breaches(folder, "totality")
    assert (finding.mark.file, finding.mark.line) == (DOCUMENT, line_of(tmp_path, "  reason: {type"))
    assert (finding.field, finding.counter_example) == ("reason", "risky = true")
    assert "shut" in finding.message


def test_a_line_that_is_due_where_its_field_need_not_be_given(tmp_path: Path) -> None:
    folder = plant(
        tmp_path,
        ("- Reason: {ask: reason}", "- Reason: {ask: reason, when: {colour: {is: R}}}"),
        ('is: "true"}}, otherwise: forbidden}', 'is: "true"}}}'),
        ('            when: {risky: {is: "true"}}\n', ""),
    )
    found = {(finding.field, finding.counter_example) for finding in breaches(folder, "totality")}
    assert ("Request/Item/Risk/Reason", "risky = false, colour = R") in found
    assert ("reason", "risky = true, colour = G") in found


def test_a_line_is_shut_where_the_group_around_the_group_of_its_guard_lacks(tmp_path: Path) -> None:
    nested_groups = (
        "  risky: {type: boolean",
        """  outer: {type: group, req: O, per: application, ko: 겉, en: Outer, fields: {
      inner: {type: group, req: M, ko: 속, en: Inner, fields: {
          core: {type: text, max: 5, req: M, means: outer.inner.core, ko: 알, en: Core}
      }}
  }}
  risky: {type: boolean""",
    )
    guarded = (
        "- Colour: {ask: colour, when: {outer.inner.core: {present: yes}}}\n  - Core: {ask: outer.inner.core}"
    )
    folder = plant(tmp_path, nested_groups, ("- Colour: {ask: colour}", guarded))
    (finding,) = breaches(folder, "totality")
    assert (finding.field, finding.counter_example) == ("colour", "outer.inner.core absent")


def test_a_condition_that_never_holds(tmp_path: Path) -> None:
    change = (
        "weight: {type: quantity",
        'extra: {type: text, max: 5, req: {when: {all: [{risky: {is: "true"}}, {risky: {is: "false"}}]}}, per: item, means: plant.extra, ko: 더, en: Extra}\n  weight: {type: quantity',
    )
    folder = plant(tmp_path, change, ("- Weight:", "- Extra: {ask: extra}\n        - Weight:"))
    (finding,) = breaches(folder, "totality")
    assert (finding.field, finding.mark.line) == ("extra", line_of(tmp_path, "extra: {type"))
    assert "never holds" in finding.message


SHARES = (
    "  lot: {type: group",
    "  share: {type: measure, unit: P1, decimals: 2, range: [0, 100], req: M, per: item, means: plant.share, ko: 비율, en: Share}\n"
    "  lot: {type: group",
)


@pytest.mark.night
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("per: application, sum: {ask: share}, equals: 100000001", "0 to 99900 is compared with 100000001"),
        ("per: application, sum: {ask: share}, equals: 99900", ""),
        ("per: item, sum: {ask: share}, equals: 101", "0 to 100 is compared with 101"),
        ("per: item, sum: {ask: share}, equals: '101', within: '1'", ""),
        ("per: item, compare: {left: share, more_than: 100}", "0 to 100 is compared with 100"),
        ("per: item, compare: {left: share, at_most: '-1'}", "0 to 100 is compared with -1"),
        ("per: item, compare: {left: share, at_least: 100}", ""),
        ("per: item, compare: {left: lot.weight, at_least: 8}", "0 to 7 is compared with 8"),
        ("per: item, sum: {ask: lot.weight}, at_least: 22", "0 to 21 is compared with 22"),
        ("per: item, sum: {ask: lot.weight}, at_least: 21", ""),
        ("per: lot, sum: {ask: lot.weight}, at_least: 8", "0 to 7 is compared with 8"),
        # A number in several units is not judged.
        ("per: item, compare: {left: weight, less_than: 0}", ""),
    ],
)
def test_a_check_that_no_values_satisfy_is_told_at_once(tmp_path: Path, rule: str, told: str) -> None:
    folder = plant(
        tmp_path,
        SHARES,
        (
            "means: plant.lot.tag, ko: 번호, en: Tag}\n",
            "means: plant.lot.tag, ko: 번호, en: Tag},\n      weight: {type: measure, unit: KGM, decimals: 0, range: [0, 7], req: O, means: plant.lot.weight, ko: 무게, en: Lot weight}\n",
        ),
        ("- Weight:", "- Share: {ask: share, unit: '@unit'}\n        - Weight:"),
        (
            "- Tag: {ask: lot.tag}",
            "- Tag: {ask: lot.tag}\n              - W: {ask: lot.weight, unit: '@unit'}",
        ),
        ("\nreads:", f"\nchecks:\n  - {{id: mine, {rule}, ko: 규칙, en: Rule}}\nreads:"),
    )
    found = [one for one in breaches(folder, "totality") if one.message.endswith("never holds")]
    assert [(one.field, one.counter_example) for one in found] == ([("mine", told)] if told else [])


@pytest.mark.night
@pytest.mark.parametrize(
    ("ask", "part", "separator", "told"),
    [
        ("type: id, max: 9, pattern: '[A-Z]{2}-[0-9]{1,4}'", "{ask: extra}", "-", True),
        ("type: id, max: 9, pattern: '[A-Z]{2}[-]{0,1}[0-9]{1,4}'", "{ask: extra}", "-", False),
        ("type: id, max: 9, pattern: '[A-Z]{2}/{2}[0-9]'", "{ask: extra}", "//", True),
        ("type: id, max: 9, pattern: '(A-B|C)[0-9]'", "{ask: extra}", "-", False),
        ("type: id, max: 9", "{ask: extra}", "-", False),
        ("type: code, codes: {A-1: one, B-2: two}", "{ask: extra}", "-", True),
        ("type: code, codes: {A-1: one, B2: two}", "{ask: extra}", "-", False),
        ("type: date", "{ask: extra}", "-", True),
        ("type: date", "{ask: extra, form: CCYYMMDD}", "-", False),
        ("type: date", "{ask: extra}", "/", False),
        ("type: datetime", "{ask: extra, form: iso}", "-", True),
    ],
)
def test_a_part_that_always_contains_the_separator_is_told_at_its_line(
    tmp_path: Path, ask: str, part: str, separator: str, told: bool
) -> None:
    ask = f"extra: {{{ask}, req: M, per: item, means: plant.extra, ko: 더, en: Extra}}"
    line = f'- Both: {{concat: [{{common: item.description}}, {part}], with: "{separator}"}}'
    folder = plant(
        tmp_path,
        ("weight: {type: quantity", f"{ask}\n  weight: {{type: quantity"),
        ("- Weight:", f"{line}\n        - Weight:"),
    )
    found = breaches(folder, "totality", samples=1)
    if not told:
        assert found == []
        return
    (finding,) = found
    assert (finding.mark.file, finding.mark.line) == (DOCUMENT, line_of(tmp_path, "- Both:"))
    assert finding.field == "Request/Item/Both"
    assert finding.counter_example == f"extra cannot be told apart by {separator!r}"
    bundle = load_bundle(folder)
    with pytest.raises(GatewayError, match=r"none without '.*', which separates the parts of a concat"):
        make_sample(bundle, bundle.documents["PLANT"], "7", 1)


def test_a_translation_that_lacks_a_code(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("- Colour: {ask: colour}", "- Colour: {ask: colour, via: someColour}"))
    (finding,) = breaches(folder, "totality")
    assert (finding.field, finding.counter_example) == ("Request/Colour", "colour = G")
    assert finding.mark.line == line_of(tmp_path, "via: someColour")


def test_a_unit_that_the_list_lacks(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("via: unitOut", "via: someColour"))
    (finding,) = breaches(folder, "totality")
    assert (finding.field, finding.counter_example) == ("Request/Item/Weight/@unit", "weight = KGM")


def test_a_code_that_never_fits(tmp_path: Path) -> None:
    more = (("codelists/colour.csv", "G,green", "GREEN,green"),)
    change = ("- Colour: {ask: colour}", "- Colour: {ask: colour, limit: {octets: 3, charset: ascii}}")
    found = breaches(plant(tmp_path, change, more=more), "totality")
    assert [(one.field, one.counter_example) for one in found] in (
        [("Request/Colour", "colour = GREEN")],
        [],  # a closed list is its own limit
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{asked: lot, bound: [0, 3]}", "{asked: lot, bound: [0, 2]}"),
        ("{asked: lot, bound: [0, 3]}", "{asked: lot, bound: [1, 3]}"),
        ("bound: [1, 999]", "bound: [2, 999]"),
    ],
)
def test_bounds_that_a_valid_submission_leaves(tmp_path: Path, old: str, new: str) -> None:
    (finding,) = breaches(plant(tmp_path, (old, new)), "totality")
    assert finding.mark.line == line_of(tmp_path, new)


def test_a_request_that_breaks_its_own_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine on trial forgets to demand mandatory fields: what it sends is no valid request."""
    monkeypatch.setattr(submission_split, "check_unique_fields", lambda *_: None)
    found = breaches(plant(tmp_path), "totality", samples=1)
    assert any("breaks its own schema" in one.message and "left out" in one.counter_example for one in found)


def test_a_lack_that_nobody_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine on trial forgets to demand what the declaration must hold."""
    monkeypatch.setattr(submission_split, "check_common_meanings", lambda *_: None)
    more = (
        (SECOND, "mandatory: [item.number]", "mandatory: [item.number, payer.name]"),
        (
            SECOND,
            "{common: hue, via: colourName}",
            "{common: hue, via: colourName, when: {payer.name: {present: yes}}}",
        ),
    )
    found = breaches(plant(tmp_path, more=more), "totality", samples=1)
    assert ("payer.name", SECOND) in {(one.field, one.mark.file) for one in found}


def test_more_combinations_than_are_tried_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_valuations, "MOST_COMBINATIONS", 1)
    found = breaches(plant(tmp_path), "totality")
    assert {finding.field for finding in found} >= {"reason"}
    assert "2 combinations of risky" in found[0].counter_example


@pytest.mark.night
def test_a_submission_that_cannot_be_drawn(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("- Remark: {ask: remark}", "- Remark: {ask: remark, form: digits10}"))
    assert breaches(folder, "totality") == []
    checks = "".join(
        f"  - {{id: {name}, per: item, compare: {{left: weight, {name}: '5'}}, ko: 무게, en: Weight}}\n"
        for name in ("more_than", "less_than")
    )
    folder = plant(tmp_path, ("reads:\n", f"checks:\n{checks}reads:\n"))
    found = breaches(folder, "totality", samples=8)
    assert any("cannot be drawn" in one.message or "can be drawn" in one.message for one in found)


CHECK = "checks:\n  - {{id: limit, per: item, {}, ko: 한도, en: Limit}}\nreads:\n"
ADDED = """  price: {type: amount, currencies: money, decimals: 3, req: M, per: item, means: plant.price, ko: 단가, en: Price}
  most: {type: quantity, unit: %s, req: M, per: item, means: plant.most, ko: 최대, en: Most}
"""
PRICE = ADDED.splitlines(keepends=True)[0]


@pytest.mark.parametrize(
    ("check", "unit", "message"),
    [
        ('sum: {ask: weight}, at_most: "16000"', "EA", "weight may be in one of several units"),
        ('compare: {left: weight, at_most: "16000"}', "EA", "weight may be in one of several units"),
        ("sum: {ask: weight}, at_most: item.number", "EA", "weight may be in one of several units"),
        ("sum: {ask: weight}, at_most: most, when_same: unit", "LTR", "weight and most never have the same"),
        ("sum: {ask: weight}, at_most: most, when_same: unit", "KGM", ""),
        ('compare: {left: weight, more_than: "0"}', "EA", ""),
        ('sum: {ask: most}, at_most: "16000"', "EA", ""),
        ('compare: {left: price, at_least: "1"}', "EA", ""),
    ],
)
def test_a_comparison_must_have_a_unit(tmp_path: Path, check: str, unit: str, message: str) -> None:
    more = "        - Number: {common: item.number}\n"
    folder = plant(
        tmp_path,
        (PRICE, ADDED % unit),
        (more, more + '        - Most: {ask: most, unit: "@unit"}\n'),
        ("reads:\n", CHECK.format(check)),
    )
    found = breaches(folder, "totality")
    assert [one.message[: len(message)] for one in found] == ([message] if message else [])
    assert all(one.mark.line == line_of(tmp_path, "id: limit") for one in found)


@pytest.mark.night
def test_a_mass_is_converted_to_a_unit_of_mass_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mappings"
    shutil.copytree(ROOT / "mappings", folder)
    path = folder / "agencies/EMC/EMC-WASTE-IMP.yaml"
    text = path.read_text("utf-8")
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "- NetMass: {common: item.net_mass" in one)
    before = "NetMass: {common: item.net_mass, convert: {to: KGM"
    assert before in text
    path.write_text(text.replace(before, before.replace("KGM", "LTR")), "utf-8")
    report = check_bundle(load_bundle(folder), sample_count=0, only=["EMC-WASTE-IMP"])
    (finding,) = [one for one in report.findings if one.proof == "totality"]
    assert finding.message == "a measure of mass is converted to LTR, a unit of volume"
    assert finding.mark.line == line
    path.write_text(text.replace(before, before.replace("KGM", "TNE")), "utf-8")
    assert check_bundle(load_bundle(folder), sample_count=0, only=["EMC-WASTE-IMP"]).verdicts["totality"].ok
    common = (folder / "common.yaml").read_text("utf-8")
    wrong = common.replace("type: amount,", "type: amount, dimension: mass,", 1)
    (folder / "common.yaml").write_text(wrong, "utf-8")
    with pytest.raises(GatewayError, match="dimension: expected a measure, which has a unit, found amount"):
        load_bundle(folder)
