# ruff: noqa: E501 (tables with long lines)
"""The language of notices: each of its powers read in a small map, each mistake in one refused by its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, NoticeFacts, draw_notice, load_bundle, read_notice
from gateway.harmonize.schemas import write_notice_schema
from tests.harmonize import small_bundle

MAP = """zone: "+09:00"
facts:
  number: {type: text, ko: 번호, en: Number}
  about: {type: document, ko: 문서, en: Document}
  colour: {type: code, list: colour, ko: 색, en: Colour}
  shade: {of: colour, list: colourName, ko: 색이름, en: Name of the colour}
  told: {type: datetime, ko: 일시, en: Told at}
  due: {type: date, ko: 기한, en: Due}
  urgent: {type: boolean, ko: 긴급, en: Urgent}
  reason: {type: text, ko: 사유, en: Reason}
  fee: {type: amount, ko: 수수료, en: Fee}
  item: {type: item, ko: 란, en: Item}
  line.weight: {type: quantity, per: line, ko: 무게, en: Weight}
  line.note: {type: text, per: line, ko: 비고, en: Note}
  line.test: {type: text, per: test, ko: 검사, en: Test}
  mode: {type: text, ko: 방식, en: Mode}
  first: {type: text, ko: 첫째, en: First}
  second: {type: text, ko: 둘째, en: Second}
  left: {type: text, ko: 왼쪽, en: Left}
  right: {type: text, ko: 오른쪽, en: Right}
notices:
  NOTE:
    ko: 통보
    en: Note
    role: status
    status: modelled
    shared: yes
    root: Note
    reads:
      - Kind: {const: N1, req: M}
      - Number: {gives: number, limit: {chars: 8}, req: M}
      - About: {gives: about, limit: {chars: 8}}
      - Head/@mode: {gives: mode, limit: {chars: 3}, req: M}
      - Head/Colour: {gives: colour, via: colourName, req: M}
      - Head/Told: {gives: told, form: CCYYMMDDHHMMSS, unknown_time: "000000"}
      - Head/Due: {gives: due, form: CCYYMMDD, req: {when: {urgent: {is: "true"}}}}
      - Head/Urgent: {gives: urgent}
      - "Head/Reason/{One,Two,Three}": {gives: reason, split: {octets: 10, charset: euc-kr}}
      - Head/Fee: {gives: fee, currency: "@money", limit: {digits: [8, 2]}}
      - "Key[1]": {gives: first, limit: {chars: 5}}
      - "Key[2]": {gives: second, limit: {chars: 5}}
      - "Side[@of=L]": {gives: left, limit: {chars: 5}, req: M}
      - "Side[@of=R]": {gives: right, limit: {chars: 5}, req: {when: {colour: {is: "090"}}, otherwise: forbidden}}
      - Line:
          each: {group: line, key: item, bound: [0, 9]}
          reads:
            - Id: {gives: item, limit: {chars: 8}, req: M}
            - Weight: {gives: line.weight, unit: {from: "@unit", via: unitOut}, limit: {digits: [8, 3]}}
            - Note: {gives: line.note, limit: {chars: 20}, bound: [0, 3]}
            - Test:
                each: {group: test, bound: [0, 2]}
                reads:
                  - Text: {gives: line.test, req: M}
"""
XML = """<Note xmlns="urn:single-window:document:note:1">
  <Kind>N1</Kind>
  <Number>A-1</Number>
  <Head mode="new">
    <Colour>orange</Colour>
    <Told>20261120000000</Told>
    <Due>20261201</Due>
    <Urgent>true</Urgent>
    <Reason><One>가나다라마</One><Two>바사</Two></Reason>
    <Fee money="EUR"> 12.50 </Fee>
  </Head>
  <Key>one</Key><Key>two</Key>
  <Side of="R">right</Side><Side of="L">left</Side>
  <Line><Id>T002</Id><Weight unit="KG">1.5</Weight><Note>a</Note><Note>b</Note><Test><Text>t1</Text></Test><Test><Text>t2</Text></Test></Line>
  <Line><Id>T010</Id></Line>
