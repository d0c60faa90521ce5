"""Which Content-Type is text/xml in UTF-8, judged without the codecs that a sender may name."""

from __future__ import annotations

import sys

import pytest

from gateway.errors import GatewayError
from gateway.wire import is_text_xml
from gateway.wire.header_fields import parse_media_type


@pytest.mark.parametrize(
    "value",
    [
        "text/xml",
        "TEXT/XML; Charset=UTF-8",
        'text/xml; charset="utf-8"',
        "text/xml;charset=utf_8",
        "text/xml; charset=UTF8; a=b",
    ],
)
def test_xml_in_utf8(value: str) -> None:
    assert is_text_xml(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "text",
            "text/plain",
            "application/xml",
            "text/xml x",
            "text/xml; charset=utf-16",
            "text/xml; charset=utf-7",
        ),
        *(
            "text/xml; charset=utf-8; charset=utf-8",
            "text/xml; charset*=utf-8''utf-8",
            "text/xml; charset*0=utf-8",
        ),
    ],
)
def test_anything_else_is_not(value: str) -> None:
    assert not is_text_xml(value)


def test_no_codec_is_loaded_that_the_sender_names() -> None:
    assert "encodings.mac_croatian" not in sys.modules, "a codec that nothing else loads"
    is_text_xml("text/xml; charset*=mac_croatian''utf-8")
    is_text_xml("text/xml; charset=mac_croatian")
    assert "encodings.mac_croatian" not in sys.modules


@pytest.mark.parametrize(("octets", "good"), [(4096, True), (4097, False)])
def test_a_media_type_has_a_length(octets: int, good: bool) -> None:
    value = "text/xml; a=".ljust(octets, "b")
    if good:
        assert parse_media_type(value).parameters == {"a": "b" * (octets - 12)}
        return
    with pytest.raises(GatewayError) as refusal:
        parse_media_type(value)
    assert refusal.value.problem.id == "GW103"
