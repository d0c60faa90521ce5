"""What the tests of the mapping language share."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import DOCUMENT_INVALID
from gateway.harmonize import Bundle, load
from gateway.share import folder
from gateway.wire.schemas import SchemaSet

SAMPLES = Path(str(folder("conformance"))) / "samples"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """Return the shipped mappings."""
    return load(folder("mappings"))


@pytest.fixture(scope="session")
def submission_schema() -> SchemaSet:
    """Return the schema of submissions."""
    return SchemaSet.load(folder("xsd"), "hub/submission.xsd", DOCUMENT_INVALID)


@pytest.fixture(scope="session")
def three_items() -> bytes:
    """Return the shipped submission with an application to each of three organisations."""
    return (SAMPLES / "import-three-items.xml").read_bytes()
