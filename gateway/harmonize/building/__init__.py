"""Makes from a bundle all that is made from it: schemas, WSDLs, form descriptions, labels.

One source: none of these is written by hand, and a test compares what lies in the data
folders with what is made here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping

from gateway.harmonize.building.forms import describe, labels_of
from gateway.harmonize.building.schemas import build as build_schemas
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.wire.wsdl import bind_documents

__all__ = ["build_all"]


def build_all(bundle: Bundle, template: bytes) -> dict[str, bytes]:
    """Return every file made from a bundle, by its path beside the data folders.

    `template` is the WSDL that each organisation's own is made from.
    """
    codes = bundle.code_labels()
    files = {f"xsd/agencies/{name}": text.encode("utf-8") for name, text in build_schemas(bundle).items()}
    files |= {f"wsdl/agencies/{name}.wsdl": wsdl for name, wsdl in _services(bundle, template)}
    for document in bundle.documents.values():
        files[f"mappings/forms/{document.file}.json"] = _json(describe(document, codes))
        files[f"mappings/labels/{document.file}.csv"] = _csv(document)
    return files


def _services(bundle: Bundle, template: bytes) -> Iterator[tuple[str, bytes]]:
    documents: dict[str, dict[str, str]] = {}
    for document in bundle.documents.values():
        schema = f"../../xsd/agencies/{document.file}.xsd"
        documents.setdefault(document.organisation, {})[document.namespace] = schema
    for organisation, bound in documents.items():
        yield organisation, bind_documents(template, organisation, bound)


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _csv(document: Document) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("kind", "name", "ko", "en"))
    writer.writerows(labels_of(document))
    return table.getvalue().encode("utf-8")
