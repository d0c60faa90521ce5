"""Compiles XML schemas, one at a time.

libxml2 sets up its table of built-in types when the first schema is compiled, and does so
without a lock. Two threads that compile their first schema at the same time can corrupt it
for the whole process ("the given type is not a built-in type"). The table is therefore set up
when this module is imported, and a lock prevents concurrent compilations.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from lxml import etree

__all__ = ["compile_schema"]

_ONE_AT_A_TIME: Final = threading.Lock()
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
_SMALLEST: Final = b'<schema xmlns="http://www.w3.org/2001/XMLSchema"><element name="a"/></schema>'


def compile_schema(source: bytes | Path) -> etree.XMLSchema:
    """Return the compiled schema of a document: octets that refer to no other document, or a file.

    Raises the exception of lxml when the document is not a schema.
    """
    with _ONE_AT_A_TIME:
        if isinstance(source, Path):
            return etree.XMLSchema(etree.parse(str(source), _PARSER))
        return etree.XMLSchema(etree.fromstring(source, _PARSER))


compile_schema(_SMALLEST)
