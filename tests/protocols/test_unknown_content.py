"""Content of a Body of which nothing is known is found, wherever it stands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.known_soap import holds_unknown_content

#: Comments and sections, and what may be the identifier of an element, octet by octet.
SAID = re.compile(rb"<!|[\s:][Ii][Dd]\s*=")


@pytest.mark.parametrize(
    "octets",
    [
        b'<a id="x"/>',
        b'<a xml:Id="x"/>',
        b'<a\nID ="x"/>',
        b'<a\tiD\r\n ="x"/>',
        b"<a>b<!-- c --></a>",
        b"<a><![CDATA[b]]></a>",
    ],
    ids=["plain", "prefixed", "one-space", "many-spaces", "comment", "section"],
)
def test_what_is_unknown(octets: bytes) -> None:
    assert holds_unknown_content(octets)
    assert SAID.search(octets)


@pytest.mark.parametrize(
    "octets",
    [b'<a schemeID="x" cid="y" void="z"/>', b"<a>id, and 1 = 1; it is =id</a>", b"<a/>", b""],
    ids=["other-names", "text", "empty-element", "nothing"],
)
def test_what_is_known(octets: bytes) -> None:
    assert not holds_unknown_content(octets)
    assert not SAID.search(octets)


@given(st.lists(st.sampled_from([b"i", b"I", b"d", b"D", b"=", b" ", b"\n", b":", b"<", b"!", b"x"])))
def test_nothing_unknown_is_taken_for_known(parts: list[bytes]) -> None:
    octets = b"".join(parts)
    assert holds_unknown_content(octets) or not SAID.search(octets)


def test_more_signs_than_attributes_can_have_are_not_looked_at() -> None:
    assert holds_unknown_content(b"=" * 1000)
    assert not holds_unknown_content(b'a="" ' * 1000)
