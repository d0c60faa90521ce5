"""Schema sets: decided by lxml, explained by xmlschema, never fetched."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Thread

import pytest
from lxml import etree

from gateway.errors import HEADER_INVALID, GatewayError
from gateway.share import FOLDERS, get_data_folder
from gateway.wire import (
    EB,
    SOAP11,
    WSSE,
    WSU,
    SchemaSet,
    SchemaViolation,
    collapse_whitespace,
    parse_xml,
    serialize_element,
)

NAMES = (
    "ebms2/msg-header-2_0.xsd",
    "soap/envelope-1.1.xsd",
    "soap/envelope-1.2.xsd",
    "wsa/addressing.xsd",
    "wss/secext.xsd",
    "wss/utility.xsd",
    "xlink/xlink.xsd",
    "xml/xml.xsd",
    "xmldsig/xmldsig.xsd",
)
XS = "xmlns:xs='http://www.w3.org/2001/XMLSchema'"


def header(version: str = "2.0", signed: str = "eb:signed='true'") -> etree._Element:
    return parse_xml(
        f"<s:Envelope xmlns:s='{SOAP11}' xmlns:eb='{EB}'><s:Header>\n"
        f"<eb:AckRequested eb:version='{version}' s:mustUnderstand='1' {signed}/>"
        "</s:Header><s:Body/></s:Envelope>".encode()
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    return tmp_path


def _write(place: Path, location: str) -> None:
    (place / "a/a.xsd").write_text(
        f"<xs:schema {XS} targetNamespace='urn:a' xmlns:b='urn:b'>"
        f"<xs:import namespace='urn:b' schemaLocation='{location}'/><xs:element name='a'><xs:complexType>"
        "<xs:sequence><xs:element ref='b:b'/></xs:sequence></xs:complexType></xs:element></xs:schema>"
    )
    (place / "b/b.xsd").write_text(
        f"<xs:schema {XS} targetNamespace='urn:b'><xs:element name='b' type='xs:int'/></xs:schema>"
    )


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_schema_is_read_by_both_libraries(name: str) -> None:
    schemas = SchemaSet.load_cached(get_data_folder("xsd"), name)
    found = schemas.list_violations(parse_xml(b"<x xmlns='urn:none'/>"))
    assert len(found) == 1


def test_a_set_is_compiled_once() -> None:
    assert SchemaSet.load_cached(get_data_folder("xsd"), NAMES[0]) is SchemaSet.load_cached(
        get_data_folder("xsd"), NAMES[0]
    )


def test_the_problem_is_that_of_the_set_and_says_where() -> None:
    schemas = SchemaSet.load_cached(get_data_folder("xsd"), NAMES[0], HEADER_INVALID)
    schemas.validate_document(header())
    with pytest.raises(GatewayError, match="signed") as caught:
        schemas.validate_document(header(signed=""))
    assert caught.value.problem is HEADER_INVALID
    assert caught.value.detail.startswith("line 2: ")
    assert caught.value.location.endswith("AckRequested")


def test_violations_name_line_path_and_reason() -> None:
    schemas = SchemaSet.load_cached(get_data_folder("xsd"), NAMES[0])
    assert schemas.list_violations(header()) == []
    found = schemas.list_violations(header(version="", signed="signed='true'"))
    assert {(violation.line, violation.xpath) for violation in found} == {
        (2, "/soap:Envelope/soap:Header/eb:AckRequested")
    }
    assert len(found) == 3  # an empty version, signed without its prefix, and so no eb:signed
    assert all(isinstance(violation, SchemaViolation) and violation.message for violation in found)


def test_violations_are_counted_and_capped() -> None:
    blocks = f"<eb:SyncReply eb:version='{'x' * 5000}' s:mustUnderstand='{'y' * 5000}'/>" * 200
    root = parse_xml(
        f"<s:Envelope xmlns:s='{SOAP11}' xmlns:eb='{EB}'><s:Header>{blocks}</s:Header>"
        "<s:Body/></s:Envelope>".encode()
    )
    found = SchemaSet.load_cached(get_data_folder("xsd"), NAMES[0]).list_violations(root)
    assert len(found) == 50
    assert max(len(violation.message) for violation in found) <= 500


def test_imports_are_resolved_inside_the_folder(place: Path) -> None:
    _write(place, "../b/b.xsd")
    schemas = SchemaSet.load_cached(place, "a/a.xsd")
    assert schemas.is_valid(parse_xml(b"<a xmlns='urn:a'><b xmlns='urn:b'>1</b></a>"))
    assert [
        violation.xpath
        for violation in schemas.list_violations(
            parse_xml(b"<p:a xmlns:p='urn:a'><q:b xmlns:q='urn:b'>x</q:b></p:a>")
        )
    ] == ["/p:a/q:b"]


@pytest.mark.parametrize(
    "location",
    [
        "../../outside.xsd",
        "../missing.xsd",
        "http://127.0.0.1:9/b.xsd",
        "file:///etc/hostname",
        "/b/b.xsd/../../x",
        "b",
    ],
)
def test_imports_from_elsewhere_are_refused(
    place: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    _write(place / ".", location)
    (place.parent / "outside.xsd").write_bytes((place / "b/b.xsd").read_bytes())
    with pytest.raises(GatewayError) as caught:
        SchemaSet.load_cached(place, "a/a.xsd")
    assert caught.value.problem.id == "GW801"
    assert caught.value.location == "a/a.xsd"


@pytest.mark.parametrize(
    "entry", ["none.xsd", "../conftest.py", "", "ebms2", "ebms2/../xml/xml.xsd", "/etc/passwd"]
)
def test_entries_must_lie_in_the_folder(entry: str) -> None:
    with pytest.raises(GatewayError) as caught:
        SchemaSet.load_cached(get_data_folder("xsd"), entry)
    assert caught.value.problem.id == "GW801"


def test_what_is_no_schema_is_a_wrong_setting(place: Path) -> None:
    for number, octets in enumerate(
        (b"", b"<a", b"<a/>", f"<xs:schema {XS}><xs:element/></xs:schema>".encode())
    ):
        (place / f"{number}.xsd").write_bytes(octets)
        with pytest.raises(GatewayError) as caught:
            SchemaSet.load_cached(place, f"{number}.xsd")
        assert caught.value.problem.id == "GW801"


def test_locations_named_by_a_document_are_ignored(place: Path) -> None:
    (place / "any.xsd").write_text(f"<xs:schema {XS}><xs:element name='a'/></xs:schema>")
    (place / "other.xsd").write_text(
        f"<xs:schema {XS} targetNamespace='urn:o'><xs:element name='o' type='xs:int'/></xs:schema>"
    )
    root = parse_xml(
        "<a xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' "
        f"xsi:schemaLocation='urn:o file://{place}/other.xsd'>"
        "<o xmlns='urn:o'>no number</o></a>".encode()
    )
    assert SchemaSet.load_cached(place, "any.xsd").is_valid(root)


def test_threads_may_share_a_set() -> None:
    schemas = SchemaSet.load_cached(get_data_folder("xsd"), NAMES[0])
    wrong: list[bool] = []

    def work(good: bool) -> None:
        for _ in range(200):
            root = header() if good else header(signed="")
            if schemas.is_valid(root) is not good:
                wrong.append(good)

    threads = [Thread(target=work, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_validation_leaves_the_tree_alone() -> None:
    root = header()
    before = etree.tostring(root)
    schemas = SchemaSet.load_cached(get_data_folder("xsd"), NAMES[0])
    schemas.validate_document(root)
    schemas.validate_document(root)
    assert etree.tostring(root) == before


WSA_GOOD = [
    "<w:MessageID>urn:uuid:1</w:MessageID>",
    "<w:RelatesTo>urn:uuid:1</w:RelatesTo>",
    "<w:RelatesTo RelationshipType='urn:r'>urn:uuid:1</w:RelatesTo>",
    "<w:ReplyTo><w:Address>urn:a</w:Address></w:ReplyTo>",
    "<w:ReplyTo><w:Address>urn:a</w:Address><w:ReferenceParameters><x/></w:ReferenceParameters>"
    "<w:Metadata/><o xmlns='urn:o'/></w:ReplyTo>",
    "<w:RetryAfter>5</w:RetryAfter>",
    "<w:ProblemAction><w:Action>urn:a</w:Action></w:ProblemAction>",
]
WSA_BAD = [
    "<w:ReplyTo/>",
    "<w:ReplyTo><w:Metadata/><w:Address>urn:a</w:Address></w:ReplyTo>",
    "<w:ReplyTo><w:Address>urn:a</w:Address><w:Address>urn:b</w:Address></w:ReplyTo>",
    "<w:MessageID><x/></w:MessageID>",
    "<w:MessageID Id='x'>urn:a</w:MessageID>",
    "<w:RetryAfter>-5</w:RetryAfter>",
    "<w:Unheard/>",
]


@pytest.mark.parametrize(("inner", "good"), [(x, True) for x in WSA_GOOD] + [(x, False) for x in WSA_BAD])
def test_addressing(inner: str, good: bool) -> None:
    # A strict reading of the property itself: the wrapper is taken off again.
    wrapped = parse_xml(f"<r xmlns:w='http://www.w3.org/2005/08/addressing'>{inner}</r>".encode())
    root = parse_xml(serialize_element(wrapped[0]))
    assert SchemaSet.load_cached(get_data_folder("xsd"), "wsa/addressing.xsd").is_valid(root) is good


SECURITY = [
    (
        "<wsu:Timestamp wsu:Id='t'><wsu:Created>x</wsu:Created><wsu:Expires>y</wsu:Expires></wsu:Timestamp>",
        True,
    ),
    (
        "<wsse:BinarySecurityToken wsu:Id='b' ValueType='urn:v'>QUJD</wsse:BinarySecurityToken>",
        True,
    ),
    (
        "<wsse:SecurityTokenReference><wsse:Reference URI='#b'/></wsse:SecurityTokenReference>",
        True,
    ),
    (
        "<wsse:UsernameToken><wsse:Username>u</wsse:Username>"
        "<wsse:Password Type='urn:t'>p</wsse:Password></wsse:UsernameToken>",
        True,
    ),
    ("<wsu:Timestamp><wsu:Expires>y</wsu:Expires><wsu:Created>x</wsu:Created></wsu:Timestamp>", False),
    ("<wsu:Timestamp><wsu:Created>x</wsu:Created><wsu:Created>x</wsu:Created></wsu:Timestamp>", False),
    ("<wsse:BinarySecurityToken><x/></wsse:BinarySecurityToken>", False),
    ("<wsse:UsernameToken/>", False),
    ("<wsu:Timestamp wsu:Id='t'/><wsu:Timestamp wsu:Id='t'/>", False),
    ("<ds:Signature xmlns:ds='http://www.w3.org/2000/09/xmldsig#'/>", False),
]


@pytest.mark.parametrize(("inner", "good"), SECURITY)
def test_security_headers(inner: str, good: bool) -> None:
    names = f"xmlns:wsse='{WSSE}' xmlns:wsu='{WSU}'"
    root = parse_xml(f"<wsse:Security {names}>{inner}</wsse:Security>".encode())
    assert SchemaSet.load_cached(get_data_folder("xsd"), "wss/secext.xsd").is_valid(root) is good


def test_the_catalog_lists_every_schema_of_these_folders() -> None:
    root = parse_xml(get_data_folder("xsd").joinpath("catalog.xml").read_bytes())
    listed = {str(entry.get("uri")) for entry in root.iter("{*}uri", "{*}system")}
    assert set(NAMES) <= listed
    for path in listed:
        assert get_data_folder("xsd").joinpath(*path.split("/")).is_file(), path
    for entry in root.iter("{urn:oasis:names:tc:entity:xmlns:xml:catalog}uri"):
        schema = parse_xml(get_data_folder("xsd").joinpath(*str(entry.get("uri")).split("/")).read_bytes())
        assert schema.get("targetNamespace") == entry.get("name")


def test_data_folders() -> None:
    assert get_data_folder("xsd").joinpath("README.md").is_file()
    for name in ("none", "../gateway", ""):
        assert name not in FOLDERS
        with pytest.raises(GatewayError) as caught:
            get_data_folder(name)
        assert caught.value.problem.id == "GW801"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A-1", "A-1"),
        (" \t\r\nA  \n 1 ", "A 1"),
        ("", ""),
        ("\u00a0A-1\u00a0", "\u00a0A-1\u00a0"),
        ("\u2003A-1\u3000", "\u2003A-1\u3000"),
        ("A\u00a0 1", "A\u00a0 1"),
        ("\u200bA-1\u0085", "\u200bA-1\u0085"),
    ],
)
def test_only_the_white_space_of_xml_collapses(text: str, value: str) -> None:
    assert collapse_whitespace(text) == value
