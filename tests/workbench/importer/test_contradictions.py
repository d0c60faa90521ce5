"""What an inventory says twice and differently: listed as work that is left, with its line."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.share import MemoryPath, get_data_folder
from gateway_workbench import ImportResult, import_inventory

START = """organisations: [{code: O, name_en: Office, kind: government}]
documents:
- id: D
  organisation: O
  direction: import
  law_codes: ['55']
  unique:
"""


def imported(fields: str, head: str = START) -> ImportResult:
    return import_inventory((head + fields).encode(), "inventory.yaml", get_data_folder("mappings"))


def list_findings(found: ImportResult) -> list[tuple[str, str, str]]:
    return [(one.field, one.kind, f"{one.text}; {one.mark}") for one in found.findings]


GROUP = (
    "  - name: g\n    name_ko: 가\n    type: group\n{}    repeat: 1..3\n    fields:\n"
    "    - {{name: x, name_ko: 나, type: date}}\n"
    "    - {{name: y, name_ko: 다, type: date{}}}\n"
)


@pytest.mark.night
@pytest.mark.parametrize(
    ("level", "member", "words"),
    [
        (
            "header",
            "item",
            "level item is said of y, but the group is of level header: it is asked for the whole ",
        ),
        (
            "item",
            "header",
            "level header is said of y, but the group is of level item: it is asked for each item",
        ),
        (
            "",
            "item",
            "level item is said of y, but the group says none, and header is taken: it is asked for the",
        ),
    ],
)
def test_a_level_that_contradicts_its_group_is_told(level: str, member: str, words: str) -> None:
    own = f"    level: {level}\n" if level else ""
    found = imported(GROUP.format(own, f", level: {member}"))
    told = [one for one in found.findings if one.text.startswith("level")]
    assert [(one.field, one.kind) for one in told] == [("g", "level")]
    assert told[0].text.startswith(words)
    assert str(told[0].mark) == f"inventory.yaml:{15 if level else 14}"
    assert "# to finish: level " in found.files["agencies/O/D.yaml"].decode()


@pytest.mark.night
@pytest.mark.parametrize("level", ["header", "item"])
def test_a_level_that_repeats_that_of_its_group_is_nothing(level: str) -> None:
    assert list_findings(imported(GROUP.format(f"    level: {level}\n", f", level: {level}"))) == []


@pytest.mark.night
@pytest.mark.parametrize(
    ("currencies", "decimals", "words"),
    [
        ("[KRW]", 2, "more decimals (2) than ISO 4217 gives: KRW 0"),
        ("[KRW, JPY]", 1, "more decimals (1) than ISO 4217 gives: KRW 0, JPY 0"),
        ("[KRW, USD]", 0, "fewer decimals (0) than ISO 4217 gives: USD 2"),
        ("[KRW, USD]", 2, ""),
        ("[KRW]", 0, ""),
        ("ISO 4217", 4, ""),
    ],
)
def test_decimals_that_the_currencies_do_not_have_are_told(
    currencies: str, decimals: int, words: str
) -> None:
    field = f"name: fee, name_ko: 비, type: amount, level: item, currencies: {currencies}"
    found = imported(f"  - {{{field},\n     decimals: {decimals}}}\n")
    assert list_findings(found) == ([("fee", "currency", f"{words}; inventory.yaml:9")] if words else [])
    assert bool(words) == ("# to finish: " + (words or "more") in found.files["agencies/O/D.yaml"].decode())


@pytest.mark.night
@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ("[0.005, 10]", "the bound 0.005 of the range has more decimals than the field (2)"),
        ("[0, 9.999]", "the bound 9.999 of the range has more decimals than the field (2)"),
        ("[-0.050, 1000000000000000000000000000000000000000.0]", ""),
    ],
)
def test_a_range_that_is_finer_than_the_decimals_is_told(bounds: str, words: str) -> None:
    field = "name: q, name_ko: 양, type: measure, level: item, unit: KGM, decimals: 2"
    found = imported(f"  - {{{field},\n     range: {bounds}}}\n")
    assert list_findings(found) == ([("q", "range", f"{words}; inventory.yaml:9")] if words else [])


def test_an_amount_without_a_currency_is_told() -> None:
    found = imported("  - {name: fee, name_ko: 비, type: amount, level: item}\n")
    text = "the inventory says no currency; any of ISO 4217 passes"
    assert list_findings(found) == [("fee", "currency", f"{text}; inventory.yaml:8")]


@pytest.mark.night
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "wco_id: R037",
            "its WCO id R037 is that of Declaration/GoodsShipment/Importer/Name; if it is importer.name",
        ),
        ("wco_id: X999", "no element of the declaration has the WCO id X999"),
        ("wco_id: R037, path: Declaration/GoodsShipment/Importer/Name", ""),
        ("path: Nowhere/At/All, wco_id: X999", ""),
    ],
)
def test_a_wco_id_without_its_path_is_told(more: str, words: str) -> None:
    found = imported(f"  - {{name: word, name_ko: 글, type: text, max_length: 9, level: item, {more}}}\n")
    told = [one for one in found.findings if one.kind == "wco_id"]
    assert [(one.field, str(one.mark), one.text[: len(words)]) for one in told] == (
        [("word", "inventory.yaml:8", words)] if words else []
    )


def test_a_wco_id_of_another_path_is_refused() -> None:
    field = "name: who, name_ko: 누, type: text, path: GoodsShipment/Importer/Name"
    with pytest.raises(GatewayError) as refused:
        imported(f"  - {{{field},\n     wco_id: R038}}\n")
    wanted = "GW502 D.unique.who.wco_id: expected the id of the element, R037, found R038"
    assert str(refused.value) == f"{wanted} at inventory.yaml:9"


@pytest.mark.night
@pytest.mark.parametrize(
    ("document", "office", "other"),
    [
        ("KFDA-Z-IMP", "O", "KFDA"),
        ("KFDA-X-IMP", "O", "KFDA-X"),
        ("P.X", "O", "P"),
        ("O-KFDA", "O", ""),
        ("KFDAX-IMP", "O", ""),
        ("KFDA-X", "KFDA-X", ""),
        ("KFDA-X-IMP", "KFDA-X", ""),
    ],
)
def test_the_prefix_of_another_organisation_is_told(document: str, office: str, other: str) -> None:
    offices = "[{code: O, kind: government}, {code: P, kind: government}, {code: KFDA-X, kind: government}]"
    head = f"organisations: {offices}\n" + START.partition("\n")[2]
    head = head.replace("id: D", f"id: {document}").replace("organisation: O", f"organisation: {office}")
    text = f"the id of the document begins with {other}, which is another organisation; inventory.yaml:3"
    assert list_findings(imported("  []\n", head.replace("unique:\n", "unique:"))) == (
        [("", "id", text)] if other else []
    )


NUMBER = "{name: n, name_ko: 수, type: measure, req: M, unit: P1, range: [0, 10]}"
LISTED = (
    "  - {name: top, name_ko: 합, type: quantity, req: M, level: item, unit: P1, range: [500, 600]}\n"
    "  - name: g\n    name_ko: 가\n    type: group\n    level: item\n    req: M\n    repeat: 1..5\n"
    f"    fields:\n    - {NUMBER}\n"
    "    - {name: m, name_ko: 량, type: measure, unit: P1, range: [-2, 3]}\n"
    "    - {name: free, name_ko: 량, type: measure, unit: P1}\n"
    "    - {name: a, name_ko: 에, type: date, req: M}\n"
    "    - {name: b, name_ko: 비, type: date}\n"
    "    - {name: c, name_ko: 시, type: date, req: M}\n"
    "    invariant: "
)


@pytest.mark.night
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("sum(n) == 51", "0 to 50 is compared with 51"),
        ("sum(n) >= top", "0 to 50 is compared with 500 to 600"),
        ("sum(n * m) < -100", "-100 to 150 is compared with -100"),
        ("n > 10", "0 to 10 is compared with 10"),
        ("n ~= 10.6", "0 to 10 is compared with 10.6"),
        ("top == n", "500 to 600 is compared with 0 to 10"),
        ("sum(n) == 50", ""),
        ("sum(n * m) <= -100", ""),
        ("n ~= 10.5", ""),
        ("sum(free) == 100000", ""),
        ("n <= free", ""),
        ("a <= b", ""),
    ],
)
def test_a_check_that_no_value_in_range_can_pass_is_told(rule: str, words: str) -> None:
    found = imported(LISTED + rule + "\n")
    text = f"the invariant '{rule}' is not checked: by the ranges of the fields it never holds: {words}"
    assert [(one.text, str(one.mark)) for one in found.findings] == (
        [(text, "inventory.yaml:22")] if words else []
    )
    assert len(load_bundle(MemoryPath(found.files)).documents["D"].checks) == (not words)


def test_a_total_of_all_items_is_bounded_by_their_number() -> None:
    fields = f"  - {NUMBER[:-1]}, level: item}}\n  invariants:\n  - sum(n) == 9990\n  - sum(n) == 9991\n"
    ((_, _, text),) = list_findings(imported(fields))
    assert text == (
        "the invariant 'sum(n) == 9991' is not checked: by the ranges of the fields it never holds: "
        "0 to 9990 is compared with 9991; inventory.yaml:11"
    )


@pytest.mark.night
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("one_of(a, b)", "g.a is mandatory, so it always holds"),
        ("all_or_none(a, c)", "all are mandatory, so it always holds"),
        ("exactly_one(b, c)", "g.c is mandatory, so no other could be given"),
        ("exactly_one(b, m)", ""),
        ("all_or_none(a, b)", ""),
        ("one_of(b, m)", ""),
    ],
)
def test_a_rule_on_given_fields_that_always_holds_is_told(rule: str, words: str) -> None:
    found = imported(LISTED + rule + "\n")
    text = f"the invariant '{rule}' is not checked: {words}"
    assert [(one.text, str(one.mark)) for one in found.findings] == (
        [(text, "inventory.yaml:22")] if words else []
    )


@pytest.mark.night
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("sum(n) <= 5", "n is no field of that name here: say g.n"),
        ("sum(nn) <= 5", "nn is no field of the document"),
        ("sum(g.n) <= top", "top stands more than once beside a total of all items: say it at top"),
    ],
)
def test_what_should_be_said_instead_is_told(rule: str, words: str) -> None:
    found = imported(LISTED.replace("    invariant: ", f"  invariants: ['{rule}']\n"))
    text = f"the invariant '{rule}' cannot be read ({words}): it is not checked; inventory.yaml:22"
    assert list_findings(found) == [("", "invariant", text)]


def test_each_line_to_finish_has_the_place_of_what_it_is_about() -> None:
    fields = """  - name: a
    type: text
    level: item
    max_length: 5
    req: C
    condition: nothing == 'x'
  - name: b
    name_ko: 나
    type: measure
    level: item
    unit: KG
  - name: c
    name_ko: 다
    type: identifier
    level: item
    max_length: 5
    pattern: '(?=A)A'
  - name: d
    name_ko: 라
    type: code
    level: item
    code_list: {X: x}
"""
    found = imported(fields)
    assert [(one.field, one.kind, str(one.mark)) for one in found.findings] == [
        ("b", "unit", "inventory.yaml:18"),
        ("c", "pattern", "inventory.yaml:24"),
        ("d", "label", "inventory.yaml:29"),
        ("a", "condition", "inventory.yaml:13"),
        ("a", "label", "inventory.yaml:8"),
    ]
