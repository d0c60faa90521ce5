"""What the tests of the mapping language share."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import DOCUMENT_INVALID
from gateway.harmonize import MappingBundle, load_bundle
from gateway.share import get_data_folder
from gateway.wire import SchemaSet
from gateway_conformance import DATA_FOLDER

SAMPLES = Path(str(DATA_FOLDER)) / "samples"


@pytest.fixture(scope="session")
def bundle() -> MappingBundle:
    """Return the shipped mappings."""
    return load_bundle(get_data_folder("mappings"))


@pytest.fixture(scope="session")
def submission_schema() -> SchemaSet:
    """Return the schema of submissions."""
    return SchemaSet.load_cached(get_data_folder("xsd"), "hub/submission.xsd", DOCUMENT_INVALID)


@pytest.fixture(scope="session")
def three_items() -> bytes:
    """Return the shipped submission with an application to each of three organisations."""
    return (SAMPLES / "import-three-items.xml").read_bytes()
