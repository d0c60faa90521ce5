"""Generates all files from a bundle: schemas, WSDLs, form descriptions, labels.

None of these is written by hand; a test compares the files in the data folders with the
generated ones.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping

from gateway.harmonize.generator.form_description import describe_form, list_labels
from gateway.harmonize.generator.request_schemas import generate_schemas as build_schemas
from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.wire import bind_document_namespaces

__all__ = ["generate_all_files"]


def generate_all_files(bundle: MappingBundle, template: bytes) -> dict[str, bytes]:
    """Return every generated file of a bundle, by its path beside the data folders.

    `template` is the WSDL from which the WSDL of each organisation is made.
    """
    codes = bundle.collect_code_labels()
    files = {f"xsd/agencies/{name}": text.encode("utf-8") for name, text in build_schemas(bundle).items()}
    files |= {f"wsdl/agencies/{name}.wsdl": wsdl for name, wsdl in _generate_services(bundle, template)}
    for document in bundle.documents.values():
        files[f"mappings/forms/{document.schema_stem}.json"] = _write_json(describe_form(document, codes))
        files[f"mappings/labels/{document.schema_stem}.csv"] = _write_csv(document)
    return files


def _generate_services(bundle: MappingBundle, template: bytes) -> Iterator[tuple[str, bytes]]:
    documents: dict[str, dict[str, str]] = {}
    for document in bundle.documents.values():
        schema = f"../../xsd/agencies/{document.schema_stem}.xsd"
        documents.setdefault(document.organisation, {})[document.namespace] = schema
    for organisation, bound in documents.items():
        yield organisation, bind_document_namespaces(template, organisation, bound)


def _write_json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _write_csv(document: DocumentMapping) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("kind", "name", "ko", "en"))
    writer.writerows(list_labels(document))
    return table.getvalue().encode("utf-8")
