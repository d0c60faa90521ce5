"""Every request and every notice comes back from JSON and from fixed records as it was written."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.harmonize import (
    MappingBundle,
    describe_layout,
    draw_notice,
    find_carried_document,
    load_bundle,
    make_placeholder_numbers,
    make_sample,
    read_carried,
    split_submission,
    write_carried,
)
from gateway.harmonize.language import CarrierFormat
from gateway.harmonize.language.mapping_bundle import FieldFormat, read_carrier_formats
from gateway.share import get_data_folder
from gateway.wire import read_yaml

FORMS = {
    "json": CarrierFormat("json"),
    "json-exact": CarrierFormat("json", number_format="exact"),
    "fixed": CarrierFormat("fixed"),
    "fixed-korean": CarrierFormat(
        "fixed", charset="cp949", number_format="zeros", max_text_octets=20, record_end=b""
    ),
    "fixed-crlf": CarrierFormat("fixed", number_format="zeros", max_text_octets=7, record_end=b"\r\n"),
}
RECORDS = [name for name, form in FORMS.items() if form.syntax == "fixed"]


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def list_requests(name: str, seed: str, items: int = 2) -> Iterator[etree._Element]:
    root = etree.fromstring(make_sample(shipped(), shipped().documents[name], seed, items))
    done = split_submission(root, shipped(), make_placeholder_numbers(root))
    yield from (one.xml for one in done.requests)


def draw(name: str, seed: int) -> etree._Element:
    notice = shipped().notices.notices[name]
    found = [one for one in shipped().documents.values() if one.accepted_notices.allows_notice(notice)]
    return draw_notice(notice, shipped().notices, str(seed), found[0] if found else None)[0]


def canonical(root: etree._Element) -> bytes:
    return etree.tostring(etree.fromstring(etree.tostring(root)), method="c14n")


def check_comes_back(root: etree._Element, name: str, form: CarrierFormat) -> bytes:
    document = find_carried_document(shipped(), name)
    octets = write_carried(root, document, form)
    back = read_carried(octets, document, form)
    assert canonical(back) == canonical(root)
    assert write_carried(back, document, form) == octets
    return octets


@pytest.mark.night
@pytest.mark.parametrize("form", FORMS)
def test_requests_and_notices_come_back(form: str) -> None:
    for name in ("KPTA-PHARM-IMP", "EMC-WASTE-EXP", "KFDA-FOOD-IMP"):
        for root in list_requests(name, "7"):
            check_comes_back(root, name, FORMS[form])
    for name in ("GOVCBRRBG", "GOVCBRRBH", "GOVCBRFS7", "CERTIFICATE"):
        check_comes_back(draw(name, 3), name, FORMS[form])


@pytest.mark.night
@pytest.mark.parametrize("name", list(shipped().documents))
def test_every_document_comes_back_in_every_form(name: str) -> None:
    made = 0
    # Four draws, of one to four items.
    for seed in range(4):
        for root in list_requests(name, str(seed), 1 + seed % 4):
            made += 1
            for form in FORMS.values():
                check_comes_back(root, name, form)
    assert made


@pytest.mark.night
@pytest.mark.parametrize("name", list(shipped().notices.notices))
def test_every_notice_comes_back_in_every_form(name: str) -> None:
    for seed in range(12):
        for form in FORMS.values():
            check_comes_back(draw(name, seed), name, form)


def make_reason(text: str) -> etree._Element:
    """Return a rejection with a reason."""
    root = draw("GOVCBRRBJ", 1)
    (reason,) = root.iterfind("{*}Declaration/{*}Reason")
    for number in root.iterfind("{*}Declaration/{*}FunctionalReferenceID"):
        number.text = "R-1"
    reason.text = text
    return root


LONG = "제조번호와 성분표가 서로 다릅니다. " * 20


@pytest.mark.night
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [LONG, LONG + " " * 90, " 앞", "뒤 ", " ", "a\tb", "<&>\"'\\", "가" * 333])
def test_any_text_comes_back(form: str, text: str) -> None:
    octets = check_comes_back(make_reason(text), "GOVCBRRBJ", FORMS[form])
    if FORMS[form].syntax == "json":
        assert json.loads(octets)["Response"]["Declaration"]["Reason"] == text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\rb", "\n", LONG + "\n"])
def test_a_line_end_is_refused_where_lines_are_records(form: str, text: str) -> None:
    if FORMS[form].syntax == "json" or not FORMS[form].record_end:
        check_comes_back(make_reason(text), "GOVCBRRBJ", FORMS[form])
        return
    detail, where = find_refusal(make_reason(text), "GOVCBRRBJ", FORMS[form])
    name = "a line feed" if "\n" in text else "a carriage return"
    assert detail == f"a record that ends with its line cannot carry {name}; a space can stand for it"
    assert where == "/Response/Declaration/Reason"


def test_a_long_text_is_cut_between_characters_and_joined_again() -> None:
    form = CarrierFormat("fixed", charset="euc-kr", max_text_octets=9, record_end=b"")
    octets = check_comes_back(make_reason("가나다라마바사"), "GOVCBRRBJ", form)
    # Four characters of two octets in each: nine would cut the fifth.
    assert "가나다라 ".encode("euc-kr") in octets
    assert b"0006" + "마바사".encode("euc-kr") in octets


def find_refusal(root: etree._Element, name: str, form: CarrierFormat) -> tuple[str, str]:
    with pytest.raises(GatewayError) as refused:
        write_carried(root, find_carried_document(shipped(), name), form)
    assert refused.value.problem.id == "GW718"
    return refused.value.detail, refused.value.location


def test_what_a_form_cannot_carry_is_refused_at_its_path_and_never_cut() -> None:
    place = "/Response/Declaration/Reason"
    korean = CarrierFormat("fixed", charset="euc-kr")
    assert find_refusal(make_reason("똠방각하"), "GOVCBRRBJ", korean) == (
        "euc-kr has no character '똠' (U+B620)", place
    )  # fmt: skip
    assert find_refusal(make_reason("방각하 😀"), "GOVCBRRBJ", korean) == (
        "euc-kr has no character '😀' (U+1F600)", place
    )  # fmt: skip
    short = CarrierFormat("fixed", max_text_octets=20, overflow="refuse")
    assert find_refusal(make_reason("x" * 21), "GOVCBRRBJ", short) == (
        "the value has 21 octets of utf-8, 20 fit", place
    )  # fmt: skip
    detail, where = find_refusal(make_reason("x "), "GOVCBRRBJ", short)
    assert (detail, where) == ("a field cannot carry spaces at the end", place)
    own = CarrierFormat("fixed", fields={place[1:]: FieldFormat(width=4, overflow="refuse")})
    assert find_refusal(make_reason("12345"), "GOVCBRRBJ", own)[1] == place
    check_comes_back(make_reason("1234"), "GOVCBRRBJ", own)


@pytest.mark.night
def test_numbers_are_exact() -> None:
    for root in list_requests("KPTA-PHARM-IMP", "3"):
        (one, *_) = root.iterfind(".//{*}CountQuantity")
        for text in ("0", "0.10", "123456789012.1230", "7"):
            one.text = text
            octets = check_comes_back(root, "KPTA-PHARM-IMP", FORMS["json-exact"])
            assert f'"#":{text},'.encode() in octets
            check_comes_back(root, "KPTA-PHARM-IMP", FORMS["fixed-korean"])
        # What JSON writes in another way stays a string.
        one.text = "007"
        assert b'"#":"007",' in check_comes_back(root, "KPTA-PHARM-IMP", FORMS["json-exact"])
        for text in ("007", "+5", ".5"):
            one.text = text
            detail, _ = find_refusal(root, "KPTA-PHARM-IMP", FORMS["fixed-crlf"])
            assert detail == (
                f"'{text}' is not written as its field carries a number: "
                "no plus sign, no leading zero, a digit before the point"
            )


@pytest.mark.parametrize("form", RECORDS)
def test_records_that_were_cut_anywhere_are_refused(form: str) -> None:
    document = find_carried_document(shipped(), "GOVCBRRBG")
    octets = write_carried(draw("GOVCBRRBG", 3), document, FORMS[form])
    for size in range(0, len(octets), max(1, len(octets) // 200)):
        with pytest.raises(GatewayError) as refused:
            read_carried(octets[:size], document, FORMS[form])
        assert refused.value.problem.id == "GW718"
        assert refused.value.location.startswith("record ")
    with pytest.raises(GatewayError, match="something follows the tail"):
        read_carried(octets + b"x", document, FORMS[form])


@pytest.mark.night
@pytest.mark.parametrize("form", FORMS)
def test_changed_octets_are_refused_or_read_and_never_a_mistake(form: str) -> None:
    document = find_carried_document(shipped(), "GOVCBRFS8")
    octets = write_carried(draw("GOVCBRFS8", 3), document, FORMS[form])
    for number in range(60):
        at = number * 7919 % len(octets)
        for new in (b"", b"\xff", b"9", b"{", b'"', b" ", octets[at : at + 40] * 2):
            try:
                read_carried(octets[:at] + new + octets[at + 1 :], document, FORMS[form])
            except GatewayError as error:
                if error.problem.id != "GW718":
                    pytest.fail(f"{error} at octet {at}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"", "line 1, column 1"),
        (b"\xff", "octet 0"),
        (b"[" * 100_000, "#"),
        (b"[]", "#"),
        (b'{"document":"GOVCBRRBH","Response":{}}', "/document"),
        (b'{"document":"GOVCBRRBJ","Response":[]}', "/Response"),
        (b'{"document":"GOVCBRRBJ","Response":{"ID":"1","ID":"2"}}', "/Response/ID"),
        (b'{"document":"GOVCBRRBJ","Response":{"Id":"1"}}', "/Response/Id"),
        (b'{"document":"GOVCBRRBJ","Response":{"ID":NaN}}', "/Response/ID"),
        (b'{"document":"GOVCBRRBJ","Response":{"a/b":[1,{"~":{"x":1,"x":2}}]}}', "/Response/a~1b/1/~0/x"),
        (b"NaN", "#"),
        (b'{"document":"GOVCBRRBJ","Response":{"ID":null}}', "/Response/ID"),
        (b'{"document":"GOVCBRRBJ","Response":{"ID":"\\u0000"}}', "/Response/ID"),
        (b'{"document":"GOVCBRRBJ","Response":{"ID":"\\ud800"}}', "/Response/ID"),
        (b'{"document":"GOVCBRRBJ","Response":{"Declaration":{"ID":{"#":"1"}}}}', "/Response/Declaration/ID"),
    ],
)
def test_json_of_another_form_is_refused_at_its_place(text: bytes, place: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read_carried(text, find_carried_document(shipped(), "GOVCBRRBJ"), FORMS["json"])
    assert (refused.value.problem.id, refused.value.location) == ("GW718", place)


def test_the_layout_says_where_each_field_is() -> None:
    form = FORMS["fixed"]
    document = find_carried_document(shipped(), "GOVCBRRBJ")
    layout = describe_layout(document, form)
    octets = write_carried(make_reason("서류 미비"), document, form)
    record = octets.split(b"\n")[1]
    (fields,) = [one["fields"] for one in layout["records"] if one["type"] == "001"]
    (reason,) = [one for one in fields if one["path"] == "/Response/Declaration/Reason"]
    found = record[reason["offset"] : reason["offset"] + reason["width"]]
    assert found.decode().rstrip() == "서류 미비"
    assert all(
        one["octets"] == max(f["offset"] + f["width"] for f in one["fields"]) for one in layout["records"]
    )


YAML = """carriers:
  KFDA: {form: json, numbers: exact}
  FITI:
    form: fixed
    charset: euc-kr
    numbers: zeros
    longest: 60
    overflow: refuse
    end: crlf
    fields:
      Application/Remark: {width: 200, overflow: continue}
