"""Finds parts of a concatenated text each of whose values contains the separator, so that all are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.harmonize.language import Concatenation, ConvertedSource, DocumentMapping
from gateway.harmonize.proofs.document_lines import ProofLine, list_lines
from gateway.harmonize.types import ValueShape

__all__ = ["list_separator_clashes"]

#: One atom of a simple pattern: a class, a choice of words or a character, with its least number.
_ATOM: Final = re.compile(r"(\[[^]]*\]|\([^)]*\)|.)(?:\{([0-9]+)(?:,[0-9]+)?\})?")
#: Stands for what is not known of a text; no separator has it.
_ANY: Final = "\0"
_WRITTEN_IN_TIMES: Final = "-"


def list_separator_clashes(document: DocumentMapping) -> Iterator[tuple[ProofLine, ConvertedSource, str]]:
    """Yield each part that cannot be without the separator of its line, with the line and the separator."""
    for line in list_lines(document):
        source = None if line.content is None else line.content.source
        if isinstance(source, Concatenation):
            for part in source.parts:
                if _always_contains(part.infer_shape(), source.separator):
                    yield line, part, source.separator


def _always_contains(shape: ValueShape, text: str) -> bool:
    """Return whether every value of a shape contains `text`."""
    if shape.codes is not None:
        return bool(shape.codes) and all(text in code for code in shape.codes)
    if shape.kind in ("date", "moment"):
        return text == _WRITTEN_IN_TIMES
    return shape.pattern is not None and text in _write_certain_part(shape.pattern)


def _write_certain_part(pattern: str) -> str:
    """Return the characters that each text of a simple pattern has, with `_ANY` where they differ."""
    return "".join(_write_atom(atom, count) for atom, count in _ATOM.findall(pattern))


def _write_atom(atom: str, count: str) -> str:
    known = atom[1:-1] if len(atom) == len("[x]") and atom.startswith("[") else atom
    if len(known) > 1:
        return _ANY
    return known if not count else known * int(count) + _ANY
