"""What a form composes is what it reads: values to submission to values, and sample to values to sample."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import validate_document
from gateway.errors import DOCUMENT_INVALID, MAPPING_MISSING, GatewayError
from gateway.harmonize import (
    FormValues,
    compose_form,
    compose_submission,
    parse_form_values,
    read_form_values,
    write_form_values,
)
from gateway.harmonize.samples import make_sample
from gateway.harmonize.split import make_placeholder_numbers, split_submission
from gateway.wire import SUBMISSION, WCO_MD, load_shipped_schemas
from tests.harmonize.forms.forms_kit import draw_values
from tests.kit.documents import DOCUMENTS, REPRESENTATIVE, each_document
from tests.kit.house import bundle
from tests.kit.paths import ROOT

SAMPLES = [
    *sorted((ROOT / "conformance" / "submissions").glob("*/valid.xml")),
    ROOT / "conformance" / "samples" / "import-three-items.xml",
]


def say_requests(root: etree._Element) -> list[bytes]:
    """Return what each agency is told, in canonical form."""
    done = split_submission(root, bundle(), make_placeholder_numbers(root))
    assert not done.problems
    return [etree.tostring(one.xml, method="c14n", exclusive=True) for one in done.requests]


def check_sample(content: bytes) -> None:
    root = etree.fromstring(content)
    reading = read_form_values(bundle(), root)
    assert reading.lost == ()
    kept = parse_form_values(write_form_values(reading.values))
    composed = compose_submission(reading.form, kept).root
    assert validate_document(composed, load_shipped_schemas(SUBMISSION))[1] == ()
    assert say_requests(composed) == say_requests(root)
    written = etree.fromstring(etree.tostring(composed))
    assert read_form_values(bundle(), written).values == reading.values


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_every_sample_can_be_made_through_the_form(path: Path) -> None:
    check_sample(path.read_bytes())


def test_values_of_a_supplement_at_one_place_are_kept_each() -> None:
    root = etree.fromstring(SAMPLES[-1].read_bytes())
    space = etree.QName(root).namespace
    (old,) = root.findall(f"{{{space}}}Supplement") or [etree.Element(f"{{{space}}}Supplement")]
    path = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Name"
    texts = ["First Maker", "Second Maker", "Third Maker"]
    for text in texts:
        etree.SubElement(old, f"{{{space}}}Value", path=path, wcoID="R010", item="3").text = text
    if old.getparent() is None:
        root.insert(1, old)
    reading = read_form_values(bundle(), root)
    composed = compose_submission(reading.form, parse_form_values(write_form_values(reading.values))).root
    written = [value.text for value in composed.iter(f"{{{space}}}Value") if value.get("path") == path]
    assert [text for text in written if text in texts] == texts


def test_the_shell_is_in_the_order_of_its_schema() -> None:
    root = etree.fromstring(SAMPLES[-1].read_bytes())
    (shell,) = root.iter(f"{{{WCO_MD}}}MetaData")
    names = (
        "WCODataModelVersionCode",
        "WCOTypeName",
        "ResponsibleCountryCode",
        "ResponsibleAgencyName",
        "AgencyAssignedCustomizationCode",
        "AgencyAssignedCustomizationVersionCode",
    )
    declaration = shell[-1]
    for element in list(shell)[:-1]:
        shell.remove(element)
    for number, name in enumerate(names, 1):
        element = etree.Element(f"{{{WCO_MD}}}{name}")
        element.text = f"S{number}"
        declaration.addprevious(element)
    check_sample(etree.tostring(root))
    reading = read_form_values(bundle(), root)
    composed = compose_submission(reading.form, parse_form_values(write_form_values(reading.values))).root
    (written,) = composed.iter(f"{{{WCO_MD}}}MetaData")
    assert [(etree.QName(one).localname, one.text) for one in list(written)[:-1]] == [
        (name, f"S{number}") for number, name in enumerate(names, 1)
    ]


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_drawn_submissions_can_be_made_through_the_form(document: str) -> None:
    for seed in range(3):
        check_sample(make_sample(bundle(), bundle().documents[document], f"form {seed}", 1 + seed))


@pytest.mark.night
@pytest.mark.parametrize(
    "documents",
    [
        *((one,) for one in REPRESENTATIVE),
        *itertools.combinations(REPRESENTATIVE[:5], 2),
        pytest.param(DOCUMENTS, marks=pytest.mark.night),
        *(pytest.param((one,), marks=pytest.mark.night) for one in DOCUMENTS if one not in REPRESENTATIVE),
    ],
    ids=lambda names: "+".join(names)[:60],
)
def test_values_to_submission_to_values_is_the_identity(documents: tuple[str, ...]) -> None:
    form = compose_form(bundle(), documents)
    for seed in range(3):
        given = draw_values(form, seed)
        composed = etree.fromstring(etree.tostring(compose_submission(form, given).root))
        reading = read_form_values(bundle(), composed)
        assert reading.values == given
        assert reading.lost == ()


def test_values_are_kept_as_json() -> None:
    values = draw_values(compose_form(bundle(), REPRESENTATIVE), 7)
    assert parse_form_values(write_form_values(values)) == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"x": 1}',
        '{"values": {"h/a": 1}}',
        '{"values": {"../x": "1"}}',
        '{"items": ["x"]}',
        '{"applications": [{"id": "A1"}]}',
        '{"attachments": [{"cid": "c", "media_type": "a", "sha256": "b", "size": true}]}',
    ],
)
def test_other_json_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(GatewayError) as raised:
        parse_form_values(text)
    assert raised.value.problem is DOCUMENT_INVALID


def test_a_document_without_a_mapping_has_no_form() -> None:
    with pytest.raises(GatewayError) as raised:
        compose_form(bundle(), ["NONE"])
    assert raised.value.problem is MAPPING_MISSING


def test_a_character_that_xml_does_not_permit_is_named_with_its_field() -> None:
    form = compose_form(bundle(), REPRESENTATIVE[:1])
    with pytest.raises(GatewayError) as raised:
        compose_submission(form, FormValues(values={"h/declarant.name": "a\x00b"}))
    assert (raised.value.problem, raised.value.location) == (DOCUMENT_INVALID, "h/declarant.name")
