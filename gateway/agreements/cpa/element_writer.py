"""Writes the elements of a CPA: qualified names, ids that are unique, certificates by their octets."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_reader import DIGEST_NAME, REGISTERED
from gateway.wire import DS, TP, XLINK

_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_.\-]+")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")

#: The use of certificates that a party trusts.
_ANCHOR: Final = "trusted"


def add_element(
    parent: etree._Element, name: str, text: str | None = None, /, **attributes: str | None
) -> etree._Element:
    """Add an element of the namespace of CPPA; an attribute that is None is left out."""
    element = etree.SubElement(parent, f"{{{TP}}}{name}")
    element.text = text
    for key, value in attributes.items():
        if value is not None:
            element.set(f"{{{TP}}}{key}", value)
    return element


def set_link(element: etree._Element, target: str) -> None:
    """Make an element a simple link."""
    element.set(f"{{{XLINK}}}type", "simple")
    element.set(f"{{{XLINK}}}href", target)


@dataclass(slots=True)
class IdNames:
    """The ids of one document: each occurs once, and is a name of XML."""

    used_ids: set[str] = field(default_factory=set)

    def reserve_name(self, proposal: str) -> str:
        """Return `proposal`, or the nearest name that is free."""
        base = proposal if _NAME.fullmatch(proposal) else "n-" + _NOT_IN_NAME.sub("-", proposal)
        name, number = base, 1
        while name in self.used_ids:
            number += 1
            name = f"{base}-{number}"
        self.used_ids.add(name)
        return name


@dataclass(slots=True)
class PartyStock:
    """The certificates and trust anchors of one party of a document, each written once."""

    prefix: str
    names: IdNames
    #: The octets of certificates (DER) by SHA-256; one that is unknown is named by its digest.
    certificates: Mapping[str, bytes]
    #: The ids of certificates by use and SHA-256.
    _certificates: dict[tuple[str, str | None], str] = field(default_factory=dict)
    _anchors: dict[tuple[str, ...], str] = field(default_factory=dict)

    def name_certificate(self, use: str, pin: str | None) -> str:
        """Return the id of a certificate for a use; if `pin` is None, of the registered one of the party."""
        if (use, pin) not in self._certificates:
            self._certificates[use, pin] = self.names.reserve_name(f"{self.prefix}-{use}-certificate")
        return self._certificates[use, pin]

    def name_anchors(self, pins: tuple[str, ...]) -> str:
        """Return the id of security details with these trust anchors."""
        if pins not in self._anchors:
            self._anchors[pins] = self.names.reserve_name(f"{self.prefix}-security")
            for pin in pins:
                self.name_certificate(_ANCHOR, pin)
        return self._anchors[pins]

    def write_stock(self, before: etree._Element) -> None:
        """Insert every certificate, then every security details, before an element of the party."""
        holder = etree.Element("holder", nsmap={"tp": TP, "ds": DS})
        for (_, pin), name in self._certificates.items():
            self._write_certificate(holder, pin, name)
        for pins, name in self._anchors.items():
            details = add_element(holder, "SecurityDetails", securityId=name)
            anchors = add_element(details, "TrustAnchors") if pins else details
            for pin in pins:
                add_element(anchors, "AnchorCertificateRef", certId=self._certificates[_ANCHOR, pin])
        for child in list(holder):
            before.addprevious(child)

    def _write_certificate(self, holder: etree._Element, pin: str | None, name: str) -> None:
        info: Any = etree.SubElement(add_element(holder, "Certificate", certId=name), f"{{{DS}}}KeyInfo")
        der = self.certificates.get(pin) if pin is not None else None
        if der is None:
            name = REGISTERED if pin is None else f"{DIGEST_NAME}{pin}"
            etree.SubElement(info, f"{{{DS}}}KeyName").text = name
            return
        data = etree.SubElement(info, f"{{{DS}}}X509Data")
        etree.SubElement(data, f"{{{DS}}}X509Certificate").text = base64.b64encode(der).decode("ascii")
