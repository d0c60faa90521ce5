"""An inventory becomes a folder of mappings that loads, builds, samples and splits at once."""

from __future__ import annotations

import csv
import io
import json
import re
from importlib import resources
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize import (
    MappingBundle,
    generate_schemas,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.samples import SeededDraws, make_sample
from gateway.share import MemoryPath, get_data_folder
from gateway.wire import SchemaSet, YamlNode, parse_xml, read_yaml, serialize_element
from gateway_workbench import ImportResult, import_inventory
from gateway_workbench.importer import mapping_writer
from gateway_workbench.importer.written_names import write_flow

HARBOUR = Path(__file__).parent / "harbour.yaml"
START = """organisations: [{code: O, name_en: Office, kind: government}]
documents:
- id: D
  organisation: O
  direction: import
"""
ITEM = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem"


def imported(text: str, *documents: str) -> ImportResult:
    return import_inventory(text.encode(), "inventory.yaml", get_data_folder("mappings"), documents)


def loaded(text: str) -> MappingBundle:
    return load_bundle(MemoryPath(imported(text).files))


def document(text: str) -> str:
    return imported(text).files["agencies/O/D.yaml"].decode()


@pytest.fixture(scope="module")
def harbour() -> ImportResult:
    """Return what an agency of our own invention becomes."""
    return import_inventory(HARBOUR.read_bytes(), "harbour.yaml", get_data_folder("mappings"))


@pytest.fixture(scope="module")
def harbour_bundle(harbour: ImportResult) -> MappingBundle:
    """Return its mappings."""
    return load_bundle(MemoryPath(harbour.files))


@pytest.fixture(scope="session")
def submission_schema() -> SchemaSet:
    """Return the schema of submissions."""
    return SchemaSet.load_cached(get_data_folder("xsd"), "hub/submission.xsd", DOCUMENT_INVALID)


def serve(bundle: MappingBundle, name: str, seeds: int, schema: SchemaSet) -> None:
    """Demand that samples are valid, split without problem, and that requests fit their schema."""
    asked = bundle.documents[name]
    files = generate_schemas(bundle)
    requests = etree.XMLSchema(etree.fromstring(files[f"{asked.schema_stem}.xsd"].encode()))
    for seed in range(seeds):
        root = parse_xml(make_sample(bundle, asked, str(seed), 1 + seed % 3))
        schema.validate_document(root)
        result = split_submission(root, bundle, make_placeholder_numbers(root))
        assert [trouble.detail for trouble in result.problems] == []
        assert result.unaccounted_leaves == ()
        for request in result.requests:
            requests.assertValid(etree.fromstring(serialize_element(request.xml)))


@pytest.mark.night
@pytest.mark.parametrize("name", ["HMA-DANGER-IMP", "TUG_ORDER.1", "hma.empty"])
def test_an_invented_agency_is_served(
    harbour_bundle: MappingBundle, submission_schema: SchemaSet, name: str
) -> None:
    serve(harbour_bundle, name, 8, submission_schema)


def test_the_invented_agency_says_everything(harbour: ImportResult, harbour_bundle: MappingBundle) -> None:
    counts = harbour.counts["HMA-DANGER-IMP"]
    assert (counts["conditions"], counts["conditions_open"]) == (8, 1)
    assert (counts["invariants"], counts["invariants_open"]) == (5, 1)
    asks = harbour_bundle.documents["HMA-DANGER-IMP"].ask_names
    assert asks["drum.layer.probe.depth"].units == ("CMT", "MMT")
    assert (asks["watch_phone"].repeat.low, asks["watch_phone"].repeat.high) == (1, 5)
    assert asks["insured"].units == ("EUR", "KRW")
    assert asks["plate"].shape.pattern == "[0-9]{2,3}[가-힣][0-9]{4}"
    assert asks["sheet"].max_mib == 1
    assert asks["berth"].shape.codes == ("01", "02", "NO", "1E3")
    kinds = {(one.document, one.kind) for one in harbour.findings}
    assert {
        ("HMA-DANGER-IMP", kind) for kind in ("condition", "invariant", "pattern", "list", "fee", "common")
    } <= kinds
    assert {("TUG_ORDER.1", kind) for kind in ("law", "unit", "length", "level", "name", "label")} <= kinds


def test_what_is_common_is_not_asked_again(harbour: ImportResult, harbour_bundle: MappingBundle) -> None:
    rows = list(csv.DictReader(io.StringIO(harbour.files["reconciled.csv"].decode())))
    assert {(row["field"], row["decision"]) for row in rows} == {
        ("origin_country", "common item.origin"),
        ("net_weight", "common item.net_mass"),
        ("planned_arrival", "common arrival_at"),
    }
    asked = harbour_bundle.documents["HMA-DANGER-IMP"]
    assert not {"origin_country", "net_weight", "planned_arrival"} & set(asked.ask_names)
    assert {"item.origin", "item.net_mass", "arrival_at"} <= {need.meaning.name for need in asked.needs}


def test_the_same_inventory_gives_the_same_files(harbour: ImportResult) -> None:
    again = import_inventory(HARBOUR.read_bytes(), "harbour.yaml", get_data_folder("mappings"))
    assert again.files == harbour.files


def test_only_the_chosen_documents_are_imported() -> None:
    found = import_inventory(HARBOUR.read_bytes(), "h", get_data_folder("mappings"), ["TUG_ORDER.1"])
    assert [name for name in found.files if name.startswith("agencies/")] == ["agencies/TUG/TUG_ORDER.1.yaml"]
    assert "HMA" not in found.files["organisations.yaml"].decode()
    with pytest.raises(GatewayError, match="no document 'NOPE'"):
        import_inventory(HARBOUR.read_bytes(), "h", get_data_folder("mappings"), ["NOPE"])


def test_an_unknown_organisation_is_refused() -> None:
    with pytest.raises(GatewayError, match=r"D\.organisation: expected one of organisations: O, found Q"):
        imported(START.replace("organisation: O", "organisation: Q"))


@pytest.mark.night
def test_a_path_that_the_dictionary_lacks_becomes_a_meaning() -> None:
    one = f"{{path: {ITEM}/TransactionNatureCode, format: n..2, as: nature, card: '1'}}"
    bundle = loaded(START + f"  common: [{one}]\n")
    (need,) = [need for need in bundle.documents["D"].needs if need.meaning.name.endswith("nature_code")]
    assert (need.meaning.name, need.mandatory, need.meaning.wco) == (
        "item.transaction_nature_code",
        True,
        "103",
    )
    assert need.meaning.shape.pattern == "[0-9]{1,2}"


@pytest.mark.parametrize(
    ("form", "kind", "decimals"),
    [("n..16,6", "decimal", 6), ("n..16,0", "text", None), ("an..16", "text", None)],
)
def test_a_number_with_decimals_keeps_them_whatever_its_path_is_called(
    form: str, kind: str, decimals: int | None
) -> None:
    common = f"  common: [{{path: {ITEM}/TransactionNatureCode, format: '{form}', as: nature, card: '1'}}]\n"
    meaning = loaded(START + common).dictionary.meanings["item.transaction_nature_code"]
    assert (meaning.type, meaning.shape.fraction_digits) == (kind, decimals)


@pytest.mark.night
def test_a_path_that_no_submission_can_say_is_asked() -> None:
    bundle = loaded(START + "  common: [{path: Declaration/Pilot/Name, card: '1', ext: true}]\n")
    assert bundle.documents["D"].ask_names["pilot_name"].requirement.mandatory


@pytest.mark.night
def test_a_shipped_list_with_the_same_codes_is_shared() -> None:
    lists = "code_lists: {{firstOrRepeat: {{F: first, S: same, R: {}}}}}\n"
    field = "  unique: [{name: f, type: code, level: item, code_list: firstOrRepeat}]\n"
    assert "list: firstOrRepeat," in document(lists.format("again") + START + field)
    text = document("code_lists: {firstOrRepeat: {F: first}}\n" + START + field)
    assert "list: firstOrRepeat2," in text


@pytest.mark.night
def test_a_common_meaning_by_name_label_or_path_is_not_asked() -> None:
    fields = [
        "{name: importer_name, type: text, max_length: 9, level: header}",
        "{name: settled_amount, name_ko: 결제금액, type: amount, level: header}",
        f"{{name: what, type: text, level: item, path: {ITEM}/Commodity/Description}}",
        "{name: permit_no, type: identifier, level: item, req: M}",
        "{name: vessel_name, type: text, level: header}",
        "{name: kind, name_ko: 신고구분, type: code, code_list: {A: b}, level: item}",
        "{name: declaration_type, type: code, code_list: {A: b}, level: header}",
        "{name: country_of_origin, type: code, code_list: ISO3166-1-alpha2, level: header}",
    ]
    found = imported(START + f"  unique: [{', '.join(fields)}]\n")
    rows = csv.DictReader(io.StringIO(found.files["reconciled.csv"].decode()))
    assert {(row["field"], row["decision"]) for row in rows} == {
        ("importer_name", "common importer.name"),
        ("settled_amount", "common invoice.amount"),
        ("what", "common item.description"),
        ("permit_no", "common product.permit"),
    }
    perhaps = [one.field for one in found.findings if one.kind == "perhaps common"]
    assert perhaps == ["kind", "declaration_type", "country_of_origin"]
    text = found.files["agencies/O/D.yaml"].decode()
    assert "- ImporterName: {common: importer.name, limit: {chars: 9}}" in text
    assert "product.permit" in text.partition("optional")[0]


def test_a_condition_on_a_field_that_became_common_names_the_meaning() -> None:
    path = f"{ITEM}/Origin/CountryCode"
    fields = f"{{name: made_in, type: code, code_list: ISO3166-1-alpha2, level: item, path: {path}}}"
    other = "{name: why, type: text, max_length: 9, level: item, req: C, condition: \"made_in == 'CN'\"}"
    assert "req: {when: {item.origin: {is: CN}}}" in document(START + f"  unique: [{fields}, {other}]\n")


@pytest.mark.night
def test_a_header_field_may_depend_on_the_items(submission_schema: SchemaSet) -> None:
    fields = "{name: place, type: text, max_length: 9, level: header, req: C, condition: \"use in ['A']\"}"
    other = "{name: use, type: code, code_list: [A, B], level: item, req: M}"
    bundle = loaded(START + f"  unique: [{fields}, {other}]\n")
    serve(bundle, "D", 8, submission_schema)


AWKWARD = [
    "090",
    "NO",
    "a: b",
    "x # y",
    "- z",
    "{q}",
    "한글",
    'say "so"',
    "it's",
    "\u2028",
    "tab\there",
    "~",
    "*a",
    " pad ",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_every_text_is_read_back(text: str) -> None:
    node = read_yaml(write_flow({text: [text, {"k": text}]}).encode(), "x")

    def plain(node: YamlNode) -> object:
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, list):
            return [plain(one) for one in node.value]
        return {key: plain(one) for key, one in node.value.items()}

    assert plain(node) == {text: [text, {"k": text}]}


@pytest.mark.night
@pytest.mark.vectors
def test_the_whole_inventory_of_thirty_three_documents(vectors: Path, submission_schema: SchemaSet) -> None:
    content = (vectors / "data" / "field-inventory.yaml").read_bytes()
    found = import_inventory(content, "field-inventory.yaml", get_data_folder("mappings"))
    bundle = load_bundle(MemoryPath(found.files))
    assert (len(bundle.documents), len(bundle.organisations)) == (33, 17)
    total = {
        key: sum(counts[key] for counts in found.counts.values()) for key in found.counts["KFDA-FOOD-IMP"]
    }
    assert (total["conditions"], total["conditions_open"]) == (30, 2), json.dumps(total)
    assert (total["invariants"], total["invariants_open"]) == (4, 1)
    for name in bundle.documents:
        serve(bundle, name, 1, submission_schema)


@pytest.mark.night
def test_the_inventory_of_the_manual_becomes_what_the_manual_says(submission_schema: SchemaSet) -> None:
    page = resources.files("gateway").joinpath("manual", "inventory.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    bundle = loaded(text)
    asked = bundle.documents["HMA-PILOT-IMP"].ask_names
    assert list(asked) == ["berth", "tug_no", "cargo", "cargo.kind", "cargo.pct"]
    assert asked["tug_no"].shape.pattern == "TUG-[0-9]{1,5}"
    assert imported(text).findings == ()
    serve(bundle, "HMA-PILOT-IMP", 4, submission_schema)


@pytest.mark.night
def test_an_invariant_that_no_check_can_say_is_left_to_a_person() -> None:
    """Whatever a clause names, the import goes through and names the line."""
    fields = "{name: q, type: quantity, req: M, level: item, unit: KGM}"
    money = "{name: pr, type: amount, req: M, level: item}"
    rules = ["sum(pr * q) <= invoice.amount", "sum(q) <= invoice.amount", "distinct(q)", "sum(q) <= 100000"]
    listed = "".join(f"  - {rule}\n" for rule in rules)
    text = START + f"  unique: [{fields}, {money}]\n  invariants:\n{listed}"
    (found,) = [one for one in imported(text).findings if one.kind == "invariant"]
    assert "'sum(q) <= invoice.amount'" in found.text
    assert str(found.mark) == "inventory.yaml:9"
    only = START + f"  unique: [{fields}]\n  invariant: sum(q) <= invoice.amount\n"
    assert "invoice.amount}" not in document(only)  # what is not checked is not sent either
    checks = loaded(text).documents["D"].checks
    assert {check.per for check in checks} == {"application"}
    assert [[one.name for one in check.factors] for check in checks] == [["q", "pr"], ["q"], ["q"]]


@pytest.mark.night
def test_a_check_that_the_language_refuses_is_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mapping_writer, "translate_clause", lambda *_, **__: {"per": "nowhere", "distinct": "colour"}
    )
    field = "{name: colour, type: text, max_length: 9, level: header, invariant: distinct(colour)}"
    found = imported(START + f"  unique: [{field}]\n")
    (one,) = [one for one in found.findings if one.kind == "invariant"]
    assert "application, item or a group, found nowhere" in one.text
    assert load_bundle(MemoryPath(found.files)).documents["D"].checks == ()


def test_a_wrong_id_of_an_element_is_refused() -> None:
    with pytest.raises(
        GatewayError, match=r"D\.common\.wco_id: expected the id of the element, R037, found R0"
    ):
        imported(START + "  common: [{path: Declaration/GoodsShipment/Importer/Name, wco_id: R038}]\n")


def test_what_the_inventory_leaves_open_is_listed() -> None:
    fields = [
        "{name: a, type: text, max_length: 9, req: C, level: item}",
        "{name: b, type: text, max_octets: 9, charset: EUC-KR, level: item}",
        "{name: c, type: identifier, max_length: 9, level: item, pattern: 'x{1000000000}'}",
        "{name: d, type: identifier, max_length: 9, level: item, pattern: 'x{99999999999}'}",
    ]
    found = {
        (one.field, one.kind): one.text
        for one in imported(START + f"  unique: [{', '.join(fields)}]\n").findings
    }
    assert "without a condition" in found["a", "condition"]
    assert "larger than 9999" in found["c", "pattern"]
    assert "larger than 9999" in found["d", "pattern"]


@pytest.mark.night
def test_samples_keep_imported_sums_and_comparisons(submission_schema: SchemaSet) -> None:
    share = "{name: pct, type: measure, req: M, unit: P1, range: [0, 100], decimals: 2}"
    fields = [
        "{name: s, type: group, req: M, level: item, repeat: 1..9, invariant: sum(pct) ~= 100, "
        f"fields: [{share}]}}",
        "{name: low, type: measure, req: M, level: item, unit: MHZ, invariant: low <= high}",
        "{name: high, type: measure, req: M, level: item, unit: MHZ}",
        "{name: since, type: date, req: M, level: header, invariant: since < until}",
        "{name: until, type: date, req: M, level: header}",
    ]
    bundle = loaded(START + f"  unique: [{', '.join(fields)}]\n")
    assert len(bundle.documents["D"].checks) == 3
    serve(bundle, "D", 12, submission_schema)


@pytest.mark.night
@pytest.mark.parametrize("seed", range(40))
def test_a_broken_inventory_is_refused_with_its_line_or_loads(seed: int) -> None:
    """Lines are lost, doubled or changed: no traceback, and no folder that does not load."""
    draws, lines = SeededDraws(f"broken/{seed}"), HARBOUR.read_text("utf-8").splitlines()
    for _ in range(2):
        at = draws.draw_number(0, len(lines) - 1)
        kind = draws.draw_number(1, 4)
        if kind == 1:
            del lines[at]
        elif kind == 2:
            lines.insert(at, draws.choose_one(lines))
        else:
            word = draws.choose_one(
                ("null", "x", "[]", "{}", "-1", "group", "0..n", "'a == '", "'(('", "'[a'", "HMA")
            )
            lines[at] = re.sub(r": [^,{}\[\]]+", f": {word}", lines[at], count=kind - 2)
    refused = ""
    try:
        load_bundle(
            MemoryPath(
                import_inventory("\n".join(lines).encode(), "broken.yaml", get_data_folder("mappings")).files
            )
        )
    except GatewayError as error:
        refused = str(error)
    assert not refused or re.search(r" at broken\.yaml:[0-9]+$", refused)


def test_an_import_says_where_a_check_compares_only_values_of_one_unit() -> None:
    fields = "{name: a, name_ko: 가, type: measure, level: item, units: [KGM, LTR]}"
    other = "{name: b, name_ko: 나, type: measure, level: header, units: [KGM, LTR]}"
    rules = "[sum(a) <= b, sum(a) <= 16000]"
    found = imported(START + f"  unique: [{fields}, {other}]\n  invariants: {rules}\n  law_codes: ['55']\n")
    said = [(one.kind, one.text) for one in found.findings]
    assert said == [
        (
            "units",
            "the invariant 'sum(a) <= b' is not checked where the units differ (when_same: unit)",
        ),
        (
            "invariant",
            "the invariant 'sum(a) <= 16000' cannot be read (a may be in one of several units (KGM, LTR), "
            "and 16000 has none: give the field one unit): it is not checked",
        ),
    ]
    assert {str(one.mark) for one in found.findings} == {"inventory.yaml:7"}
    text = found.files["agencies/O/D.yaml"].decode()
    assert (
        "  # to finish: document: the invariant 'sum(a) <= b' is not checked where the units differ" in text
    )


def test_a_condition_that_ignores_units_is_told() -> None:
    fields = [
        "{name: mass, name_ko: 가, type: measure, level: item, units: [KGM, GRM]}",
        "{name: fee, name_ko: 나, type: amount, level: item, currency: ISO 4217}",
        "{name: pct, name_ko: 다, type: measure, level: item, unit: P1}",
        *(
            f"{{name: f{number}, name_ko: 라, type: date, level: item, req: C, condition: '{text}'}}"
            for number, text in enumerate(
                [
                    "mass > 25 or not (fee >= 5)",
                    "mass > 0",
                    "pct > 5%",
                    "mass is present",
                    "item.net_mass < 7",
                ]
            )
        ),
    ]
    found = imported(START + f"  law_codes: ['55']\n  unique: [{', '.join(fields)}]\n")
    said = [(one.field, one.kind, one.text.partition("compares ")[2]) for one in found.findings]
    assert said == [
        ("f0", "units", "the number of fee whatever its unit: any currency"),
        ("f0", "units", "the number of mass whatever its unit: KGM, GRM"),
        ("f4", "units", "the number of item.net_mass whatever its unit: any unit"),
    ]
