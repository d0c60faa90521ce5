"""What is made from the mappings: it is up to date, complete, and says what the mapping says."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.harmonize import MappingBundle, load_bundle
from gateway.harmonize.schemas import generate_all_files
from gateway.share import get_data_folder
from gateway.wire import read_wsdl
from tests.kit.paths import ROOT

#: No program reads these files: `gateway map build` writes them for those who want them.
MADE_ON_DEMAND = "mappings/labels"


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@pytest.fixture(scope="module")
def built(bundle: MappingBundle) -> dict[str, bytes]:
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    return generate_all_files(bundle, template)


@pytest.mark.night
def test_what_lies_in_the_data_folders_is_what_is_made(built: dict[str, bytes]) -> None:
    stale = [
        name
        for name, content in built.items()
        if not name.startswith(MADE_ON_DEMAND)
        and (not (ROOT / name).is_file() or (ROOT / name).read_bytes() != content)
    ]
    assert stale == [], "run `gateway map build --out .`"
    lying = [
        str(path.relative_to(ROOT))
        for top in ("xsd/agencies", "wsdl/agencies", MADE_ON_DEMAND)
        for path in (ROOT / top).rglob("*.*")
    ]
    assert sorted(lying) == sorted(name for name in built if not name.startswith(MADE_ON_DEMAND))


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
        assert told.document_namespaces == own
