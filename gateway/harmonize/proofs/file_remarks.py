"""Finds what a folder of mappings says by mistake: codes with spaces around them, files of another name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.harmonize.proofs.proof_report import LOAD, ProofFinding
from gateway.harmonize.types import walk_fields

__all__ = ["list_file_notes", "list_spaced_codes"]

_MESSAGE: Final = "a code begins or ends with a space, so nobody who writes it without is understood"


def list_spaced_codes(bundle: MappingBundle) -> Iterator[ProofFinding]:
    """Yield each code of a list or of an asked field that begins or ends with a space, with its place."""
    # Several lists can be read from one file.
    found = {
        (code, mark): name
        for name, codes in reversed(tuple(bundle.lists.items()))
        for code, mark in codes.spaced
    }
    for (code, mark), name in found.items():
        yield ProofFinding(LOAD, mark, name, _MESSAGE, repr(code))
    for document in bundle.documents.values():
        for ask in walk_fields(document.asks):
            for code in ask.labels:
                if code != code.strip():
                    yield ProofFinding(LOAD, ask.mark, ask.name, _MESSAGE, repr(code))


def list_file_notes(documents: Iterable[DocumentMapping]) -> Iterator[str]:
    """Yield a note for each document that is in a file of another name than its own."""
    for document in documents:
        name = f"agencies/{document.organisation}/{document.id}.yaml"
        if document.mark.file != name:
            yield f"{document.mark} contains {document.id} of {document.organisation}; its file is {name}"
