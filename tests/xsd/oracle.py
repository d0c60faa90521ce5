"""The outside original of the declaration schema, our own one, and the outside samples for both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lxml import etree

from tests.kit.paths import ROOT

DEC = "{urn:wco:datamodel:WCO:DEC-DMS:2}"
RES = "{urn:wco:datamodel:WCO:RES-DMS:2}"
SHELL = "{urn:wco:datamodel:WCO:DocumentMetaData-DMS:2}MetaData"
MOMENT = "{urn:wco:datamodel:WCO:Declaration_DS:DMS:2}DateTimeString"


@dataclass(frozen=True, slots=True)
class Sample:
    """One outside file: where it lies below the samples folder, and its tree."""

    name: str
    root: etree._Element


def load_schema(path: Path) -> etree.XMLSchema:
    """Compile the schema at `path`; imports are read from the files beside it, never from a network."""
    return etree.XMLSchema(etree.parse(str(path), etree.XMLParser(no_network=True)))


@cache
def ours(entry: str = "wco/submit.xsd") -> etree.XMLSchema:
    """Return our schema whose entry lies at `entry` below xsd/."""
    return load_schema(ROOT / "xsd" / entry)


@cache
def original(vectors: Path) -> etree.XMLSchema:
    """Return the original: shell and declaration as the customs wrapper combines them."""
    return load_schema(vectors / "data/hmrc-cds/xsd/customs/wrapper_submit.xsd")


@cache
def original_response(vectors: Path) -> etree.XMLSchema:
    """Return the original of the response: shell, response and the declaration it may quote."""
    folder = vectors / "data/hmrc-cds/xsd/wco"
    # One file of two lines stands in for the wrapper that the originals lack.
    wrapper = etree.fromstring(
        f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" elementFormDefault="qualified"
                targetNamespace="urn:wco:datamodel:WCO:DocumentMetaData-DMS:2">
              <xs:include schemaLocation="{folder}/notification/DocumentMetaData_2_DMS.xsd"/>
              <xs:import namespace="{RES[1:-1]}" schemaLocation="{folder}/notification/WCO_RES_2_DMS.xsd"/>
            </xs:schema>"""
    )
    return etree.XMLSchema(wrapper)


@cache
def samples(vectors: Path) -> tuple[Sample, ...]:
    """Return the well-formed outside files that hold a declaration with its namespace, in order of name."""
    folder = vectors / "data/hmrc-cds/samples"
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() != ".xml":
            continue
        root = etree.parse(str(path), etree.XMLParser(no_network=True, resolve_entities=False)).getroot()
        if next(root.iter(f"{DEC}Declaration"), None) is not None:
            found.append(Sample(str(path.relative_to(folder)), root))
    return tuple(found)


def unwrapped(root: etree._Element) -> etree._Element:
    """Return what a request shell carries, as a document of its own; anything else as it is."""
    if etree.QName(root).localname != "submitDeclarationRequest":
        return root
    shell = next(root.iter(SHELL))
    return etree.fromstring(etree.tostring(shell, with_tail=False))