"""


def test_the_form_of_an_organisation_is_data() -> None:
    found = read_carrier_formats(read_yaml(YAML.encode(), "carriers.yaml"), ("KFDA", "FITI"))
    own = {"Application/Remark": FieldFormat(200, None, "continue")}
    assert found["KFDA"] == CarrierFormat("json", number_format="exact")
    assert found["FITI"] == CarrierFormat("fixed", "euc-kr", "zeros", 60, "refuse", b"\r\n", own)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("KFDA", "NOBODY", 2), ("form: json", "form: yaml", 2), ("numbers: exact", "numbers: zeros", 2),
        ("charset: euc-kr", "charset: latin-1", 5), ("longest: 60", "longest: 2", 7),
        ("end: crlf", "end: cr", 9), ("width: 200", "width: 0", 11), ("overflow: refuse", "cut: yes", 8),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused_with_its_line(old: str, new: str, line: int) -> None:
    with pytest.raises(GatewayError) as refused:
        read_carrier_formats(read_yaml(YAML.replace(old, new).encode(), "carriers.yaml"), ("KFDA", "FITI"))
    assert (refused.value.problem.id, refused.value.location) == ("GW502", f"carriers.yaml:{line}")


@pytest.mark.night
def test_the_verb_converts_both_ways(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    file, told = tmp_path / "notice.xml", tmp_path / "notice.dat"
    file.write_bytes(etree.tostring(draw("GOVCBRRBH", 3)))
    words = ["map", "render", str(file), "--document", "GOVCBRRBH"]
    assert main([*words, "--form", "fixed", "--out", str(told)]) == 0
    capsysbinary.readouterr()
    assert main(["map", "render", str(told), "--document", "GOVCBRRBH", "--from", "fixed"]) == 0
    assert canonical(etree.fromstring(capsysbinary.readouterr().out)) == canonical(draw("GOVCBRRBH", 3))
    assert main([*words, "--form", "json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["document"] == "GOVCBRRBH"
    assert main([*words, "--layout"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["records"][0]["type"] == "001"


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000", "\\u001b[2J"])
def test_a_name_that_no_document_can_have_is_escaped_where_it_is_told(name: str) -> None:
    """The place goes into a fault, a log and a terminal."""
    document = find_carried_document(shipped(), "NPQS-PLA-IMP")
    twice = f'{{"{name}":1,"{name}":2}}'
    unknown = f'{{"document":"NPQS-PLA-IMP","Application":{{"{name}":1}}}}'
    for wrong in (twice, unknown):
        with pytest.raises(GatewayError) as caught:
            read_carried(wrong.encode(), document, FORMS["json"])
        assert caught.value.location.isprintable()
        assert caught.value.location.encode()


@pytest.mark.night
def test_a_name_that_stands_twice_among_many_is_found_in_one_pass() -> None:
    """No time is measured: looking for each name among all others would take minutes."""
    names = ",".join(f'"n{number}":1' for number in range(300_000))
    with pytest.raises(GatewayError) as caught:
        read_carried(
            f'{{{names},"x":1,"x":2}}'.encode(),
            find_carried_document(shipped(), "NPQS-PLA-IMP"),
            FORMS["json"],
        )
    assert caught.value.location == "/x"
