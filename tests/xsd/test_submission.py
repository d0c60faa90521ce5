"""The submission's schema: what a broker may send, and what not."""

from __future__ import annotations

import re

import pytest
from lxml import etree

from gateway.wire import SUBMISSION, load_shipped_schemas, load_wco_elements

DECLARATION = (
    "<Declaration xmlns='urn:wco:datamodel:WCO:DEC-DMS:2'><FunctionCode>9</FunctionCode>"
    "<FunctionalReferenceID>R-1</FunctionalReferenceID></Declaration>"
)
ANSWER = "<FunctionCode>01</FunctionCode><Declaration/>"
RESPONSE = f"<Response xmlns='urn:wco:datamodel:WCO:RES-DMS:2'>{ANSWER}</Response>"
HEADER = "<Reference>R-1</Reference><Function>9</Function>"
SHELL = f"<m:MetaData xmlns:m='urn:wco:datamodel:WCO:DocumentMetaData-DMS:2'>{DECLARATION}</m:MetaData>"
ARRIVAL = "path='Declaration/BorderTransportMeans/ArrivalDateTime' wcoID='172'"
MAKER = "path='Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Name' wcoID='R042'"
DIGEST = "0a" * 32
ATTACHMENT = f"<Attachment cid='p2@x' mediaType='application/pdf' sha256='{DIGEST}' size='12' kind='label'/>"
FIELDS = (
    "<Fields><d:DrugClass xmlns:d='urn:single-window:document:first:1'>1AG</d:DrugClass>"
    "<d:Item xmlns:d='urn:single-window:document:first:1' sequence='1'><d:Lot unitCode='EA'>7</d:Lot>"
    "</d:Item></Fields>"
)
APPLICATION = f"<Application id='a1' document='FIRST'><Items>1 2</Items>{FIELDS}{ATTACHMENT}</Application>"
SIGNATURE = "<Signature xmlns='http://www.w3.org/2000/09/xmldsig#' Id='s'><SignedInfo/></Signature>"
WHOLE = (
    "<Submission xmlns='urn:single-window:submission:1' version='1' xml:id='doc'>"
    f"{HEADER}{SHELL}"
    f"<Supplement><Value {ARRIVAL}>2026-11-20T00:00:00Z</Value>"
    f"<Value {MAKER} item='1' n='2'>Maker</Value></Supplement>"
    f"{APPLICATION}<Disclaimer item='2' law='05' reason='A'/>"
    f"<Disclaimer item='2' law='73' reason='Z'>for an exhibition</Disclaimer>{SIGNATURE}</Submission>"
)


def accepted(text: str) -> bool:
    return load_shipped_schemas(SUBMISSION).is_valid(etree.fromstring(text))


