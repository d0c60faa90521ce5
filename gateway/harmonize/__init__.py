"""Applies mappings: splits a declaration into the requests of agencies; knows none of them by name."""

from __future__ import annotations

from gateway.harmonize.engine.fate_ledger import FateLedger, LedgerEntry
from gateway.harmonize.engine.request_renderer import ValueOrigin
from gateway.harmonize.engine.submission_split import (
    AgencyRequest,
    SplitResult,
    compile_request_schemas,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.generator.request_schemas import generate_schemas
from gateway.harmonize.language.bundle_loader import load_bundle
from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.mapping_bundle import MappingBundle, Organisation
from gateway.harmonize.submission.evaluation_scope import Diagnostic, Fate
from gateway.harmonize.submission.submission_index import Leaf

__all__ = [
    "AgencyRequest",
    "Diagnostic",
    "DocumentMapping",
    "Fate",
    "FateLedger",
    "Leaf",
    "LedgerEntry",
    "MappingBundle",
    "Organisation",
    "SplitResult",
    "ValueOrigin",
    "compile_request_schemas",
    "generate_schemas",
    "load_bundle",
    "make_placeholder_numbers",
    "split_submission",
]
