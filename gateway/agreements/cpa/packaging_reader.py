"""Reads what messages are made of: ``SimplePart`` and ``Packaging``."""

from __future__ import annotations

from lxml import etree

from gateway.agreements.cpa.cpa_model import Composite, Constituent, PackagingTerms, SimplePart
from gateway.agreements.cpa.cpa_values import CpaElements
from gateway.wire import DS, XLINK, collapse_whitespace

__all__ = ["read_packages", "read_simple_parts"]


def read_simple_parts(found: CpaElements, root: etree._Element) -> dict[str, SimplePart]:
    """Return the simple parts of a document by id."""
    parts = (
        SimplePart(
            found.find_place(one),
            found.read_name(one, "id"),
            found.read_attribute(one, "mimetype"),
            found.read_optional(one, "mimeparameters"),
            one.get(f"{{{XLINK}}}role"),
            tuple(
                collapse_whitespace(found.read_text(name))
                for name in found.list_children(one, "NamespaceSupported")
            ),
        )
        for one in found.list_children(root, "SimplePart")
    )
    return {part.id: part for part in parts}


def read_packages(found: CpaElements, root: etree._Element) -> dict[str, PackagingTerms]:
    """Return the packages of a document by id."""
    packages = (_read_package(found, one) for one in found.list_children(root, "Packaging"))
    return {package.id: package for package in packages}


def _read_package(found: CpaElements, element: etree._Element) -> PackagingTerms:
    able = found.find_child(element, "ProcessingCapabilities")
    return PackagingTerms(
        found.find_place(element),
        found.read_name(element, "id"),
        able is not None and bool(found.read_boolean(able, "parse")),
        able is not None and bool(found.read_boolean(able, "generate")),
        tuple(
            _read_composite(found, one)
            for composites in found.list_children(element, "CompositeList")
            for one in found.list_children(composites, "Composite", "Encapsulation")
        ),
    )


def _read_composite(found: CpaElements, element: etree._Element) -> Composite:
    return Composite(
        found.find_place(element),
        found.read_name(element, "id"),
        found.read_attribute(element, "mimetype"),
        found.read_optional(element, "mimeparameters"),
        tuple(_read_constituent(found, one) for one in found.list_children(element, "Constituent")),
        is_encapsulation=etree.QName(element).localname == "Encapsulation",
    )


def _read_constituent(found: CpaElements, element: etree._Element) -> Constituent:
    return Constituent(
        found.find_place(element),
        found.read_reference(element, "idref", "SimplePart", "Composite", "Encapsulation"),
        bool(found.read_boolean(element, "excludedFromSignature")),
        found.read_integer(element, "minOccurs"),
        found.read_integer(element, "maxOccurs"),
        tuple(
            str(one.get("Algorithm"))
            for holder in found.list_children(element, "SignatureTransforms")
            for one in holder.iterchildren(f"{{{DS}}}Transform")
        ),
    )