VALID = {
    "whole": ("", ""),
    "bare declaration": (SHELL, DECLARATION),
    "declaration set apart": (SHELL, f"<Declaration>{SHELL}</Declaration>"),
    "bare declaration set apart": (SHELL, f"<Declaration>{DECLARATION}</Declaration>"),
    "not signed": (SIGNATURE, ""),
    "no application": (APPLICATION, ""),
    "no supplement": (r"<Supplement>.*</Supplement>", ""),
    "empty supplement": (r"<Supplement>.*</Supplement>", "<Supplement/>"),
    "no disclaimer": (r"<Disclaimer.*</Disclaimer>", ""),
    "no field": (FIELDS, "<Fields/>"),
    "two applications": (APPLICATION, APPLICATION.replace(ATTACHMENT, "") + APPLICATION.replace("a1", "a2")),
    "no kind": (" kind='label'", ""),
    "no id": (" xml:id='doc'", ""),
    "supplement function": (">9</Function><m", ">35</Function><m"),
    "amendment": (">9</Function><m", ">13</Function><m"),
    "cancellation": (">9</Function><m", ">1</Function><m"),
    "item without digest case": (DIGEST, DIGEST.upper()),
    "comment": ("<Function>", "<!-- ours --><Function>"),
}
INVALID = {
    "no version": (" version='1'", ""),
    "version 2": (" version='1'", " version='2'"),
    "other attribute": (" version='1'", " version='1' note='x'"),
    "no reference": ("<Reference>R-1</Reference>", ""),
    "blank reference": ("<Reference>R-1", "<Reference> "),
    "long reference": ("<Reference>R-1", "<Reference>" + "x" * 36),
    "two references": ("<Reference>R-1</Reference>", "<Reference>R-1</Reference>" * 2),
    "no function": ("<Function>9</Function>", ""),
    "unknown function": ("<Function>9", "<Function>5"),
    "order": (HEADER, "<Function>9</Function><Reference>R-1</Reference>"),
    "no declaration": (SHELL, ""),
    "two declarations": (SHELL, SHELL + SHELL),
    "empty declaration": (SHELL, "<Declaration/>"),
    "two set apart": (SHELL, f"<Declaration>{SHELL}{SHELL}</Declaration>"),
    "wrong declaration": ("<FunctionCode>9", "<FunctionCode>7"),
    "response for a declaration": (DECLARATION, RESPONSE),
    "unknown supplement path": ("ArrivalDateTime'", "DepartureDateTime'"),
    "unknown supplement id": ("'172'", "'173'"),
    "no supplement id": (" wcoID='172'", ""),
    "blank supplement": (">Maker<", "> <"),
    "long supplement": (">Maker<", f">{'x' * 513}<"),
    "supplement item": ("item='1' n", "item='one' n"),
    "supplement item too high": ("item='1' n", "item='100000' n"),
    "supplement position": ("n='2'", "n='0'"),
    "supplement markup": (">Maker<", "><b/><"),
    "no application id": (" id='a1'", ""),
    "no document": (" document='FIRST'", ""),
    "empty document": ("'FIRST'", "''"),
    "one id twice": (APPLICATION, APPLICATION + APPLICATION.replace("p2@x", "p3@x")),
    "one content id twice": (APPLICATION, APPLICATION + APPLICATION.replace("a1", "a2")),
    "no items": ("<Items>1 2</Items>", ""),
    "empty items": ("<Items>1 2</Items>", "<Items> </Items>"),
    "items with comma": ("<Items>1 2<", "<Items>1,2<"),
    "negative item": ("<Items>1 2<", "<Items>-1<"),
    "no fields": (FIELDS, ""),
    "fields of ours": (FIELDS, "<Fields><Reference>1</Reference></Fields>"),
    "fields of nobody": (FIELDS, "<Fields><x xmlns=''/></Fields>"),
    "text among fields": (FIELDS, "<Fields>stray</Fields>"),
    "attachment before fields": (FIELDS + ATTACHMENT, ATTACHMENT + FIELDS),
    "no digest": (f" sha256='{DIGEST}'", ""),
    "short digest": (DIGEST, DIGEST[1:]),
    "digest in base64": (DIGEST, "z" * 64),
    "no size": (" size='12'", ""),
    "negative size": ("size='12'", "size='-1'"),
    "content id with scheme brackets": ("p2@x", "&lt;p2@x&gt;"),
    "content id with space": ("p2@x", "p2 x"),
    "media type": ("application/pdf", "pdf"),
    "attachment with content": (ATTACHMENT, ATTACHMENT.replace("/>", ">x</Attachment>")),
    "disclaimer without law": (" law='05'", ""),
    "disclaimer without item": ("item='2' law='05'", "law='05'"),
    "disclaimer reason": ("reason='A'", "reason='D'"),
    "disclaimer before application": (
        APPLICATION + "<Disclaimer item='2' law='05' reason='A'/>",
        "<Disclaimer item='2' law='05' reason='A'/>" + APPLICATION,
    ),
    "two signatures": (SIGNATURE, SIGNATURE * 2),
    "signature first": ("<Reference>", SIGNATURE + "<Reference>"),
    "foreign end": ("</Submission>", "<x xmlns='urn:x'/></Submission>"),
    "other namespace": ("urn:single-window:submission:1", "urn:single-window:submission:2"),
}


def changed(old: str, new: str) -> str:
    """Return the whole example with one change; the old text is a pattern only where it has a wildcard."""
    found = re.search(old if ".*" in old else re.escape(old), WHOLE)
    assert found, old
    return WHOLE[: found.start()] + new + WHOLE[found.end() :]


@pytest.mark.parametrize("name", VALID)
def test_what_may_be_sent(name: str) -> None:
    assert load_shipped_schemas(SUBMISSION).list_violations(etree.fromstring(changed(*VALID[name]))) == []


@pytest.mark.night
@pytest.mark.parametrize("name", INVALID)
def test_what_may_not_be_sent(name: str) -> None:
    text = changed(*INVALID[name])
    assert text != WHOLE
    assert not accepted(text)
    assert load_shipped_schemas(SUBMISSION).list_violations(etree.fromstring(text))


def test_the_supplement_takes_exactly_the_elements_of_the_table() -> None:
    table = {tag.path: tag.wco_id for tag in load_wco_elements().values() if tag.kind == "supplement"}
    assert len(table) == 6
    taken = set()
    for tag in load_wco_elements().values():
        value = f"<Value path='{tag.path}' wcoID='{table.get(tag.path, '172')}'>x</Value>"
        if accepted(changed(r"<Supplement>.*</Supplement>", f"<Supplement>{value}</Supplement>")):
            taken.add(tag.path)
    assert taken == set(table)
