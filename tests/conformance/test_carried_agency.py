"""A simulated agency that speaks JSON or fixed records reads requests and writes notices by its own code.

It knows a form by the printed layouts alone, so it is a second reader of what the hub writes, and the hub a
second reader of what it writes.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lxml import etree

from gateway.cases import AgencyAcknowledgment, Notice
from gateway.errors import GatewayError
from gateway.harmonize import (
    CarrierFormat,
    MappingBundle,
    describe_layout,
    find_carried_document,
    load_bundle,
    read_carried,
    read_delivered_notice,
    write_carried,
)
from gateway.share import get_data_folder
from gateway.wire import CARRIED, parse_xml
from gateway_conformance.partners import DocumentCatalogue
from gateway_conformance.partners.agency_callbacks import Callback
from gateway_conformance.partners.carried_format import (
    CarriedFormat,
    _write_continuations,
    load_carried_format,
)
from tests.conformance.conftest import Agencies
from tests.conformance.simulated_hubs import CallingHub, ListeningHub, application, documents, numbers
from tests.harmonize.mutation.judging import golden
from tests.kit.documents import each_document
from tests.kit.waiting import until

FORMS = {
    "json": CarrierFormat("json", number_format="exact"),
    "fixed": CarrierFormat("fixed", number_format="zeros", max_text_octets=20, record_end=b""),
    "korean": CarrierFormat("fixed", charset="cp949", max_text_octets=20, record_end=b"\r\n"),
}
NOTICES = ("CERTIFICATE", "GOVCBRRBJ")


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def make_layout(name: str, form: str) -> Any:
    """Return the layout as its JSON is printed."""
    return json.loads(json.dumps(describe_layout(find_carried_document(shipped(), name), FORMS[form])))


def carry(root: etree._Element, name: str, form: str) -> etree._Element:
    octets = write_carried(root, find_carried_document(shipped(), name), FORMS[form])
    element = etree.Element(f"{{{CARRIED}}}Carried", form=FORMS[form].syntax, document=name)
    element.text = base64.b64encode(octets).decode()
    return element


def canonical(root: etree._Element) -> bytes:
    parser = etree.XMLParser(remove_blank_text=True, remove_comments=True)
    return etree.tostring(etree.fromstring(etree.tostring(root), parser), method="c14n")


def make_form(agency: str, names: tuple[str, ...], form: str) -> CarriedFormat:
    layouts = {name: make_layout(name, form) for name in names} if FORMS[form].syntax == "fixed" else {}
    return CarriedFormat(FORMS[form].syntax, get_data_folder("xsd").joinpath("agencies", agency), layouts)


@pytest.mark.parametrize("name", each_document())
def test_the_agency_reads_every_request_in_every_form(name: str) -> None:
    root = parse_xml(golden(name))
    # Not every name is written in the letters that cp949 has.
    for form in ("json", "fixed"):
        spoken = make_form(shipped().documents[name].organisation, (name,), form)
        assert canonical(spoken.open_document(carry(root, name, form))) == canonical(root), form


@dataclass
class Place:
    """The data of an agency that speaks another form: its mappings and its layouts."""

    folder: Path

    def make_catalogue(self, agency: str, document: str, form: str) -> DocumentCatalogue:
        mappings, layouts = self.folder / "mappings", self.folder / "layouts"
        shared = Path(str(get_data_folder("mappings"))) / "agencies"
        mappings.mkdir(parents=True)
        (mappings / "agencies").symlink_to(shared)
        text = f"carriers:\n  {agency}: {{form: {FORMS[form].syntax}}}\n"
        (mappings / "carriers.yaml").write_text(text, encoding="utf-8")
        layouts.mkdir()
        for name in (document, *NOTICES):
            (layouts / f"{name}.json").write_text(json.dumps(make_layout(name, form)), encoding="utf-8")
        return DocumentCatalogue(agency, None, mappings, layouts)


def read_notice(delivered: etree._Element, form: str) -> etree._Element:
    """Return the notice that the agency delivered, as the hub reads it."""
    document = find_carried_document(shipped(), delivered.get("document", ""))
    return read_carried(base64.b64decode(delivered.text or ""), document, FORMS[form])


@pytest.mark.night
@pytest.mark.parametrize("form", ["json", "korean"])
@pytest.mark.parametrize(
    ("agency", "document", "decision", "notice", "said"),
    [
        ("NPQS", "NPQS-PLA-IMP", "APPROVED_WITH_CONDITIONS", "CERTIFICATE", ("R01", "3")),
        ("KPTA", "KPTA-PHARM-IMP", "REJECTED", "GOVCBRRBJ", ("R04", None)),
    ],
)
def test_an_agency_answers_in_its_form(
    hub: CallingHub,
    agencies: Agencies,
    listening: ListeningHub,
    tmp_path: Path,
    form: str,
    agency: str,
    document: str,
    decision: str,
    notice: str,
    said: tuple[str, str | None],
) -> None:
    catalogue = Place(tmp_path).make_catalogue(agency, document, form)
    conditions = ["어둡고 서늘한 곳에 보관할 것, 영하 2도를 넘지 않을 것"] if decision != "REJECTED" else []
    rule = {"decision": decision, "conditions": conditions}
    started = agencies(agency, catalogue=catalogue, items=[rule])
    call = application(started.url, agency, document=carry(parse_xml(documents()[agency]), document, form))
    assert isinstance(hub.call(started.url, call), AgencyAcknowledgment)
    assert started.refusals() == []
    until(lambda: bool(listening.delivered))
    (delivered,) = listening.delivered
    # A process that starts again knows what it has to call, and about which application.
    ((errand,),) = [row["errands"] for row in started.effects()]
    assert Callback.from_row(errand).application == numbers()[agency]
    assert (delivered.get("form"), delivered.get("document")) == (FORMS[form].syntax, notice)
    root = read_notice(delivered, form)
    facts = read_delivered_notice(root, shipped(), shipped().documents[document])
    assert facts.find_value("application_number") == numbers()[agency]
    assert facts.find_value("status") == said[0]
    certified = [(one.item, one.value) for one in facts.facts if one.name == "certified.condition"]
    assert certified == [(said[1], one) for one in conditions]


def test_a_certificate_is_later_than_what_was_told_before_it(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub, tmp_path: Path
) -> None:
    """A certificate names whole seconds, a status a part of one."""
    catalogue = Place(tmp_path).make_catalogue("NPQS", "NPQS-PLA-IMP", "json")
    started = agencies("NPQS", catalogue=catalogue, behaviour="later", delay=0.05, steps=["E01"])
    document = carry(parse_xml(documents()["NPQS"]), "NPQS-PLA-IMP", "json")
    hub.call(started.url, application(started.url, "NPQS", document=document))
    until(lambda: bool(listening.delivered and listening.heard))
    (delivered,), (status,) = listening.delivered, [one.said.answer for one in listening.heard]
    assert isinstance(status, Notice)
    stated = read_notice(delivered, "json").findtext("{*}IssueDateTime") or ""
    certified = datetime.strptime(f"{stated}+0900", "%Y%m%d%H%M%S%z")
    assert status.issued_at < certified < status.issued_at + timedelta(seconds=60)


@pytest.mark.parametrize("form", ["json", "fixed"])
def test_what_is_not_in_the_form_is_refused_and_never_a_crash(form: str) -> None:
    name, drawn = "NPQS-PLA-IMP", Random(form)
    spoken = make_form("NPQS", (name,), form)
    carried = carry(parse_xml(golden(name)), name, form)
    octets = base64.b64decode(carried.text or "")
    problems = []
    for _ in range(150):
        start = drawn.randrange(len(octets))
        wrong = octets[:start] + drawn.randbytes(drawn.randrange(3)) + octets[start + drawn.randrange(1, 9) :]
        carried.text = base64.b64encode(wrong).decode()
        try:
            spoken.open_document(carried)
        except GatewayError as error:
            problems.append(error.problem.id)
    # What changes only a text is a document still.
    assert set(problems) == {"GW718"}
    assert len(problems) > 30


def test_another_form_or_document_is_refused() -> None:
    name = "NPQS-PLA-IMP"
    root = parse_xml(golden(name))
    spoken = make_form("NPQS", (name,), "fixed")
    other = carry(root, name, "fixed")
    other.set("document", "../NPQS-PLA-IMP")
    spoiled = carry(root, name, "fixed")
    spoiled.text = "%%%"
    assert spoken.open_document(carry(root, name, "fixed")) is not None
    for wrong in (root, carry(root, name, "json"), other, spoiled):
        with pytest.raises(GatewayError) as caught:
            spoken.open_document(wrong)
        assert caught.value.problem.id == "GW718"


@pytest.mark.parametrize(
    "content",
    ["null", "[]", '["a"]', "{", "7", '{"ID":null}', '{"ID":{"@a":[]}}', '{"ID":{"#":{}}}', '{"a b":"c"}',
     '{"ID":"a","ID":"b"}', '{"ID":"\\u0000"}', '{"ID":"\\ud800"}', '{"@a b":"c"}',
     pytest.param('{"a":' * 700 + "0" + "}" * 700, id="deep"), pytest.param('{"a":' * 90000, id="deeper")],
)  # fmt: skip
def test_json_that_is_no_document_is_refused(content: str) -> None:
    spoken = make_form("NPQS", (), "json")
    octets = f'{{"document":"NPQS-PLA-IMP","Application":{content}}}'.encode()
    carried = etree.Element(f"{{{CARRIED}}}Carried", form="json", document="NPQS-PLA-IMP")
    carried.text = base64.b64encode(octets).decode()
    try:
        root = spoken.open_document(carried)
    except GatewayError as error:
        problem = error.problem.id
    else:
        with pytest.raises(GatewayError) as caught:
            DocumentCatalogue("NPQS").validate_document(root)
        problem = caught.value.problem.id
    assert problem in ("GW718", "GW402")


@pytest.mark.parametrize(
    ("carriers", "layout", "place"),
    [
        ("carriers:\n  NPQS: {form: fixed}\n", None, "--layouts"),
        ("carriers:\n  NPQS: {form: fixed}\n", "{}", "NPQS-PLA-IMP.json"),
        ("carriers:\n  NPQS: {form: fixed}\n", "no JSON", "NPQS-PLA-IMP.json"),
        ("carriers:\n  NPQS: {form: morse}\n", None, "carriers.yaml"),
        ("carriers: [NPQS]\n", None, "carriers.yaml"),
        ("{", None, "carriers.yaml"),
    ],
)
def test_an_agency_that_lacks_its_data_does_not_start(
    tmp_path: Path, carriers: str, layout: str | None, place: str
) -> None:
    (tmp_path / "carriers.yaml").write_text(carriers)
    if layout is not None:
        (tmp_path / "NPQS-PLA-IMP.json").write_text(layout)
    layouts = tmp_path if layout is not None else None
    with pytest.raises(GatewayError) as caught:
        load_carried_format("NPQS", get_data_folder("xsd"), tmp_path, layouts)
    assert caught.value.problem.id == "GW808"
    assert caught.value.location.endswith(place)


def test_an_agency_that_no_form_names_speaks_xml(tmp_path: Path) -> None:
    schemas = get_data_folder("xsd")
    assert load_carried_format("NPQS", schemas, get_data_folder("mappings"), None) is None
    (tmp_path / "carriers.yaml").write_text("carriers:\n  NPQS: {form: fixed}\n")
    assert load_carried_format("KFDA", schemas, tmp_path, None) is None


@pytest.mark.parametrize(("charset", "octets"), [("euc-kr", 1), ("utf-8", 2)])
def test_a_character_that_no_continuation_can_hold_is_refused(charset: str, octets: int) -> None:
    continuation = {"type": "CON", "field": 2, "size": 2, "octets": octets}
    layout = {"charset": charset, "continuation": continuation}
    rows = _write_continuations(0, {"path": "/Response/ID"}, "a가", layout)
    with pytest.raises(GatewayError, match=r"GW718 .*U\+AC00") as refused:
        # Never more rows than octets: without the refusal they do not end.
        list(itertools.islice(rows, 9))
    assert refused.value.location == "/Response/ID"