</Note>"""


def folder(target: Path, old: str = "", new: str = "", document: tuple[str, str] | None = None) -> Path:
    """Write the small mapping with the small notice, one text of it replaced."""
    assert MAP.count(old) >= 1, old
    reads = ("notices: []", "notices: [shared]")
    written = small_bundle.write(target, document=document or reads)
    (written / "notices.yaml").write_text(MAP.replace(old, new, 1) if old else MAP, encoding="utf-8")
    return written


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    return load_bundle(folder(tmp_path_factory.mktemp("notices")))


def read(bundle: MappingBundle, text: str = XML) -> NoticeFacts:
    return read_notice(etree.fromstring(text), bundle.notices, bundle.documents["TINY"])


def test_each_power_reads(small: MappingBundle) -> None:
    facts = read(small)
    assert {f.name: f.value for f in facts.facts if not f.occurrence} == {
        "number": "A-1",
        "mode": "new",
        "colour": "090",
        "shade": "orange",
        "told": "2026-11-20",
        "due": "2026-12-01",
        "urgent": "true",
        "reason": "가나다라마바사",
        "fee": "12.50",
        "first": "one",
        "second": "two",
        "left": "left",
        "right": "right",
    }
    assert [(f.name, f.value, f.unit, f.item, f.occurrence) for f in facts.facts if f.occurrence] == [
        ("item", "2", "", "2", (("line", 1),)),
        ("line.weight", "1.5", "KGM", "2", (("line", 1),)),
        ("line.note", "a", "", "2", (("line", 1),)),
        ("line.note", "b", "", "2", (("line", 1),)),
        ("line.test", "t1", "", "2", (("line", 1), ("test", 1))),
        ("line.test", "t2", "", "2", (("line", 1), ("test", 2))),
        ("item", "10", "", "10", (("line", 2),)),
    ]
    (fee,) = [fact for fact in facts.facts if fact.name == "fee"]
    assert (fee.unit, fee.xpath) == ("EUR", "/Note/Head/Fee")
    (second,) = [fact for fact in facts.facts if fact.name == "second"]
    assert (second.xpath, str(second.rule)) == ("/Note/Key[2]", "notices.yaml:41")
    (shade,) = [fact for fact in facts.facts if fact.name == "shade"]
    assert shade.transforms == ("via colourName@1", "via colourName@1")
    assert [set(one) for one in facts.list_occurrences("line")] == [
        {"item", "line.weight", "line.note"},
        {"item"},
    ]


WRONG = [
    ("<Kind>N1", "<Kind>N2", "GW403", "/Note/Kind"),
    ("<Kind>N1</Kind>", "", "GW402", "/Note/Kind"),
    ("<Number>A-1", "<Number>A-1 is long", "GW402", "/Note/Number"),
    ("<Number>A-1", "<Number>", "GW402", "/Note/Number"),
    ("<Number>A-1", "<Number><b/>", "GW402", "/Note/Number"),
    (' mode="new"', "", "GW402", "/Note/Head/@mode"),
    (' mode="new"', ' mode="later"', "GW402", "/Note/Head/@mode"),
    (' mode="new"', ' mode="new" more="x"', "GW402", "/Note/Head/@more"),
    ("<Colour>orange", "<Colour>pink", "GW403", "/Note/Head/Colour"),
    ("<Colour>orange", "<Colour>090", "GW403", "/Note/Head/Colour"),
    ("<Due>20261201</Due>", "", "GW402", "/Note/Head/Due"),
    ("<Due>20261201", "<Due>20261301", "GW402", "/Note/Head/Due"),
    ("<Urgent>true", "<Urgent>yes", "GW403", "/Note/Head/Urgent"),
    ("<One>가나다라마</One>", "", "GW402", "/Note/Head/Reason/Two"),
    ("<One>가나다라마", "<One>가나다라마바", "GW402", "/Note/Head/Reason/One"),
    ("<Two>바사</Two>", "<Three>바사</Three>", "GW402", "/Note/Head/Reason/Three"),
    (' money="EUR"', "", "GW402", "/Note/Head/Fee/@money"),
    ("12.50", "12.505", "GW402", "/Note/Head/Fee"),
    ("<Key>one</Key>", "<Key>one</Key><Key>x</Key>", "GW402", "/Note/Key[3]"),
    ('<Side of="L">left</Side>', "", "GW402", "/Note/Side[@of=L]"),
    ('<Side of="L">left', '<Side of="X">left', "GW402", "/Note/Side[2]"),
    ('<Side of="L">left', '<Side of="R">left', "GW402", "/Note/Side[2]"),
    ('<Side of="R">right</Side>', "", "GW402", "/Note/Side[@of=R]"),
    ("<Colour>orange", "<Colour>grey", "GW402", "/Note/Side[1]"),
    ("<Id>T010", "<Id>T002", "GW404", "/Note/Line[2]/Id"),
    ("<Id>T010", "<Id>X010", "GW402", "/Note/Line[2]/Id"),
    ('unit="KG"', 'unit="LB"', "GW403", "/Note/Line[1]/Weight/@unit"),
    ('unit="KG"', "", "GW402", "/Note/Line[1]/Weight/@unit"),
    ("<Note>a", "<Note>x</Note><Note>y</Note><Note>a", "GW402", "/Note/Line[1]/Note[4]"),
    ("<Text>t1", "<Text>", "GW402", "/Note/Line[1]/Test[1]/Text"),
    ("<Test><Text>t1</Text>", "<Test>", "GW402", "/Note/Line[1]/Test[1]/Text"),
    ("<Test><Text>t1", "<Test/><Test><Text>t1", "GW402", "/Note/Line[1]/Test[3]"),
    ("<Number>", "<Extra/><Number>", "GW402", "/Note/Extra"),
    ("<Number>A-1", "<About>TINY</About><Number>A-1", "GW402", "/Note/Number"),
    ("<Head ", "more <Head ", "GW402", "/Note"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "problem", "xpath"), WRONG, ids=[f"{w[0]} {w[1]}" for w in WRONG])
def test_each_mistake_is_refused_where_it_is(
    small: MappingBundle, old: str, new: str, problem: str, xpath: str
) -> None:
    assert XML.count(old) >= 1
    with pytest.raises(GatewayError) as refused:
        read(small, XML.replace(old, new, 1))
    assert (refused.value.problem.id, refused.value.location) == (problem, xpath), refused.value.detail


def test_comments_and_the_place_of_a_schema_are_no_part_of_a_notice(small: MappingBundle) -> None:
    text = XML.replace("<Number>A-1", "<!-- x --><Number>A<!-- y -->-1", 1).replace(
        "<Note ", '<Note xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b" ', 1
    )
    assert read(small, text).find_value("number") == "A-1"


@pytest.mark.night
def test_samples_round_trip(small: MappingBundle) -> None:
    notice = small.notices.notices["NOTE"]
    schema = etree.XMLSchema(etree.fromstring(write_notice_schema(notice).encode()))
    pieces = 0
    for seed in range(200):
        root, facts = draw_notice(notice, small.notices, str(seed), small.documents["TINY"])
        text = etree.tostring(root, encoding="unicode")
        assert schema.validate(etree.fromstring(text)), schema.error_log
        pieces += "<Three>" in text
        said = [(f.name, f.value, f.unit, f.item, f.occurrence) for f in read(small, text).facts]
        assert sorted(map(repr, said)) == sorted(
            repr((f.name, f.value, f.unit, f.item, f.occurrence)) for f in facts
        )
    assert pieces > 5


MAPS = [
    ('zone: "+09:00"', "zone: KST", "an offset, as +09:00"),
    ("number: {type: text", "number: {type: words", "one of amount"),
    ("about: {type: document", "about: {type: code", "a list exactly where the type is code"),
    ("list: colour, ko: 색, en", "list: colours, ko: 색, en", "a code list of codelists.yaml, found colours"),
    ("of: colour, list: colourName", "of: colours, list: colourName", "of a fact declared above"),
    ("of: colour, list: colourName", "of: colour, list: place", "by a list that translates"),
    ("  mode: {type: text", "  odd: {type: text, ko: 가, en: Odd}\n  mode: {type: text", "a notice that gives it, found none"),
    ("role: status", "role: news", "one of cancellation"),
    ("role: status", "rule: status", "the key 'role'"),
    ("shared: yes", "shared: yes\n    extra: 1", "unknown key 'extra'"),
    ("gives: number", "gives: shade", "a fact that notices say, found shade"),
    ("gives: number", "gives: numbers", "a fact that notices say, found numbers"),
    ("gives: about, ", "gives: number, ", "each fact once (first in line 31)"),
    ("gives: line.note", "gives: reason", "a line outside of what repeats for reason"),
    ("gives: mode", "gives: line.note", "a line inside each line for line.note"),
    ("gives: line.test", "gives: line.weight", "beside a number that has one"),
    ("{const: N1, req: M}", "{const: N1, gives: number}", "one of gives, echoes, const"),
    ("{const: N1, req: M}", "{req: M}", "one of gives, echoes, const, found none"),
    ("{gives: mode, ", "{echoes: Mode, ", "a notice that says which element repeats the request"),
    ("via: colourName, req", "via: placeName, req", "a code list with a translation that reads back"),
    ("via: colourName, req", "via: unitOut, req", "a translation into what colour may be, found KGM"),
    ("form: CCYYMMDD, req", "form: CCYYMMDDHHMMSS, req", "a form of a day for a date"),
    ("form: CCYYMMDD, req", "form: CCYYMM, req", "a form that reads back, found CCYYMM"),
    ("{gives: urgent}", "{gives: urgent, form: CCYYMMDD}", "a date or a datetime where a form of dates is"),
    ('currency: "@money", ', "", "beside a number that has one"),
    ('currency: "@money"', "currency: money", "an attribute, as @unitCode"),
    ('currency: "@money"', "currency: {req: O}", "either is (a code) or from (an attribute)"),
    ("gives: mode, limit", 'gives: mode, unit: "@u", limit', "unknown key 'unit'"),
    ("gives: number, limit", 'gives: number, unit: "@u", limit', "beside a number that has one"),
    ("{urgent: {is", "{urgency: {is", "an asked field or a common meaning, found urgency"),
    ("limit: {chars: 20}, bound", "limit: {chars: 20}, req: {when: {number: {is: x}}}, bound", "a condition outside of what repeats"),
    ("key: item", "key: number", "item, once"),
    ("Id: {gives: item, limit: {chars: 8}, req: M}", "Id: {gives: item, limit: {chars: 8}}", "one mandatory line inside that gives the item"),
    ("group: line, key", "group: row, key", "a group that facts stand in, found row"),
    ("group: test, ", "", "either a group of facts or what of the request"),
    ('"Key[2]"', '"Key[3]"', "elements Key numbered from 1"),
    ('"Key[2]"', "Key", "elements Key numbered from 1"),
    ('"Side[@of=R]"', '"Side[@to=R]"', "elements Side that differ in one attribute"),
    ("- Number:", "- Kind/Number:", "an element without a value around Number"),
    ("- Number:", "- Nu mber:", "a path of names"),
    ("- About:", "- Number:", "each element once, found Number again"),
    ("Head/Due", "Head/Told", "each element once, found Told again"),
    ("{octets: 10, charset: euc-kr}", "{octets: 10, chars: 5}", "either octets or chars"),
    ("gives: reason, split", "gives: reason, form: CCYYMMDD, split", "a date or a datetime where a form of dates is"),
    ("bound: [0, 9]", "bound: [9, 0]", "a whole number from 9"),
    ("root: Note", "root: No te", "names of letters and digits"),
]  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize(("old", "new", "words"), MAPS, ids=[f"{m[1][:40]} {m[2][:20]}" for m in MAPS])
def test_a_wrong_map_is_refused_by_file_and_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(GatewayError) as refused:
        load_bundle(folder(tmp_path, old, new))
    error = refused.value
    assert error.problem.id == "GW502"
    assert re.fullmatch(r"GW502 .+: expected .+, found .+ at notices\.yaml:\d+", str(error)), str(error)
    assert words in str(error)


REFERENCES = [
    ("notices: [NOTES]", "a notice of notices.yaml, found NOTES"),
    ("certificate: NOTE", "a notice whose role is certificate, found NOTE (status)"),
    ("certificate: NONE", "a notice of notices.yaml, found NONE"),
    ("notices: shared", "a list"),
    ("notices: [shared, shared]", "each notice once, found shared"),
    ("notices: [shared, NOTE]", None),
    ("type_codes: [KIND, KIND]", "each type code once, found KIND"),
    ("notices: [shared]\n  type_codes: [KIND]", None),
]


@pytest.mark.night
@pytest.mark.parametrize(("line", "words"), REFERENCES)
def test_a_document_names_notices_that_there_are(tmp_path: Path, line: str, words: str | None) -> None:
    made = folder(tmp_path, document=("notices: []", line))
    if words is None:
        assert load_bundle(made).documents["TINY"].accepted_notices.notices
        return
    with pytest.raises(GatewayError) as refused:
        load_bundle(made)
    assert words in str(refused.value)
    assert refused.value.location.startswith("agencies/ORG/TINY.yaml:")


CERTIFICATE = """
  PAPER:
    ko: 필증
    en: Paper
    role: certificate
    status: modelled
    root: Paper
    repeats: Request
    reads:
      - Request/Kind: {echoes: same, limit: {chars: 9}, req: M}
      - Request/Elsewhere: {echoes: Kind2, limit: {chars: 9}}
"""


def test_a_certificate_repeats_what_the_request_has(tmp_path: Path) -> None:
    made = folder(tmp_path, document=("reads:\n", "reads:\n  certificate: PAPER\n"))
    file = made / "notices.yaml"
    for old, new, words in (
        ("Request/Kind", "Request/Kinds", "Kinds in the request, which PAPER repeats"),
        ("Request/Kind: {echoes", "Other/Kind: {echoes", "a line inside of Request"),
        ("", "", "a request that names its kind (TypeCode)"),
    ):
        file.write_text(MAP + CERTIFICATE.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(GatewayError) as refused:
            load_bundle(made)
        assert words in str(refused.value), str(refused.value)


def test_without_notices_there_are_none(tmp_path: Path) -> None:
    bundle = small_bundle.mapping(tmp_path)
    assert not bundle.notices.notices
    with pytest.raises(GatewayError, match="GW603"):
        read_notice(etree.fromstring(XML), bundle.notices)
