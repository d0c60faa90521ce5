# ruff: noqa: E501 (tables and texts with long lines)
"""A wrong mapping is refused with file, line, field, what was expected and what was found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.wire import read_yaml
from tests.harmonize import small_bundle

MESSAGE = re.compile(r"GW502 .+: expected .+, found .+ at [^ ]+:\d+")

STRICT = [
    (b"a: 1\na: 2\n", 2, "'a' again, first in line 1"),
    (b"a: &x 1\nb: *x\n", 1, "an anchor or an alias"),
    (b"a: !!int 1\n", 1, "tag:yaml.org,2002:int"),
    (b"a: 1\n---\nb: 2\n", 2, "another document"),
    (b"a: [1\n", 2, "found"),
    (b"? [a]\n: 1\n", 1, "a text as key"),
    (b"a: \xff\n", 1, "octet 0xff at position 4"),
    (b"a: !!str 1\n", 1, "tag:yaml.org,2002:str"),
    (b"a:\n- b\n- !!map {c: d}\n", 3, "tag:yaml.org,2002:map"),
    (b'a: b\nen: "x\\x01"\n', 2, "en: expected characters that XML 1.0 can carry, found \\x01"),
    (b'a: b\nen: "\\uFFFE"\n', 2, "\\ufffe"),
    (b'en:\n- "\\uFFFF"\n', 2, "\\uffff"),
    (b'"k\\x08": v\n', 1, "\\x08"),
    (b"", 1, "nothing"),
    (b"[" * 40 + b"]" * 40, 1, "deeper nesting"),
    (b"x" * 2_000_001, 1, "2000001"),
]


@pytest.mark.parametrize(("content", "line", "words"), STRICT, ids=[words for _, _, words in STRICT])
def test_yaml_is_read_strictly(content: bytes, line: int, words: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read_yaml(content, "x.yaml")
    assert refused.value.problem.id == "GW502"
    assert refused.value.location == f"x.yaml:{line}"
    assert words in str(refused.value)


def test_every_scalar_is_a_text() -> None:
    node = read_yaml(b"a: 090\nb: NO\nc: 1E3\nd: null\ne: ''\nf: 2026-01-01\n", "x.yaml")
    assert isinstance(node.value, dict)
    assert [one.value for one in node.value.values()] == ["090", "NO", "1E3", "null", "", "2026-01-01"]


# file, text, replacement, words of the message, text of the line that is named
WRONG = [
    ("document", "direction: import", "direktion: import", "the key 'direction'", "document: TINY"),
    ("document", "reads:", "extra: 1\nreads:", "unknown key 'extra'", "extra: 1"),
    ("document", "direction: import", "direction: sideways", "one of export, import, found sideways", "sideways"),
    ("document", "organisation: ORG", "organisation: NONE", "one of ORG, found NONE", "NONE"),
    ("document", "withholds: unlisted", "withholds: nothing", "one of unlisted", "withholds"),
    ("document", "list: colour, req: M", "list: color, req: M", "a code list of codelists.yaml, found color", "  colour:"),
    ("document", "means: place", "means: colour", "a meaning of its own (colour has it)", "  place:"),
    ("document", "means: place", "means: importer.name", "a meaning that is not common (common.yaml:8)", "  place:"),
    ("document", "means: place, ", "", "the key 'means'", "  place:"),
    ("document", "{common: previous}", "{common: item.hs}", "a line inside each item", "Previous"),
    ("document", "{common: previous}", "{common: payer.name}", "a meaning that the document lists under needs", "Previous"),
    ("document", "{common: previous}", "{common: prior}", "a meaning of the dictionary, found prior", "Previous"),
    ("document", "{common: previous}", "{ask: risky}", "a line inside each item (the field is per item)", "Previous"),
    ("document", "{common: previous}", "{ask: animal.tag}", "a line inside each animal", "Previous"),
    ("document", "{common: previous}", "{common: bills}", "a bound where a meaning has many values only", "Previous"),
    ("document", "{common: previous}", "{common: previous, const: x}", "one source of", "Previous"),
    ("document", "{common: previous}", "{common: previous, unit: '@u'}", "a value that carries @unitCode", "Previous"),
    ("document", "{common: previous}", "{common: previous, via: colour}", "a code list with a translation", "Previous"),
    ("document", "{common: previous}", "{common: previous, form: YYMMDD}", "one of CCYYMM, CCYYMMDD", "Previous"),
    ("document", "{common: previous}", "{common: previous, eval: x}", "unknown key 'eval'", "Previous"),
    ("document", "{const: T1}", "{hub: password}", "one of application_number", "Kind"),
    ("document", "Kind: {const: T1}", "Day: {const: T1}", "each target once, found Day again, first in line 34", "  - Day: {common"),
    ("document", "- Kind:", "- 'Ki nd':", "a path of names", "Ki nd"),
    ("document", "charset: euc-kr}}\n  - Party/ID[@scheme=B]", "charset: ebcdic}}\n  - Party/ID[@scheme=B]", "one of ascii, cp949, euc-kr, utf-8", "Party/ID[@scheme=A]"),
    ("document", "octets: 12, charset: utf-8", "octets: 12", "a charset beside octets", "Party/ID[@scheme=B]"),
    ("document", "serial: T%03d", "serial: T%s", "a prefix and %0Nd", "T%s"),
    ("document", "index: seal", "index: animal", "a group around this line", "Position"),
    ("document", "each: {asked: animal, ", "each: {asked: colour, ", "an asked group", "asked: colour"),
    ("document", "bound: [1, 999]", "bound: [9, 1]", "a whole number from 9", "bound: [9, 1]"),
    ("document", "bound: [1, 999]", "bound: [1]", "two numbers [low, high]", "bound: [1]"),
    ("document", "multiply: [weight, price]", "multiply: [weight]", "two to 10 factors", "Value"),
    ("document", "round: half_up", "round: nearest", "one of half_even, half_up", "Value"),
    ("document", 'risky: {is: "true"}}, otherwise', "riskly: {is: x}}, otherwise", "an asked field or a common meaning, found riskly", "  reason:"),
    ("document", 'risky: {is: "true"}}, otherwise', "risky: {is: maybe}}, otherwise", "a code of risky, found maybe", "  reason:"),
    ("document", 'risky: {is: "true"}}, otherwise', "risky: {like: x}}, otherwise", "is, in, in_list, present or", "  reason:"),
    ("document", 'risky: {is: "true"}}, otherwise', "risky: {at_least: x}}, otherwise", "a number, found x", "  reason:"),
    ("document", 'risky: {is: "true"}}, otherwise', "risky: {is: x}, colour: {is: x}}, otherwise", "2 keys", "  reason:"),
    ("document", "sum: {ask: animal.share}", "sum: {ask: colour}", "an asked number, found colour", "id: shares"),
    ("document", "at_most: amount", "at_most: importer.name", "a number or a common meaning that is one", "id: total"),
    ("document", "        - Sure: {ask: risky, when: {not: {risky: {is: \"true\"}}}}\n        - Weight", "        - Weight", None, ""),
    ("document", "  - PlaceName: {ask: place, via: placeName, unknown_code: omit}\n", "", "a target for every asked field", "  place:"),
    ("document", "[issued_at, importer.name, ", "[issued_at, issued_at, importer.name, ", "each meaning once", "issued_at, issued_at"),
    ("document", "optional: [amount", "optional: [gold", "a meaning of the dictionary, found gold", "gold"),
    ("document", "[A-Z][0-9]{1,7}", "([A-Z]+)+", "a row of characters and classes", "tag: {type: id"),
    ("document", "[A-Z][0-9]{1,7}", "[A-Z][9-0]{1,7}", "a row of characters and classes", "tag: {type: id"),
    ("document", "{common: previous}", "{ask: nothing}", "a field that the document asks, found nothing", "Previous"),
    ("document", "{ask: risky, when", "{ask: animal, when", "a field that the document asks, found animal", "Sure"),
    ("document", "root: Request", "root: Re quest", "the name of an element", "Re quest"),
    ("document", "Party/ID[@scheme=B]", "Party/ID[@kind=B]", "elements ID that differ in one attribute", "@kind=B"),
    ("document", "Party/ID[@scheme=B]", "Party/ID", "elements ID that differ in one attribute", "Party/ID:"),
    ("document", "Party/@colour", "Party/ID[@scheme=A]/X", "an element without a value around X", "scheme=A]/X"),
    ("document", "- Previous:", "- Kind/Previous:", "an element without a value around Previous", "Kind/Previous"),
    ("document", "  - Items: {count: items}\n  - Line:", "  - Line:", None, ""),
    ("document", "units: [KGM, EA], ", "", "either unit or units", "  weight:"),
    ("document", 'law: ["99"]', "law: []", "the code of a law at least, found none", "law: []"),
    ("document", "- Previous:", "- Previous/@xmlns:", "a name that XML does not keep for itself (xml…), found xmlns", "@xmlns"),
    ("document", "- Previous:", "- Previous[@xmlns=x]/A:", "a name that XML does not keep for itself (xml…), found xmlns", "@xmlns"),
    ("document", "- Previous:", "- Previous/@xmlns:a:", "found xmlns:a", "@xmlns:a"),
    ("document", "- Previous:", "- Previous/@1a:", "an attribute of letters and digits, found @1a", "@1a"),
    ("document", "- Previous:", "- XmlPrevious:", "a name that XML does not keep for itself (xml…), found XmlPrevious", "XmlPrevious"),
    ("document", "units: [KGM, EA], ", "units: [KGM, EA], range: [9, 1], ", "the lower number first, found [9, 1]", "  weight:"),
    ("document", "units: [KGM, EA], ", "units: [KGM, EA], range: [a, 1], ", "two numbers [low, high], found a", "  weight:"),
    ("document", "[A-Z][0-9]{1,7}", "[A-Z][0-9]{70,80}", "a pattern that a text of at most", "tag: {type: id"),
    ("common", "ko: 수입자, en: Importer", "wco: R038, ko: 수입자, en: Importer", "importer.name.wco: expected the id of the element, R037, found R038", "importer.name"),
    ("common", f"{small_bundle.G}/Payer/Name", f"{small_bundle.G}/Payer/Nome", "a path that the declaration or its supplement has", "payer.name"),
    ("common", f"{small_bundle.G}/Payer/Name", f"{small_bundle.G}/Payer", "the path of an element with a value", "payer.name"),
    ("common", f"{small_bundle.G}/Payer/Name", f"{small_bundle.G}/Importer/Name", "a path or a where of its own (importer.name has it", "payer.name"),
    ("common", f"{small_bundle.G}/Payer/Name, type", f"{small_bundle.G}/Payer/Name, supplement: yes, type", "one of the paths that a supplement may hold", "payer.name"),
    ("common", "max: 70, supplement: yes, many: yes", "max: 70, many: yes", "supplement: yes, found", "bills:"),
    ("common", 'where: {TypeCode: ["911"]}', 'where: {KindCode: ["911"]}', "an element beside the value, found KindCode", "item.licence"),
    ("common", "type: amount", "type: money", "one of amount, code", "amount:"),
    ("common", f"path: {small_bundle.G}/Consignment/TransportEquipment/ID", "path: Declaration/ID", "a path of names below", "container.id"),
    ("common", "ko: 세번, ", "", "the key 'ko'", "item.hs"),
    ("common", "where: {IdentificationTypeCode: [none, TSP, TRC]}, join", "join", "join only for the tariff code of an item", "item.hs"),
    ("common", "[none, TSP, TRC]", "[none, TRC]", "where IdentificationTypeCode: [none, TSP, TRC]", "item.hs"),
    ("codelists", "direction: forward", "direction: backward", "one of both, forward", "placeName"),
    ("codelists", "to: name, direction: both", "to: title, direction: both", "the column 'title'", "code,name"),
    ("codelists", "codelists/colour.csv, key: code, version", "codelists/none.csv, key: code, version", "a file of the folder, found none named codelists/none.csv", "  colour:"),
    ("codelists", "codelists/colour.csv, key: code, version", "../x.csv, key: code, version", "a file of the folder, found none named ../x.csv", "  colour:"),
    ("codelists", '[A-Z]{2}', "[A-Z", "a row of characters and classes", "place:"),
    ("codelists/colour.csv", "grey", "none", "a translation that is one to one", "colourName"),
    ("codelists/colour.csv", "1E3,", "NO,", "1 repeated", "colour:"),
]  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize(
    ("name", "old", "new", "words", "line"), WRONG, ids=[f"{w[0]}-{w[2][:40]}" for w in WRONG]
)
def test_a_wrong_mapping_names_file_line_field_expected_and_found(
    tmp_path: Path, name: str, old: str, new: str, words: str | None, line: str
) -> None:
    folder = small_bundle.write(tmp_path, **{name: (old, new)})
    if words is None:
        assert load_bundle(folder).documents
        return
    with pytest.raises(GatewayError) as refused:
        load_bundle(folder)
    assert refused.value.problem.id == "GW502"
    assert words in str(refused.value)
    if line:
        assert MESSAGE.fullmatch(str(refused.value)), str(refused.value)
        file, _, number = refused.value.location.rpartition(":")
        assert line in (tmp_path / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]


@pytest.mark.parametrize("name", ["TINY", "tiny"])
def test_two_documents_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    """In small letters the name is the namespace of the document."""
    folder = small_bundle.write(tmp_path)
    again = small_bundle.FILES["agencies/ORG/TINY.yaml"].replace("document: TINY", f"document: {name}")
    (folder / "agencies" / "AGAIN.yaml").write_text(again, encoding="utf-8")
    with pytest.raises(GatewayError, match="each document once"):
        load_bundle(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"codelists\.yaml"):
        load_bundle(tmp_path)
