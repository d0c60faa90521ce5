"""Elements as octets: what is packed comes back as it was serialised."""

from __future__ import annotations

from lxml import etree

from gateway.wire import make_written_element, pack_element, serialize_element


def test_a_packed_element_is_its_octets_again() -> None:
    root = etree.fromstring('<a xmlns="urn:a" x="&#13;&amp;">가<b xmlns:p="urn:p" p:y="1"/>tail</a>')
    written, packed = make_written_element(root), pack_element(root)
    assert written.tag == "{urn:a}a"
    assert written.octets == serialize_element(root)
    assert packed.unpack() == written
    assert packed.packed_octets != written.octets


def test_the_text_behind_an_element_is_not_part_of_it() -> None:
    root = etree.fromstring("<a><b/>tail</a>")
    assert make_written_element(root[0]).octets == b"<b/>"


def test_a_long_element_is_packed_in_pieces_and_is_its_octets_again() -> None:
    root = etree.fromstring(f"<a>{'<b>가 &amp; &#13;</b><!--c-->' * 20_000}</a>")
    assert pack_element(root).unpack() == make_written_element(root)
    assert pack_element(root[0]).unpack() == make_written_element(root[0])
