# ruff: noqa: E501 (tables and texts with long lines)
"""The shipped submission split for three organisations: requests, ledger, refusals."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, SplitResult, make_placeholder_numbers, split_submission
from gateway.harmonize.split.unique_field_reader import describe_declared_place
from gateway.share import get_data_folder
from gateway.wire import SchemaSet, parse_xml, serialize_element

PHARM, FOOD, PLANT = "KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP"


@pytest.fixture
def root(three_items: bytes) -> etree._Element:
    return parse_xml(three_items)


def divide(root: etree._Element, bundle: MappingBundle) -> SplitResult:
    return split_submission(root, bundle, make_placeholder_numbers(root))


def one(root: etree._Element, path: str) -> etree._Element:
    """Return the first element of a path of local names."""
    found = root.find("/".join(f"{{*}}{name}" for name in path.split("/")))
    assert found is not None, path
    return found


def test_the_sample_is_a_valid_submission(root: etree._Element, submission_schema: SchemaSet) -> None:
    submission_schema.validate_document(root)


@pytest.mark.vectors
def test_its_declaration_is_valid_by_the_original_schema(root: etree._Element, vectors: Path) -> None:
    original = etree.XMLSchema(file=str(vectors / "data/hmrc-cds/xsd/driver-declaration.xsd"))
    original.assertValid(copy.deepcopy(one(root, "MetaData")))


def test_three_requests_and_every_leaf_accounted_for(root: etree._Element, bundle: MappingBundle) -> None:
    result = divide(root, bundle)
    assert [request.document for request in result.requests] == [PHARM, FOOD, PLANT]
    assert (result.problems, result.unaccounted_leaves) == ((), ())
    counts = result.ledger.count_fates()
    assert counts["unaccounted"] == 0
    assert counts["forwarded"] + counts["withheld"] + counts["consumed"] == 3 * len(
        result.submission_index.leaves
    )
    assert all(None not in entry.fates for entry in result.ledger.entries)


def test_requests_are_valid_by_the_shipped_schemas(root: etree._Element, bundle: MappingBundle) -> None:
    for request in divide(root, bundle).requests:
        name = f"agencies/{request.organisation}/{request.document}.xsd"
        SchemaSet.load_cached(get_data_folder("xsd"), name).validate_document(
            parse_xml(serialize_element(request.xml))
        )


def test_fields_are_valid_by_the_schema_for_applicants(root: etree._Element, bundle: MappingBundle) -> None:
    for application in root.findall("{*}Application"):
        document = bundle.documents[application.get("document", "")]
        schema = etree.XMLSchema(
            file=str(Path(str(get_data_folder("xsd"))) / f"agencies/{document.schema_stem}-application.xsd")
        )
        schema.assertValid(copy.deepcopy(one(application, "Fields")))


def test_every_leaf_is_one_that_an_outsider_would_count(root: etree._Element, bundle: MappingBundle) -> None:
    expected = []
    declaration = one(root, "MetaData/Declaration")
    parts = [
        declaration,
        *root.findall("{*}Supplement/{*}Value"),
        *root.findall("{*}Application/{*}Fields/*"),
    ]
    for part in parts:
        for element in part.iter(etree.Element):
            if len(element) == 0:
                expected.append((element, None))
            expected += [(element, name) for name in element.attrib]
    assert [
        (leaf.element, leaf.attribute) for leaf in divide(root, bundle).submission_index.leaves
    ] == expected


def test_every_value_of_a_request_has_an_origin(root: etree._Element, bundle: MappingBundle) -> None:
    for request in divide(root, bundle).requests:
        values = []
        for element in request.xml.iter():
            values += [element] if len(element) == 0 else []
            values += [name for name in element.attrib if name != "schemeAgencyID"]
        assert len(request.origins) == len(values)
        for origin in request.origins:
            assert origin.leaves or origin.source.partition(":")[0] in ("const", "hub", "count")
            lines = (get_data_folder("mappings") / origin.rule.file).read_text("utf-8").splitlines()
            assert (
                origin.target.rpartition("/")[2].split("[")[0].lstrip("@")[:4] in lines[origin.rule.line - 1]
            )


def test_a_request_holds_what_was_declared(root: etree._Element, bundle: MappingBundle) -> None:
    pharm, food, plant = divide(root, bundle).requests
    text = pharm.xml.xpath("string(//*[local-name()='CargoDescription'])")
    assert text == "Amoxicillin capsules 500 mg, 10 x 10"
    assert pharm.xml.xpath("string(//*[local-name()='PaymentAmount'])") == "30556.00"
    assert (
        pharm.xml.xpath("string(//*[local-name()='UnloadingLocation']/*[local-name()='Name'])") == "인천공항"
    )
    assert food.xml.xpath("string(//*[local-name()='KoreanLabel']/@cid)") == "korean-label@sample"
    assert food.attachments == ("korean-label@sample",)
    certificate = "//*[local-name()='AdditionalDocument'][*[local-name()='TypeCode']='851']"
    assert plant.xml.xpath(f"string({certificate}/*[local-name()='ID'])") == "NL-2026-5581207"
    assert (plant.items, plant.laws) == (("3",), ("12",))


def test_no_agency_gets_the_items_or_fields_of_another(root: etree._Element, bundle: MappingBundle) -> None:
    pharm, food, plant = (
        serialize_element(request.xml).decode() for request in divide(root, bundle).requests
    )
    for secret, holder in (
        ("Amoxicillin", pharm),
        ("Caramel", food),
        ("Tulip", plant),
        ("서울-2019-0417", pharm),
    ):
        assert [secret in text for text in (pharm, food, plant)] == [
            text is holder for text in (pharm, food, plant)
        ]


def test_the_function_of_the_submission_is_told_and_not_that_of_the_declaration(
    root: etree._Element, bundle: MappingBundle
) -> None:
    one(root, "Function").text = "35"
    for request in divide(root, bundle).requests:
        assert request.xml.xpath("string(*[local-name()='FunctionCode'])") == "35"


CHANGES = [
    ("Declaration/Declarant/Name", None, "GW503", "42A/57B[1]/R124", (PHARM, FOOD, PLANT)),
    ("Declaration/TotalGrossMassMeasure", None, "GW503", "42A/131", (PHARM, FOOD, PLANT)),
    ("Declaration/GoodsShipment/Importer/Address/PostcodeID", "045240", "GW506", "42A/67A[1]/74A[1]/04A[1]/245", (PHARM,)),
    ("Declaration/GoodsShipment/Consignor/Name", "Société Générale", "GW506", "42A/67A[1]/30A[1]/R020", (PHARM,)),
    ("Declaration/GoodsShipment/Consignor/Address/CountryCode", "XX", "GW403", "42A/67A[1]/30A[1]/04A[1]/242", (PHARM, FOOD, PLANT)),
    ("Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Description", "가" * 106, "GW506", "42A/67A[1]/68A[1]/23A[1]/137", (PHARM,)),
    ("Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Description", None, "GW503", "42A/67A[1]/68A[1]/23A[1]/137", (PHARM,)),
    ("Declaration/InvoiceAmount", "9299", "GW404", "APP[1]/KPTA-PHARM-IMP", (PHARM,)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "problem", "pointer", "documents"), CHANGES)
def test_a_wrong_common_value_stops_whom_it_concerns(
    root: etree._Element,
    bundle: MappingBundle,
    path: str,
    text: str | None,
    problem: str,
    pointer: str,
    documents: tuple[str],
) -> None:
    element = one(root, f"MetaData/{path}")
    element.text = text
    result = divide(root, bundle)
    assert {(p.problem.id, p.pointer, p.document) for p in result.problems} >= {
        (problem, pointer, document) for document in documents
    }
    assert {request.document for request in result.requests} == {PHARM, FOOD, PLANT} - set(documents)
    assert result.unaccounted_leaves == ()
    assert all(None not in entry.fates for entry in result.ledger.entries)


SUPPLEMENT = [
    ("BorderTransportMeans/ArrivalDateTime", None, (PHARM, FOOD, PLANT)),
    ("GoodsShipment/Consignment/TransportContractDocument/ID", None, (PHARM, FOOD, PLANT)),
    ("GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Name", "2", (FOOD,)),
    ("GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Address/CountryCode", "3", ()),
]


@pytest.mark.parametrize(("path", "item", "documents"), SUPPLEMENT)
def test_a_missing_supplement_value_is_named(
    root: etree._Element, bundle: MappingBundle, path: str, item: str | None, documents: tuple[str]
) -> None:
    supplement = one(root, "Supplement")
    for value in list(supplement):
        if value.get("path") == f"Declaration/{path}" and value.get("item") == item:
            supplement.remove(value)
    result = divide(root, bundle)
    pointer = f"SUP/Declaration/{path}" + (f"[{item}]" if item else "") + "[1]"
    assert {(p.problem.id, p.pointer, p.document) for p in result.problems} == {
        ("GW503", pointer, document) for document in documents
    }


FIELDS = [
    (1, "BseOrigin", None, "GW503"),
    (1, "Bse", "1AV", "GW404"),
    (1, "DrugClass", "9ZZ", "GW403"),
    (1, "CompetentOffice", "9", "GW403"),
    (1, "ModelIngredients", "가" * 1751, "GW506"),
    (1, "Manufacturer", "ImporterName", "GW404"),
    (2, "ExpiryDate", None, "GW503"),
    (2, "FoodClass", "2", "GW503"),
    (2, "PreviousDeclarationNo", None, "GW503"),
    (2, "KoreanLabel", None, "GW503"),
    (3, "Ephyto", "false", "GW404"),
    (3, "IsolationSite", None, "GW503"),
    (3, "LmoApprovalNo", "LMO-1", "GW404"),
    (3, "PhytoCertificateNo", "NL-1", "GW404"),
]


@pytest.mark.parametrize(("number", "name", "text", "problem"), FIELDS)
def test_a_wrong_unique_field_stops_its_own_application_only(
    root: etree._Element, bundle: MappingBundle, number: int, name: str, text: str | None, problem: str
) -> None:
    fields = root.findall("{*}Application/{*}Fields")[number - 1]
    item = one(fields, "Item")
    element = next(iter(fields.iter(f"{{*}}{name}")), None)
    if element is None:
        element = etree.SubElement(item, item.tag.replace("Item", name))
    if name == "Manufacturer":
        etree.SubElement(element, item.tag.replace("Item", "Name")).text = text
    elif text is None:
        element.getparent().remove(element)
    else:
        element.text = text
    result = divide(root, bundle)
    assert problem in {trouble.problem.id for trouble in result.problems}
    assert len({trouble.document for trouble in result.problems}) == 1
    assert len(result.requests) == 2
    assert result.unaccounted_leaves == ()


def test_several_items_in_one_application(root: etree._Element, bundle: MappingBundle) -> None:
    application = root.findall("{*}Application")[2]
    one(application, "Items").text = " 3 2 "
    fields = one(application, "Fields")
    item = copy.deepcopy(one(fields, "Item"))
    item.set("sequence", "02")
    fields.insert(0, item)
    goods = root.findall(".//{*}GovernmentAgencyGoodsItem")
    goods[1].insert(2, copy.deepcopy(one(goods[2], "AdditionalDocument")))
    result = divide(root, bundle)
    assert result.problems == ()
    request = result.requests[2]
    assert request.xml.xpath("//*[local-name()='ItemNumber']/text()") == ["3", "2"]
    assert result.unaccounted_leaves == ()


def test_what_is_no_submission_is_refused(bundle: MappingBundle) -> None:
    for text in ("<x/>", '<Submission xmlns="urn:single-window:submission:1"/>'):
        with pytest.raises(GatewayError, match="GW402"):
            split_submission(etree.fromstring(text), bundle, {})


def test_a_missing_hub_number_is_our_own_mistake(root: etree._Element, bundle: MappingBundle) -> None:
    with pytest.raises(GatewayError, match="GW504"):
        split_submission(root, bundle, {})


def test_a_declaration_alone_concerns_no_agency(root: etree._Element, bundle: MappingBundle) -> None:
    for application in root.findall("{*}Application"):
        root.remove(application)
    result = divide(root, bundle)
    assert (result.requests, result.problems, result.unaccounted_leaves) == ((), (), ())
    assert result.submission_index.leaves


ALREADY = [
    (PHARM, "PermitNo", "product.permit"),
    (PHARM, "Manufacturer.Country", "manufacturer.country"),
    (PHARM, "Manufacturer.RegistrationNo", "manufacturer.id, not forwarded"),
    (FOOD, "PlannedArrival", "arrival_at"),
    (FOOD, "HealthCertificateNo", "sanitary.certificate"),
    (PLANT, "PhytoCertificateNo", "phytosanitary.certificate"),
    (PLANT, "ImporterName", "importer.name"),
    (PLANT, "InvoiceAmount", "invoice.amount"),
    (PLANT, "ArrivalDateTime", ""),
    (PLANT, "BotanicalName", ""),
]


@pytest.mark.parametrize(("document", "field", "words"), ALREADY)
def test_a_field_of_the_declaration_is_known_by_its_name(
    bundle: MappingBundle, document: str, field: str, words: str
) -> None:
    found = describe_declared_place(bundle, document, field)
    assert words in found
    assert bool(found) == bool(words)


def resolve(xml: etree._Element, target: str) -> list[str]:
    """Return what stands at a target path of the ledger, read as an XPath of local names."""
    *steps, last = target.split("/")
    names = [*steps, *([] if last.startswith("@") else [last])]
    path = ""
    for step in names:
        name, bracket, rest = step.partition("[")
        rest = re.sub(r"^(\w+)=", r"*[local-name()='\1']=", rest)  # a child that tells elements apart
        path += f"/*[local-name()='{name}']{bracket}{rest}"
    found = xml.getroottree().xpath(path + (f"/{last}" if last.startswith("@") else ""))
    return [str(one) if isinstance(one, str) else one.text or "" for one in found]


def test_every_target_of_the_ledger_is_a_place_in_the_request(
    root: etree._Element, bundle: MappingBundle
) -> None:
    result = divide(root, bundle)
    for request in result.requests:
        column = result.ledger.documents.index(request.document)
        for entry in result.ledger.entries:
            fate = entry.fates[column]
            assert fate is not None
            for target in fate.targets:
                (text,) = resolve(request.xml, target)
                origin = next(origin for origin in request.origins if origin.target == target)
                if not origin.transforms and not origin.source.startswith("common:issued"):
                    assert text == entry.leaf.value or entry.leaf.value in text
