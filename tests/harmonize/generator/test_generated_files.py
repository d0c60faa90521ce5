"""What is made from the mappings: it is up to date, complete, and says what the mapping says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.harmonize import MappingBundle, load_bundle
from gateway.harmonize.generator import generate_all_files
from gateway.harmonize.types.unique_fields import walk_fields
from gateway.share import get_data_folder
from gateway.wire.wsdl import read_wsdl
from tests.kit.paths import ROOT


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@pytest.fixture(scope="module")
def built(bundle: MappingBundle) -> dict[str, bytes]:
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    return generate_all_files(bundle, template)


def test_what_lies_in_the_data_folders_is_what_is_made(built: dict[str, bytes]) -> None:
    stale = [
        name
        for name, content in built.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != content
    ]
    assert stale == [], "run `gateway map build --out .`"
    lying = [
        str(path.relative_to(ROOT))
        for top in ("xsd/agencies", "wsdl/agencies", "mappings/forms", "mappings/labels")
        for path in (ROOT / top).rglob("*.*")
    ]
    assert sorted(lying) == sorted(built)


def fields(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in told["asked"] if "asked" in told else told.get("fields", []):
        yield field
        yield from fields(field)


def test_a_form_holds_every_field_with_both_labels_and_every_code_with_its_own(
    bundle: MappingBundle, built: dict[str, bytes]
) -> None:
    for document in bundle.documents.values():
        told = json.loads(built[f"mappings/forms/{document.schema_stem}.json"])
        asked = list(fields(told))
        assert [one["name"] for one in asked] == [ask.name for ask in walk_fields(document.asks)]
        assert [one["means"] for one in told["declared"]] == [need.meaning.name for need in document.needs]
        for one in [*asked, *told["declared"], *told["checks"]]:
            label = one.get("label", one)
            assert label["ko"], one
            assert label["en"], one
        for one in asked:
            for code in one.get("codes", []):
                assert code["ko"], (document.id, one["name"], code)
                assert code["en"], (document.id, one["name"], code)


def test_a_condition_is_told_as_data_and_in_both_languages(built: dict[str, bytes]) -> None:
    told = json.loads(built["mappings/forms/KPTA/KPTA-PHARM-IMP.json"])
    origin = next(one for one in told["asked"] if one["name"] == "bse_origin")
    assert origin["when"] == {"bse": {"is": "1AU"}}
    assert (origin["required"], origin["otherwise"]) == ("when", "forbidden")
    assert origin["when_en"] == "BSE target is 1AU"
    assert origin["when_ko"] == "BSE 대상 = 1AU"


def test_labels_are_one_table_a_document(bundle: MappingBundle, built: dict[str, bytes]) -> None:
    for document in bundle.documents.values():
        rows = list(
            csv.DictReader(io.StringIO(built[f"mappings/labels/{document.schema_stem}.csv"].decode()))
        )
        assert {row["kind"] for row in rows} >= {"document", "declared", "asked"}
        assert all(row["ko"] and row["en"] for row in rows), document.id


def test_each_organisation_has_a_service_for_its_documents(
    bundle: MappingBundle, built: dict[str, bytes]
) -> None:
    for organisation in {document.organisation for document in bundle.documents.values()}:
        told = read_wsdl(built[f"wsdl/agencies/{organisation}.wsdl"])
        own = {one.namespace for one in bundle.documents.values() if one.organisation == organisation}
        assert told.documents == own
