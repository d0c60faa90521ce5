"""WSDLs are read for operations, actions and schema, bound to documents, and refused when of another kind."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.share import get_data_folder
from gateway.wire import AGENCY, WsdlOperation, bind_document_namespaces, read_wsdl, remove_schema_imports

TEMPLATE = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
DOCUMENTS = {"urn:d:2": "two.xsd", "urn:d:1": "one&.xsd"}


def test_the_operations_of_the_template() -> None:
    found = read_wsdl(TEMPLATE)
    assert found.namespace == AGENCY
    assert found.document_namespaces == {"##other"}
    assert found.operations["CancelApplication"] == WsdlOperation(
        name="CancelApplication",
        request=f"{{{AGENCY}}}CancelApplication",
        response=f"{{{AGENCY}}}CancelApplicationResponse",
        action=f"{AGENCY}:CancelApplication",
        reply_action=f"{AGENCY}:CancelApplicationResponse",
    )
    assert found.operations["SubmitSupplement"].open_part == "Document"
    assert found.find_by_request(f"{{{AGENCY}}}SubmitApplication") is found.operations["SubmitApplication"]
    assert found.find_by_request(f"{{{AGENCY}}}Answer") is None


@pytest.mark.parametrize(
    "name", ["agency-template.wsdl", "hub-agency.wsdl", "customs.wsdl", "hub-customs.wsdl"]
)
def test_in_every_wsdl_action_and_soap_action_agree(name: str) -> None:
    data = get_data_folder("wsdl").joinpath(name).read_bytes()
    found = read_wsdl(data)
    root = etree.fromstring(data)
    soap = {
        one.getparent().get("name"): one.get("soapAction")
        for one in root.iter("{http://schemas.xmlsoap.org/wsdl/soap/}operation")
    }
    assert soap == {one.name: one.action for one in found.operations.values()}
    for one in found.operations.values():
        assert one.action == f"{found.namespace}:{one.name}"
        assert one.reply_action == f"{one.action}Response"


@pytest.mark.parametrize(
    ("content", "good"),
    [
        ("<ApplicationNumber>A</ApplicationNumber><Reason>r</Reason>", True),
        ("<ApplicationNumber>A</ApplicationNumber>", False),
        ("<Reason>r</Reason><ApplicationNumber>A</ApplicationNumber>", False),
        ("<ApplicationNumber/><Reason>r</Reason>", False),
        ("<ApplicationNumber>A</ApplicationNumber><Reason>r</Reason><Reason>r</Reason>", False),
    ],
)
def test_the_schema_inside_judges(content: str, good: bool) -> None:
    schema = read_wsdl(TEMPLATE).schema
    element = etree.fromstring(f'<CancelApplication xmlns="{AGENCY}">{content}</CancelApplication>')
    if good:
        schema.validate_element(element)
        return
    with pytest.raises(GatewayError) as caught:
        schema.validate_element(element)
    assert caught.value.problem.id == "GW402"
    assert caught.value.location.startswith("/agency:CancelApplication")


def test_what_lies_deep_is_named_with_its_whole_path() -> None:
    schema = read_wsdl(TEMPLATE).schema
    words = (
        f'<a:SubmitApplication xmlns:a="{AGENCY}"><a:ApplicationNumber>A</a:ApplicationNumber>'
        "<a:CaseNumber>C</a:CaseNumber><a:Document><x/><y/></a:Document></a:SubmitApplication>"
    )
    with pytest.raises(GatewayError) as caught:
        schema.validate_element(etree.fromstring(words))
    assert caught.value.location == "/agency:SubmitApplication/agency:Document/x"


def test_the_wildcard_takes_the_bound_namespaces_only() -> None:
    schema = read_wsdl(bind_document_namespaces(TEMPLATE, "X", DOCUMENTS)).schema
    for namespace, good in (("urn:d:1", True), ("urn:d:2", True), ("urn:d:3", False), (AGENCY, False)):
        element = etree.fromstring(
            f'<SubmitApplication xmlns="{AGENCY}"><ApplicationNumber>A</ApplicationNumber>'
            f"<CaseNumber>C</CaseNumber>"
            f'<Document><x xmlns="{namespace}"/></Document></SubmitApplication>'
        )
        if good:
            schema.validate_element(element)
        else:
            with pytest.raises(GatewayError):
                schema.validate_element(element)


def test_binding_changes_imports_wildcard_and_address_and_nothing_else() -> None:
    bound = bind_document_namespaces(TEMPLATE, "OFFICE", DOCUMENTS)
    assert read_wsdl(bound).document_namespaces == {"urn:d:1", "urn:d:2"}
    root = etree.fromstring(bound)
    imports = root.findall(".//{http://www.w3.org/2001/XMLSchema}import")
    assert {one.get("namespace"): one.get("schemaLocation") for one in imports} == DOCUMENTS
    changed = set(bound.decode().splitlines()) ^ set(TEMPLATE.decode().splitlines())
    assert len(changed) == 2 + 2 * 2, "two imports; wildcard and address, each before and after"
    assert not etree.fromstring(remove_schema_imports(bound)).findall(
        ".//{http://www.w3.org/2001/XMLSchema}import"
    )


@pytest.mark.parametrize("template", [b"<x/>", TEMPLATE.replace(b"##other", b"##any")])
def test_only_the_template_can_be_bound(template: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        bind_document_namespaces(template, "X", DOCUMENTS)
    assert caught.value.problem.id == "GW801"


def test_a_wsdl_with_korean_names_is_read() -> None:
    start = '<xs:element name="CancelApplication">'
    remark = "<xs:annotation><xs:appinfo><설명 xmlns='urn:example'/></xs:appinfo></xs:annotation>"
    text = TEMPLATE.decode()
    assert text.count(start) == 1
    data = text.replace(start, start + remark).encode()
    assert read_wsdl(data).operations == read_wsdl(TEMPLATE).operations
    assert read_wsdl(remove_schema_imports(data)).operations == read_wsdl(TEMPLATE).operations


def test_without_documents_there_is_nothing_to_bind() -> None:
    with pytest.raises(GatewayError):
        bind_document_namespaces(TEMPLATE, "X", {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<x/>",
        b"<!DOCTYPE x><x/>",
        TEMPLATE.replace(b"<wsdl:types>", b"<wsdl:documentation>").replace(
            b"</wsdl:types>", b"</wsdl:documentation>"
        ),
        TEMPLATE.replace(b"wsam:Action", b"wsam:Other"),
        TEMPLATE.replace(b"<wsdl:output", b"<wsdl:documentation"),
        TEMPLATE.replace(b'type="a:Number"', b'type="a:Nothing"'),
        TEMPLATE.replace(b'message="a:SubmitApplication"', b'message="a:Nothing"'),
        TEMPLATE.replace(b'"qualified">', b'"qualified"><xs:include schemaLocation="file:///etc/passwd"/>'),
    ],
)
def test_another_kind_of_wsdl_is_refused(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_wsdl(data)
    assert caught.value.problem.id == "GW801"
