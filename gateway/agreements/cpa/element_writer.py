"""Writes the elements of a CPA: qualified names, ids that are unique, certificates by their octets."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_parties import DIGEST_NAME, REGISTERED
from gateway.wire import DS, TP, XLINK

__all__ = ["IdNames", "PartyStock", "add_element", "set_link"]

_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_.\-]+")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


def add_element(
    parent: etree._Element, name: str, text: str | None = None, /, **attributes: str | None
) -> etree._Element:
    """Add an element of the namespace of CPPA; an attribute that is None is left out."""
    made = etree.SubElement(parent, f"{{{TP}}}{name}")
    made.text = text
    for key, value in attributes.items():
        if value is not None:
            made.set(f"{{{TP}}}{key}", value)
    return made


def set_link(element: etree._Element, target: str) -> None:
    """Make an element a simple link."""
    element.set(f"{{{XLINK}}}type", "simple")
    element.set(f"{{{XLINK}}}href", target)


@dataclass(slots=True)
class IdNames:
    """The ids of one document: each occurs once, and is a name of XML."""

    _taken: set[str] = field(default_factory=set)

    def reserve_name(self, wanted: str) -> str:
        """Return `wanted`, or the nearest name that is free."""
        base = wanted if _NAME.fullmatch(wanted) else "n-" + _NOT_IN_NAME.sub("-", wanted)
        found, number = base, 1
        while found in self._taken:
            number += 1
            found = f"{base}-{number}"
        self._taken.add(found)
        return found


@dataclass(slots=True)
class PartyStock:
    """The certificates and trust anchors of one party of a document, each written once."""

    prefix: str
    names: IdNames
    #: The octets of certificates (DER) by SHA-256; one that is unknown is named by its digest.
    known: Mapping[str, bytes]
    _certificates: dict[str | None, str] = field(default_factory=dict)
    _anchors: dict[tuple[str, ...], str] = field(default_factory=dict)

    def name_certificate(self, pin: str | None) -> str:
        """Return the id of a certificate; None stands for those that the party has registered."""
        if pin not in self._certificates:
            self._certificates[pin] = self.names.reserve_name(f"{self.prefix}-certificate")
        return self._certificates[pin]

    def name_anchors(self, pins: tuple[str, ...]) -> str:
        """Return the id of security details with these trust anchors."""
        if pins not in self._anchors:
            self._anchors[pins] = self.names.reserve_name(f"{self.prefix}-security")
            for pin in pins:
                self.name_certificate(pin)
        return self._anchors[pins]

    def write_stock(self, before: etree._Element) -> None:
        """Insert every certificate, then every security details, before an element of the party."""
        holder = etree.Element("holder", nsmap={"tp": TP, "ds": DS})
        for pin, name in self._certificates.items():
            self._write_certificate(holder, pin, name)
        for pins, name in self._anchors.items():
            details = add_element(holder, "SecurityDetails", securityId=name)
            anchors = add_element(details, "TrustAnchors") if pins else details
            for pin in pins:
                add_element(anchors, "AnchorCertificateRef", certId=self._certificates[pin])
        for one in list(holder):
            before.addprevious(one)

    def _write_certificate(self, holder: etree._Element, pin: str | None, name: str) -> None:
        info: Any = etree.SubElement(add_element(holder, "Certificate", certId=name), f"{{{DS}}}KeyInfo")
        der = self.known.get(pin) if pin is not None else None
        if der is None:
            told = REGISTERED if pin is None else f"{DIGEST_NAME}{pin}"
            etree.SubElement(info, f"{{{DS}}}KeyName").text = told
            return
        data = etree.SubElement(info, f"{{{DS}}}X509Data")
        etree.SubElement(data, f"{{{DS}}}X509Certificate").text = base64.b64encode(der).decode("ascii")
