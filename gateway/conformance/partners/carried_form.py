"""The form in which a simulated agency speaks, where its data say JSON or fixed records instead of XML.

``carriers.yaml`` of the mappings names the form; for fixed records the agency has the printed layout of each
document. What it reads becomes the document that its schema describes, in the order of that schema.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any, Final

import yaml
from lxml import etree

from gateway.conformance.partners.carried_records import (
    CarriedContent,
    make_content_error,
    read_record_content,
    write_record_content,
)
from gateway.errors import MISUSE, GatewayError
from gateway.wire import CARRIED, make_document_namespace

__all__ = ["CarriedForm", "load_carried_form"]

_TAG: Final = f"{{{CARRIED}}}Carried"
_FORMS: Final = ("xml", "json", "fixed")
_LAYOUT: Final = frozenset(
    ("document", "charset", "end", "head", "name", "continuation", "tail", "count", "records")
)
_XSD: Final = "{http://www.w3.org/2001/XMLSchema}"


class CarriedForm:
    """One form, json or fixed, with what is needed to read and write it.

    `schemas` is the folder of the agency's schemas, `layouts` the printed layouts of fixed records by the
    name of the document or notice.
    """

    def __init__(self, form: str, schemas: Traversable, layouts: Mapping[str, Any]) -> None:
        self.form = form
        self._schemas = schemas
        self._layouts = layouts
        self._orders: dict[str, dict[tuple[str, ...], list[str]]] = {}

    def open_document(self, carried: etree._Element) -> etree._Element:
        """Return the document that an element Carried holds; raise GW718 for one that it cannot be."""
        name = carried.get("document", "")
        if carried.tag != _TAG or carried.get("form") != self.form:
            raise make_content_error(f"the agency speaks {self.form}", "/Carried/@form")
        try:
            octets = base64.b64decode("".join((carried.text or "").split()), validate=True)
        except binascii.Error:
            raise make_content_error("the content is no base64", "/Carried") from None
        root, content = self._read_content(octets, name)
        try:
            return _DocumentBuilder(name, self._get_order(name)).build((root,), content)
        except (ValueError, RecursionError):
            raise make_content_error("no XML document can have this", f"/{root}") from None

    def _read_content(self, octets: bytes, name: str) -> tuple[str, CarriedContent]:
        if self.form == "fixed":
            layout = self._get_layout(name)
            return layout["records"][0]["element"].strip("/"), read_record_content(octets, layout)
        told = _read_json(octets)
        if not isinstance(told, dict) or len(told) != 2 or told.pop("document", None) != name:
            raise make_content_error(f"an object with the document {name} is expected", "/document")
        ((root, content),) = told.items()
        return root, content

    def _get_layout(self, name: str) -> Any:
        if name not in self._layouts:
            raise make_content_error("the agency has no layout of this document", f"/{name}")
        return self._layouts[name]

    def _get_order(self, name: str) -> dict[tuple[str, ...], list[str]]:
        if name not in self._orders:
            file = self._schemas.joinpath(f"{name}.xsd")
            # A name that is no file of the folder has no order: no schema knows the document either.
            known = name.replace("-", "").isalnum() and file.is_file()
            self._orders[name] = _read_order(file.read_bytes()) if known else {}
        return self._orders[name]

    def has_notice(self, name: str) -> bool:
        """Return whether the agency can write a notice in its form."""
        return self.form == "json" or name in self._layouts

    def carry_notice(self, name: str, content: CarriedContent) -> etree._Element:
        """Return the element Carried with a notice, whose root is Response; GW718 where it cannot be."""
        if self.form == "fixed":
            octets = write_record_content(content, self._get_layout(name))
        else:
            octets = json.dumps({"document": name, "Response": content}, ensure_ascii=False).encode()
        nsmap: Any = {None: CARRIED}
        element = etree.Element(_TAG, nsmap=nsmap, form=self.form, document=name)
        element.text = base64.b64encode(octets).decode("ascii")
        return element


class _DocumentBuilder:
    """Makes elements of content, in the order of the schema."""

    def __init__(self, document: str, order: Mapping[tuple[str, ...], list[str]]) -> None:
        self._namespace = make_document_namespace(document)
        self._order = order

    def build(self, path: tuple[str, ...], content: Any) -> etree._Element:
        nsmap: Any = {None: self._namespace}
        element = etree.Element(f"{{{self._namespace}}}{path[-1]}", nsmap=nsmap)
        if not isinstance(content, dict):
            element.text = _check_text(content)
            return element
        for name in self._sort_names(path, content):
            value = content[name]
            if name == "#":
                element.text = _check_text(value)
            elif name.startswith("@"):
                element.set(name[1:], _check_text(value))
            else:
                rows = value if isinstance(value, list) else [value]
                element.extend(self.build((*path, name), one) for one in rows)
        return element

    def _sort_names(self, path: tuple[str, ...], content: CarriedContent) -> list[str]:
        """Return the names in the order of the schema; what it does not know stands last."""
        places = {name: number for number, name in enumerate(self._order.get(path, ()))}
        return sorted(content, key=lambda name: places.get(name, len(places)))


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _read_json(octets: bytes) -> Any:
    """Return what JSON says, each number with the digits that stand there."""
    try:
        return json.loads(
            octets, object_pairs_hook=_make_table, parse_int=str, parse_float=str, parse_constant=str
        )
    except (ValueError, RecursionError) as error:
        raise make_content_error(f"no JSON: {str(error)[:100]}", "/Carried") from None


def _make_table(pairs: list[tuple[str, Any]]) -> CarriedContent:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return table


def _read_order(schema: bytes) -> dict[tuple[str, ...], list[str]]:
    """Return the names of the elements below each element of a schema, in their order."""
    found: dict[tuple[str, ...], list[str]] = {}
    top = etree.fromstring(schema)
    for element in top.iter(f"{_XSD}element"):
        above = [one.get("name", "") for one in element.iterancestors(f"{_XSD}element")]
        names = found.setdefault(tuple(reversed(above)), [])
        if element.get("name", "") not in names:
            names.append(element.get("name", ""))
    return found


def load_carried_form(
    agency: str, schemas: Traversable, mappings: Traversable, layouts: Traversable | None
) -> CarriedForm | None:
    """Return the form that ``carriers.yaml`` names for an agency; None where it speaks XML.

    `layouts` is a folder with one file NAME.json for each document and notice; raises GW808 when the agency
    speaks fixed records and there is none, and for data that cannot be read.
    """
    form = _read_form(agency, mappings.joinpath("carriers.yaml"))
    if form == "xml":
        return None
    if form == "fixed" and layouts is None:
        raise GatewayError(MISUSE, f"{agency} speaks fixed records: give the folder of layouts", "--layouts")
    files = sorted(_list_layout_files(layouts), key=lambda one: one.name) if layouts is not None else []
    read = {one.name.removesuffix(".json"): _read_layout(one) for one in files}
    return CarriedForm(form, schemas.joinpath("agencies", agency), read)


def _read_form(agency: str, file: Traversable) -> str:
    if not file.is_file():
        return "xml"
    try:
        told: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        form = told["carriers"].get(agency, {"form": "xml"})["form"]
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise GatewayError(MISUSE, f"no forms of organisations: {str(error)[:200]}", str(file)) from None
    if form not in _FORMS:
        raise GatewayError(MISUSE, f"a form is one of {', '.join(_FORMS)}", str(file))
    return str(form)


def _list_layout_files(layouts: Traversable) -> list[Traversable]:
    try:
        return [one for one in layouts.iterdir() if one.name.endswith(".json")]
    except OSError as error:
        raise GatewayError(MISUSE, f"the layouts cannot be read: {error}"[:300], "--layouts") from None


def _read_layout(file: Traversable) -> Any:
    """Return a printed layout; raise GW808 for a file that is none."""
    try:
        layout: Any = json.loads(file.read_bytes())
    except ValueError:
        layout = None
    if not isinstance(layout, dict) or not layout.keys() >= _LAYOUT or not layout["records"]:
        raise GatewayError(MISUSE, "this is no layout of `gateway map render --layout`", str(file))
    return layout
