"""A field that an officer ticks is the field that the applicant answers: for every field of every form."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.harmonize import draw_request, load_bundle, make_answer_form, split_submission
from gateway.harmonize.language import MappingBundle
from gateway.share import get_data_folder
from gateway_conformance import DATA_FOLDER

SAMPLE = DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes()
#: What the form counts by itself, and a part of a document that this declaration does not have.
COUNTED = {"common:item.sequence", "common:item_count", "common:licence.used"}
#: Documents that share one element of the declaration: the pointer names the first of them.
ALIKE = {"common:sanitary.certificate", "common:licence.id"}
NUMBERS = {name: {"application_number": "A26000001001N"} for name in ("A1", "A2", "A3")}


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@pytest.mark.night
@pytest.mark.parametrize("position", [1, 2, 3])
def test_each_pointer_of_the_form_has_a_field_of_the_answer(bundle: MappingBundle, position: int) -> None:
    root = etree.fromstring(SAMPLE)
    request = split_submission(root, bundle, NUMBERS).requests[position - 1]
    form = draw_request(bundle.documents[request.document], bundle, request.xml, position=position)
    missing, wrong = [], []
    for field in form.list_fields():
        if field.name in COUNTED:
            continue
        answer = make_answer_form(bundle, root, f"A{position}", [field.pointer])
        if not answer.fields:
            missing.append(field.pointer)
        elif field.label["en"] not in {one.field.en for one in answer.fields} and field.name not in ALIKE:
            wrong.append((field.pointer, field.label["en"], [one.field.en for one in answer.fields]))
    assert (missing, wrong) == ([], [])
