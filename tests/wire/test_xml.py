"""Parsing, serialising, and readable paths."""

from __future__ import annotations

import socket
import threading

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import (
    EB,
    PREFIXES,
    SOAP11,
    build_xpath,
    make_document_namespace,
    parse_xml,
    serialize_element,
)


def test_the_tree_holds_the_text_as_written() -> None:
    root = parse_xml(
        b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?><a>\r\nQUJD&#13;\nREVG<![CDATA[<&]]></a>"
    )
    assert root.text == "\nQUJD\r\nREVG<&"


def test_serialised_octets_have_no_declaration_and_keep_carriage_returns() -> None:
    root = parse_xml("<a x='é'>QUJD&#13;\nREVG &amp; 가</a>".encode())
    assert serialize_element(root) == '<a x="é">QUJD&#13;\nREVG &amp; 가</a>'.encode()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"<a>\n <p:b/></a>", "line 2, column 6"),
        (b"<a xmlns:p=''/>", "line 1"),
        (b"<a xmlns:p='u' xmlns:q='u' p:x='' q:x=''/>", "line 1"),
        (b"<a b:c='1'/>", "line 1"),
    ],
)
def test_namespace_errors_are_malformed_xml(data: bytes, place: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_xml(data)
    assert caught.value.problem.id == "GW104"
    assert caught.value.location.startswith(place)


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    xsi = "http://www.w3.org/2001/XMLSchema-instance"
    root = parse_xml(
        f"<a xmlns:xsi='{xsi}' xsi:schemaLocation='urn:a http://127.0.0.1:9/a.xsd'>"
        "<i:include xmlns:i='http://www.w3.org/2001/XInclude' href='http://127.0.0.1:9/x'/></a>".encode()
    )
    assert len(root) == 1


def test_paths_use_our_prefixes_and_count_only_likes() -> None:
    root = parse_xml(
        f"<x:Envelope xmlns:x='{SOAP11}'><x:Header><m:MessageHeader xmlns:m='{EB}'><m:From><m:PartyId/>"
        "<!--c--><m:PartyId/></m:From></m:MessageHeader></x:Header>"
        "<x:Body><q:own xmlns:q='urn:q'/><plain/></x:Body></x:Envelope>".encode()
    )
    paths = [build_xpath(element) for element in root.iter("*")]
    assert paths[0] == "/soap:Envelope"
    assert paths[4:6] == [
        "/soap:Envelope/soap:Header/eb:MessageHeader/eb:From/eb:PartyId[1]",
        "/soap:Envelope/soap:Header/eb:MessageHeader/eb:From/eb:PartyId[2]",
    ]
    assert paths[-2:] == ["/soap:Envelope/soap:Body/q:own", "/soap:Envelope/soap:Body/plain"]
    for path, element in zip(paths[:-2], root.iter("*"), strict=False):
        assert root.getroottree().xpath(path, namespaces=PREFIXES) == [element]


def test_a_comment_has_a_path_too() -> None:
    root = parse_xml(b"<a><!--c--></a>")
    assert build_xpath(root[0]) == "/a/comment()"


@pytest.mark.parametrize(
    "data", [b"<a:b/>", b'<a:b><c xmlns="relative"/></a:b>', b'<x a:y="1"><c xmlns="relative" d=""/></x>']
)
def test_an_unbound_prefix_is_refused_whatever_follows_it(data: bytes) -> None:
    # The warning about a relative namespace makes libxml2 forget the error before it.
    with pytest.raises(GatewayError, match="Namespace prefix a") as caught:
        parse_xml(data)
    assert caught.value.problem.id == "GW104"
    assert caught.value.location.startswith("line 1, column ")


def test_trees_may_pass_from_thread_to_thread() -> None:
    results: list[etree._Element] = []
    workers = [threading.Thread(target=lambda: results.append(parse_xml(b"<a><b/></a>"))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    joined = etree.Element("all")
    joined.extend(results)
    assert serialize_element(joined) == b"<all>" + b"<a><b/></a>" * 8 + b"</all>"


def test_prefixes_are_unique_and_documents_have_a_namespace_each() -> None:
    assert len(set(PREFIXES.values())) == len(PREFIXES)
    assert make_document_namespace("ABC-Def") == "urn:single-window:document:abc-def:1"
