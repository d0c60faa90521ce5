"""The bombs are bombs: each has as much as it says, and a reader without limits pays for it."""

from __future__ import annotations

import re
from xml.parsers import expat

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import DEFAULT_LIMITS, WireLimits, prescan_xml, read_multipart_related
from gateway_conformance.hostile import AttackCase, AttackerKit, HttpRequest, content_mutations, xml_attacks
from tests.flows.hostile.sample_kit import SAMPLE_KIT

BENCH = SAMPLE_KIT
CASES = {case.id: case for case in xml_attacks.CASES}
#: No limit but those of the parser itself.
NONE = WireLimits(**{name: 1 << 40 for name in DEFAULT_LIMITS.__dataclass_fields__})


def envelope_of(case: AttackCase, bench: AttackerKit = BENCH) -> bytes:
    post = next(case.scenario(bench)).step
    assert isinstance(post, HttpRequest)
    if case.face == "soap":
        return post.body
    return read_multipart_related(post.headers["Content-Type"], post.body).root.content


def test_every_attack_comes_to_both_faces() -> None:
    by_message = {name for name in CASES if not name.endswith("-call") and "charset" not in name}
    assert by_message == {name.removesuffix("-call") for name in CASES if name.endswith("-call")}
    assert {name.partition(".")[0] for name in by_message} == {f"DOS-0{number}" for number in range(1, 8)}


@pytest.mark.parametrize(
    ("name", "pattern", "least"),
    [
        ("DOS-03.200000", rb'a\d+=""', 200_000),
        ("DOS-03.everywhere", rb'a\d+=""', 120_000),
        ("DOS-04.467-kb", rb"xmlns:p\d+=", 15_000),
        ("DOS-04.178-kb", rb"xmlns:p\d+-\d+=", 4_000),
        ("DOS-04.references", rb"<d:Reference ", 3_000),
        ("DOS-05.siblings-in-body", rb"<a/>", 200_001),
        ("DOS-05.depth-100000", rb"<x:n>", 100_000),
        ("DOS-05.names", rb"<x:a\d+/>", 100_000),
        ("DOS-05.blocks", rb"<x:b ", 9_000),
    ],
)
def test_a_bomb_has_as_much_as_it_says(name: str, pattern: bytes, least: int) -> None:
    assert len(re.findall(pattern, envelope_of(CASES[name]))) >= least
    assert len(re.findall(pattern, envelope_of(CASES[f"{name}-call"]))) >= least


SHAPED = ["DOS-03.50000", "DOS-04.within", "DOS-04.flat", "DOS-05.texts", "DOS-05.comments", "DOS-05.names"]


@pytest.mark.parametrize("name", SHAPED)
def test_nothing_but_a_limit_refuses_it(name: str) -> None:
    data = envelope_of(CASES[name])
    prescan_xml(data, NONE, is_envelope=True)
    with pytest.raises(GatewayError) as caught:
        prescan_xml(data, is_envelope=True)
    assert caught.value.problem.id == "GW102"


@pytest.mark.parametrize(
    "name", ["DOS-05.actors", "DOS-05.identifiers", "DOS-05.blocks", "DOS-05.declarations"]
)
def test_what_searches_pay_for_keeps_every_limit(name: str) -> None:
    """Their cost is not bounded by a number that could be exceeded, but by how they are read."""
    prescan_xml(envelope_of(CASES[name]), is_envelope=True)


EXPANDING = ["billion-laughs", "quadratic", "in-attribute"]


@pytest.mark.parametrize("name", EXPANDING)
def test_an_entity_would_expand(name: str) -> None:
    """Whoever trusts the parser is saved by its own guard alone, or gets what the entity stands for."""
    parser = expat.ParserCreate()
    with pytest.raises(expat.ExpatError, match="amplification") as caught:
        parser.Parse(envelope_of(CASES[f"DOS-01.{name}"]), True)
    assert caught.value.code


@pytest.mark.parametrize("name", ["file", "url", "public"])
def test_an_external_entity_is_asked_for(name: str) -> None:
    asked: list[str] = []
    parser = expat.ParserCreate()

    def external(_context: str, _base: str | None, system: str, _public: str | None) -> int:
        asked.append(system)
        return 1

    parser.ExternalEntityRefHandler = external
    parser.Parse(envelope_of(CASES[f"DOS-02.{name}"]), True)
    assert len(asked) == 1
    assert asked[0].startswith(("file:", "http:"))


READABLE = {
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "utf-32": "utf-32",
    "utf-32-be": "utf-32-be",
    "ebcdic": "cp037",
    "utf-7": "utf-7",
}


@pytest.mark.parametrize("name", READABLE)
def test_another_encoding_says_the_same(name: str) -> None:
    text = envelope_of(CASES[f"DOS-07.{name}"]).decode(READABLE[name])
    root = etree.fromstring(re.sub(r"^\ufeff?<\?.*?\?>", "", text).lstrip("\ufeff").encode())
    assert root.find("{*}Header/{*}MessageHeader") is not None


@pytest.mark.long
def test_a_change_that_finds_nothing_is_no_attack() -> None:
    for change in (
        content_mutations.insert_in_header(bytes),
        content_mutations.insert_in_body(bytes),
        content_mutations.insert_in_signature(bytes),
        content_mutations.add_root_attributes(bytes),
    ):
        with pytest.raises(LookupError):
            change(b"<nothing/>")
