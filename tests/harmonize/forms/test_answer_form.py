"""An answer by form begins from what was filed, has the fields pointed at, and makes a supplement."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import AnswerForm, FormAttachment, compose_answer, load_bundle, make_answer_form
from gateway.harmonize.language import MappingBundle
from gateway.share import get_data_folder
from gateway_conformance import DATA_FOLDER

SAMPLE = DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes()
EXPIRY = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/ExpiryDate"
DESCRIPTION = "42A/67A[1]/68A[2]/23A[1]/137"


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def answer_to(
    bundle: MappingBundle, *pointers: str, root: etree._Element | None = None, **more
) -> AnswerForm:
    return make_answer_form(
        bundle, etree.fromstring(SAMPLE) if root is None else root, "A2", pointers, **more
    )


def values_of(root: etree._Element, name: str) -> list[str | None]:
    return [one.text for one in root.iter(f"{{*}}{name}")]


def test_the_form_has_the_fields_pointed_at_with_their_values(bundle: MappingBundle) -> None:
    answer = answer_to(bundle, EXPIRY, DESCRIPTION)
    assert [(one.field.en, one.value) for one in answer.fields] == [
        (answer.fields[0].field.en, "2027-10-01"),
        (answer.fields[1].field.en, "Caramel wafers 320 g"),
    ]
    assert all(one.pointed for one in answer.fields)
    assert answer.unplaced == ()
    assert answer.lost == ()


def test_a_field_that_was_left_empty_is_in_the_form(bundle: MappingBundle) -> None:
    root = etree.fromstring(SAMPLE)
    for one in root.iter("{*}ExpiryDate"):
        one.getparent().remove(one)
    (found,) = answer_to(bundle, EXPIRY, root=root).fields
    assert found.value == ""
    answer = answer_to(bundle, EXPIRY, root=root)
    assert values_of(compose_answer(answer, {found.key: "2027-12-31"}).root, "ExpiryDate") == ["2027-12-31"]


def test_a_pointer_at_a_part_brings_the_fields_below_it(bundle: MappingBundle) -> None:
    answer = answer_to(bundle, "APP[2]/KFDA-FOOD-IMP/ITEM[2]/Ingredient[3]")
    assert {"레시틴", "8002-43-5"} <= {one.value for one in answer.fields}


def test_a_pointer_at_no_field_is_told(bundle: MappingBundle) -> None:
    answer = answer_to(bundle, "42A/99Z/1", "APP[1]/KPTA-PHARM-IMP/DrugClass")
    assert answer.unplaced == ("42A/99Z/1", "APP[1]/KPTA-PHARM-IMP/DrugClass")
    assert answer.fields == ()


def test_every_field_of_the_application_can_be_asked_for(bundle: MappingBundle) -> None:
    answer = answer_to(bundle, EXPIRY, every_field=True)
    pointed = [one for one in answer.fields if one.pointed]
    assert [one.value for one in pointed] == ["2027-10-01"]
    assert len(answer.fields) > 15


def test_the_answer_is_a_supplement_of_the_one_application(bundle: MappingBundle) -> None:
    answer = answer_to(bundle, EXPIRY)
    composed = compose_answer(answer, {answer.fields[0].key: "2028-01-01", "h/reference": "changed"})
    root = composed.root
    assert values_of(root, "Function") == ["35"]
    assert values_of(root, "FunctionCode") == ["9"]
    assert [one.get("id") for one in root.iter("{*}Application")] == ["A2"]
    assert values_of(root, "Reference") == ["HB2026-000123"]
    assert values_of(root, "ExpiryDate") == ["2028-01-01"]
    assert [one.get("cid") for one in root.iter("{*}Attachment")] == ["korean-label@sample"]
    unchanged = etree.fromstring(SAMPLE)
    for name in ("Description", "InvoiceAmount", "Value"):
        assert sorted(map(str, values_of(root, name))) == sorted(map(str, values_of(unchanged, name)))


def test_an_answer_to_an_answer_begins_from_it(bundle: MappingBundle) -> None:
    first = answer_to(bundle, EXPIRY)
    changed = compose_answer(first, {first.fields[0].key: "2028-01-01"}).root
    second = answer_to(bundle, EXPIRY.replace("APP[2]", "APP[1]"), root=changed)
    assert [one.value for one in second.fields] == ["2028-01-01"]
    assert second.lost == ()


def test_a_file_takes_the_place_of_another_or_stands_beside_it(bundle: MappingBundle) -> None:
    new = FormAttachment("new@console", 1, "application/pdf", "a" * 64, 3)
    answer = answer_to(bundle, "APP[2]/KFDA-FOOD-IMP/ITEM[2]/KoreanLabel")
    (label,) = answer.fields
    assert label.is_file
    replaced = compose_answer(answer, {label.key: "new@console"}, (new,)).root
    assert [one.get("cid") for one in replaced.iter("{*}Attachment")] == ["new@console"]
    added = compose_answer(answer, {}, (new,)).root
    assert [one.get("cid") for one in added.iter("{*}Attachment")] == ["korean-label@sample", "new@console"]


def test_an_application_that_is_not_there_is_refused(bundle: MappingBundle) -> None:
    with pytest.raises(GatewayError) as caught:
        make_answer_form(bundle, etree.fromstring(SAMPLE), "A9", ())
    assert caught.value.problem.id == "GW407"
