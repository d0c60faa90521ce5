"""WS-Addressing headers: written as they are read, and read without a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import ANONYMOUS, WSA, AddressingHeaders, read_addressing, write_addressing

IRI = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
ACTION = "<w:Action>urn:a</w:Action>"
ID = "<w:MessageID>urn:m</w:MessageID>"


def header(text: str) -> etree._Element:
    return etree.fromstring(f'<h xmlns:w="{WSA}">{text}</h>')


@pytest.mark.long
@given(st.builds(AddressingHeaders, IRI, IRI, st.none() | IRI, st.none() | IRI))
def test_what_is_written_is_read(values: AddressingHeaders) -> None:
    element = etree.Element("h")
    write_addressing(element, values)
    again = etree.fromstring(etree.tostring(element))
    assert read_addressing(again) == values


def test_a_request_asks_for_its_answer_on_the_connection() -> None:
    element = etree.Element("h")
    write_addressing(element, AddressingHeaders("urn:a", "urn:m", "urn:t"))
    assert element.findtext(f"{{{WSA}}}ReplyTo/{{{WSA}}}Address") == ANONYMOUS
    answer = etree.Element("h")
    write_addressing(answer, AddressingHeaders("urn:a", "urn:m", None, "urn:r"))
    assert answer.find(f"{{{WSA}}}ReplyTo") is None


@pytest.mark.parametrize(
    "text",
    [
        ACTION + ID,
        ID + ACTION + f"<w:ReplyTo><w:Address>{ANONYMOUS}</w:Address></w:ReplyTo>",
        ACTION + ID + f"<w:FaultTo><w:Address>{ANONYMOUS}</w:Address></w:FaultTo>",
        ACTION + ID + "<w:From><w:Address>http://anywhere.example/</w:Address></w:From>",
        "<w:Action>\n urn:a\t</w:Action>" + ID,
        '<x xmlns="urn:other"/>' + ACTION + ID,
    ],
)
def test_taken(text: str) -> None:
    assert read_addressing(header(text)) == AddressingHeaders("urn:a", "urn:m")


def test_relates_to() -> None:
    kind = f'RelationshipType="{WSA}/reply"'
    for attribute in ("", kind):
        found = read_addressing(header(f"{ACTION}{ID}<w:RelatesTo {attribute}>urn:r</w:RelatesTo>"))
        assert found.relates_to == "urn:r"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "GW107"),
        (ACTION, "GW107"),
        (ID, "GW107"),
        (ACTION + ACTION + ID, "GW107"),
        (ACTION + ID + ID, "GW107"),
        (ACTION + ID + "<w:To>a</w:To><w:To>a</w:To>", "GW107"),
        (ACTION + ID + "<w:RelatesTo>a</w:RelatesTo><w:RelatesTo>b</w:RelatesTo>", "GW107"),
        (ACTION + ID + '<w:RelatesTo RelationshipType="urn:x">a</w:RelatesTo>', "GW107"),
        (ACTION + ID + "<w:Unknown/>", "GW107"),
        (ACTION + ID + "<w:ReplyTo/>", "GW107"),
        (ACTION + ID + "<w:ReplyTo><w:Address/></w:ReplyTo>", "GW107"),
        (ACTION + ID + "<w:ReplyTo><w:Address>x</w:Address><w:Address>x</w:Address></w:ReplyTo>", "GW107"),
        (ACTION + ID + "<w:ReplyTo><w:Address>http://a/</w:Address></w:ReplyTo>", "GW311"),
        (ACTION + ID + "<w:FaultTo><w:Address>http://a/</w:Address></w:FaultTo>", "GW311"),
        (ACTION + ID + f"<w:ReplyTo><w:Address>{WSA}/none</w:Address></w:ReplyTo>", "GW311"),
        ("<w:Action/>" + ID, "GW107"),
        ("<w:Action>urn:a<!-- x -->b</w:Action>" + ID, "GW107"),
        ("<w:Action>urn:a<b/></w:Action>" + ID, "GW107"),
        ("<w:Action>urn:a urn:b</w:Action>" + ID, "GW107"),
        ("<w:Action>urn:a\u200b</w:Action>" + ID, "GW107"),
        (f"<w:Action>{'x' * 1025}</w:Action>" + ID, "GW107"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_addressing(header(text))
    assert caught.value.problem.id == problem
    assert caught.value.location.startswith("/soap:Envelope/soap:Header/wsa:")


@pytest.mark.parametrize("name", ["Action", "MessageID", "To", "RelatesTo"])
def test_a_value_has_at_most_1024_octets(name: str) -> None:
    for longest, longer in (("x" * 1024, "x" * 1025), ("가" * 341, "가" * 342)):
        values = {"Action": "urn:a", "MessageID": "urn:m", "To": "urn:t", "RelatesTo": "urn:r"}
        texts = [
            "".join(f"<w:{each}>{text}</w:{each}>" for each, text in (values | {name: changed}).items())
            for changed in (longest, longer)
        ]
        assert longest in str(read_addressing(header(texts[0])))
        with pytest.raises(GatewayError) as caught:
            read_addressing(header(texts[1]))
        assert caught.value.detail == f"wsa:{name} has more than 1,024 octets"
        assert caught.value.location == f"/soap:Envelope/soap:Header/wsa:{name}"
