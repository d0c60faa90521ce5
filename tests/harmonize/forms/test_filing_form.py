"""One form for several documents: what they share stands in it once, and a finding leads to its field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from gateway.harmonize import (
    FiledApplication,
    FormField,
    FormValues,
    compose_form,
    compose_submission,
    count_occurrences,
    describe_filing_form,
    index_field_places,
    remove_occurrence,
    walk_fields,
)
from gateway.hub import InspectionRules, inspect_submission
from gateway.wire import serialize_element
from tests.kit.house import bundle

ALL = tuple(bundle().documents)
#: Two documents that ask four fields as shared.
SHARING = ("KPTA-PHARM-IMP", "KPTA-TISSUE-IMP")
#: Meanings that no applicant fills in: a form writes them by itself.
COMPUTED = {"declaration.function", "item.sequence", "item_count"}


def walk(fields: Iterable[FormField]) -> Iterator[FormField]:
    for one in fields:
        yield one
        yield from walk(one.fields)


def test_each_common_field_stands_once_with_the_documents_that_need_it() -> None:
    form = compose_form(bundle(), ALL)
    places = [f"{place}/{one.name}" for place, fields in (("h", form.header), ("i", form.item))
              for one in walk(fields) if not one.is_group]  # fmt: skip
    pinned = {one.name for one in form.item if one.pinned is not None}
    assert {name.partition("=")[2] for name in pinned} == {
        "product.permit", "phytosanitary.certificate", "sanitary.certificate", "veterinary.certificate",
    }  # fmt: skip
    plain = [one for one in places if not one.endswith(("licence.id", "licence.used"))]
    assert len(plain) == len(set(plain))
    named = {name.partition("/")[2] for name in places}
    wanted = {need.meaning.name for one in bundle().documents.values() for need in one.needs}
    derived = {"declaration.function", "item_count", "item.sequence"}
    assert wanted - named == derived
    importer = next(one for one in form.header if one.name == "importer.name")
    assert (importer.ko, importer.en) == ("수입자 상호", "Importer name")
    assert importer.is_needed(["KFDA-FOOD-IMP"])
    assert not importer.is_needed(["KFDA-NARC-EXP"])


def test_each_document_asks_its_own_fields() -> None:
    form = compose_form(bundle(), ALL)
    for document in bundle().documents.values():
        section = form.sections[document.id]
        shared = {one.name for one in (*form.shared_header, *form.shared_item)}
        own = {one.name for one in (*section.application, *section.item)}
        assert own == {ask.name for ask in document.asks if not (ask.shared and ask.means in shared)}


def test_a_shared_field_is_asked_once_and_written_where_it_is_first_asked() -> None:
    form = compose_form(bundle(), SHARING)
    assert {one.name for one in form.shared_header} == {"payment.method", "payment.period"}
    values = FormValues(
        (FiledApplication("A1", SHARING[0], ("1",)), FiledApplication("A2", SHARING[1], ("2",))),
        ("1", "2"),
        {"s/payment.method": "TT", "s/i#2/model.specification": "10 ml"},
    )
    root = compose_submission(form, values).root
    assert [len(root.findall(f"{{*}}Application[{n}]//{{*}}PaymentMethod")) for n in (1, 2)] == [1, 0]
    assert [len(root.findall(f"{{*}}Application[{n}]//{{*}}ModelSpec")) for n in (1, 2)] == [0, 1]
    alone = compose_form(bundle(), SHARING[:1])
    assert alone.shared_header == ()


def test_what_is_left_empty_is_not_written() -> None:
    form = compose_form(bundle(), ["KFDA-FOOD-IMP"])
    values = FormValues((), (), {"h/importer.name": "  ", "h/container#1/container.id": ""})
    assert b"Importer" not in serialize_element(compose_submission(form, values).root)


def test_occurrences_are_counted_and_move_up() -> None:
    values = {"h/container#1/container.id": "a", "h/container#2/container.id": "b", "h/container#10/x": "c"}
    assert count_occurrences(values, "h", "container") == 10
    assert remove_occurrence(values, "h", "container", 1) == {
        "h/container#1/container.id": "b",
        "h/container#9/x": "c",
    }
    padded = {"h/container#01/x": "a", "h/container#02/x": "b", "h/container#010/x": "c"}
    assert remove_occurrence(padded, "h", "container", 1) == {
        "h/container#1/x": "b",
        "h/container#9/x": "c",
    }


@pytest.mark.night
def test_every_finding_of_an_unfinished_form_leads_to_a_field() -> None:
    for documents in (*((one,) for one in ALL), ("KFDA-FOOD-IMP", "NPQS-PLA-IMP"), SHARING):
        form = compose_form(bundle(), documents)
        values = FormValues(
            tuple(FiledApplication(f"A{n}", one, ("1",)) for n, one in enumerate(documents, 1)),
            ("1",),
            {
                "h/importer.name": "x" * 80,
                "i#1/item.hs": "99",
                "i#1/package#1/package.count": "many",
                "h/container#1/seal#1/container.seal": "1",
            },
        )
        composed = compose_submission(form, values)
        rules = InspectionRules(bundle(), lambda _: None, ignores_schema_errors=True)
        report = inspect_submission(serialize_element(composed.root), {}, rules)
        places = index_field_places(form, values, composed)
        assert len(report.findings) > 20
        for one in report.findings:
            key = places.find_field(one.pointer, one.message)
            assert key is not None, (one.pointer, one.message)
            assert key in values.values or one.problem.id == "GW503" or "is not allowed" in one.message, (
                key,
                one,
            )


def test_a_missing_certificate_is_not_taken_for_a_licence() -> None:
    form = compose_form(bundle(), ["NPQS-PLA-IMP"])
    values = FormValues(
        (FiledApplication("A1", "NPQS-PLA-IMP", ("1",)),), ("1",), {"i#1/licence#1/licence.id": "L-1"}
    )
    places = index_field_places(form, values, compose_submission(form, values))
    pointer = "42A/67A[1]/68A[1]/02A[1]/D005"
    assert places.find_field(pointer) == "i#1/licence#1/licence.id"
    said = "Phytosanitary certificate number (식물검역증명서 번호) is missing: …"
    assert places.find_field(pointer, said).endswith("/phytosanitary.certificate")  # type: ignore[union-attr]
    assert places.find_field("APP[9]/NONE", "?") is None


def test_the_form_is_described_with_labels_codes_and_rules_of_need() -> None:
    told = describe_filing_form(compose_form(bundle(), ["KFDA-FOOD-IMP"]), bundle())
    assert [one["document"] for one in told["documents"]] == ["KFDA-FOOD-IMP"]
    by_place = {one["place"]: {field["name"]: field for field in one["fields"]} for one in told["sections"]}
    food = by_place["a#1/i#<item>"]
    assert {one["code"] for one in food["storage_method"]["codes"]} >= {"F", "A"}
    conditional = [use for one in food.values() for use in one["uses"] if use["required"] == "when"]
    assert conditional
    assert all(use["when_ko"] and use["when_en"] for use in conditional)
    assert food["ingredient"]["repeat"] == [0, 300]
    assert by_place["h"]["gross_mass"]["unit"] == "unitCode"


def list_described_fields(described: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for field in described:
        yield field
        yield from list_described_fields(field.get("fields", []))


def test_a_described_form_has_every_field_with_both_labels_and_every_code_with_its_own() -> None:
    for document in bundle().documents.values():
        described = describe_filing_form(compose_form(bundle(), [document.id]), bundle())
        (head,) = described["documents"]
        assert (head["laws"], len(head["checks"])) == (list(document.laws), len(document.checks))
        fields = [field for part in described["sections"] for field in list_described_fields(part["fields"])]
        asked = {ask.name for ask in walk_fields(document.asks)}
        needed = {need.meaning.name for need in document.needs} - COMPUTED
        assert {field["name"] for field in fields} >= asked | needed
        for labelled in [*[field["label"] for field in fields], *head["checks"]]:
            assert labelled["ko"], labelled
            assert labelled["en"], labelled
        for field in fields:
            for code in field.get("codes", []) if field["name"] in asked else []:
                assert code["ko"], (document.id, field["name"], code)
                assert code["en"], (document.id, field["name"], code)


def test_a_condition_is_described_as_data_and_in_both_languages() -> None:
    described = describe_filing_form(compose_form(bundle(), ["KPTA-PHARM-IMP"]), bundle())
    fields = [field for part in described["sections"] for field in list_described_fields(part["fields"])]
    (use,) = next(field for field in fields if field["name"] == "bse_origin")["uses"]
    assert use["when"] == {"bse": {"is": "1AU"}}
    assert (use["required"], use["otherwise"]) == ("when", "forbidden")
    assert (use["when_en"], use["when_ko"]) == ("BSE target is 1AU", "BSE 대상 = 1AU")
