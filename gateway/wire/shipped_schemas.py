"""The schemas and code lists that are part of the gateway, loaded once in each process."""

from __future__ import annotations

import csv
import io
from functools import cache
from typing import Final

from gateway.share import get_data_folder
from gateway.wire.schema_sets import SchemaSet

__all__ = [
    "ANSWER",
    "DECLARATION",
    "FILING_RECEIPT",
    "RESULT",
    "SUBMISSION",
    "load_code_list",
    "load_shipped_schemas",
]

DECLARATION: Final = "wco/submit.xsd"
"""A declaration in its metadata envelope, or bare."""
ANSWER: Final = "wco/answer.xsd"
"""Responses of customs in their metadata envelope, or one bare."""
SUBMISSION: Final = "hub/submission.xsd"
"""A submission; the fields of its applications are validated by the documents' own schemas."""
RESULT: Final = "hub/result.xsd"
"""A result or a notice to the applicant."""

FILING_RECEIPT: Final = "hub/receipt.xsd"
"""The receipt of a submission that came without ebXML."""


@cache
def load_shipped_schemas(entry: str) -> SchemaSet:
    """Return the shipped schemas of `entry`, one of the names of this module."""
    return SchemaSet.load_cached(get_data_folder("xsd"), entry)


@cache
def load_code_list(name: str) -> frozenset[str]:
    """Return the codes of a shipped list, such as ``iso3166`` or ``iso4217``."""
    text = get_data_folder("mappings").joinpath("codelists", f"{name}.csv").read_text(encoding="utf-8")
    return frozenset(row["code"] for row in csv.DictReader(io.StringIO(text)))
