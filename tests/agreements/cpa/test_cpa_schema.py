"""Our schema of CPPA 2.0 judges as the published one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from gateway.share import get_data_folder
from gateway.wire import SchemaSet, parse_xml
from tests.agreements.cpa.documents import list_real_files, mutate_agreement
from tests.kit.schema_mutants import compare_schemas

OURS = "ebms2/cpp-cpa-2_0.xsd"


@pytest.fixture(scope="module")
def published(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> SchemaSet:
    """The published schema, with the imports by http: pointed at the files beside it."""
    place = tmp_path_factory.mktemp("published")
    for file in (vectors / "outside/xsd").glob("*.xsd"):
        octets = file.read_bytes().replace(b"http://www.w3.org/2001/xml.xsd", b"xml.xsd")
        (place / file.name).write_bytes(octets)
    return SchemaSet.load_cached(place, "cpp-cpa-2_0.xsd")


@pytest.fixture(scope="module")
def documents(vectors: Path) -> list[etree._Element]:
    return [parse_xml(file.read_bytes()) for file in list_real_files(vectors)]


@pytest.mark.vectors
def test_the_real_agreements_are_accepted_by_both(
    published: SchemaSet, documents: list[etree._Element]
) -> None:
    assert len(documents) == 22
    ours = SchemaSet.load_cached(get_data_folder("xsd"), OURS)
    for root in documents:
        published.validate_document(root)
        ours.validate_document(root)


def _compare(
    published: SchemaSet, documents: list[etree._Element], count: int, seed: int
) -> tuple[list[str], int]:
    ours = SchemaSet.load_cached(get_data_folder("xsd"), OURS)
    small = sorted(documents, key=lambda one: len(list(one.iter())))[:14]
    return compare_schemas(ours, published, mutate_agreement, small, count, seed)


@pytest.mark.vectors
def test_a_hundred_mutations_are_judged_alike(published: SchemaSet, documents: list[etree._Element]) -> None:
    found, accepted = _compare(published, documents, 100, seed=14)
    assert found == []
    assert 5 < accepted < 75


@pytest.mark.night
@pytest.mark.vectors
def test_two_thousand_mutations_are_judged_alike(
    published: SchemaSet, documents: list[etree._Element]
) -> None:
    found, accepted = _compare(published, documents, 2000, seed=20261121)
    assert found == []
    assert 100 < accepted < 1500
