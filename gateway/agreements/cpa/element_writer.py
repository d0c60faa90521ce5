"""Writes the elements of a CPA: qualified names, ids that are unique, certificates by their octets."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_reader import DIGEST_NAME_PREFIX, REGISTERED_NAME
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
    for attribute_name, value in attributes.items():
        if value is not None:
            element.set(f"{{{TP}}}{attribute_name}", value)
    return element


def set_link(element: etree._Element, target: str) -> None:
    """Make an element a simple link."""
    element.set(f"{{{XLINK}}}type", "simple")
    element.set(f"{{{XLINK}}}href", target)


@dataclass(slots=True)
class DocumentIds:
    """The ids of one document: each occurs once, and is a name of XML."""

    used_ids: set[str] = field(default_factory=set)

    def reserve_id(self, preferred_id: str) -> str:
        """Return `preferred_id`, or the nearest name that is free."""
        base_id = (
            preferred_id if _NAME.fullmatch(preferred_id) else "n-" + _NOT_IN_NAME.sub("-", preferred_id)
        )
        free_id, suffix_number = base_id, 1
        while free_id in self.used_ids:
            suffix_number += 1
            free_id = f"{base_id}-{suffix_number}"
        self.used_ids.add(free_id)
        return free_id


@dataclass(slots=True)
class PartyCertificates:
    """The certificates and trust anchors of one party of a document, each written once."""

    prefix: str
    names: DocumentIds
    #: The octets of certificates (DER) by SHA-256; one that is unknown is named by its digest.
    octets_by_pin: Mapping[str, bytes]
    #: The ids of certificates by use and SHA-256.
    _certificate_ids: dict[tuple[str, str | None], str] = field(default_factory=dict)
    _anchors_ids: dict[tuple[str, ...], str] = field(default_factory=dict)

    def reserve_certificate_id(self, certificate_use: str, pin: str | None) -> str:
        """Return the id of a certificate for a use; if `pin` is None, of the registered one of the party."""
        if (certificate_use, pin) not in self._certificate_ids:
            self._certificate_ids[certificate_use, pin] = self.names.reserve_id(
                f"{self.prefix}-{certificate_use}-certificate"
            )
        return self._certificate_ids[certificate_use, pin]

    def reserve_anchors_id(self, pins: tuple[str, ...]) -> str:
        """Return the id of security details with these trust anchors."""
        if pins not in self._anchors_ids:
            self._anchors_ids[pins] = self.names.reserve_id(f"{self.prefix}-security")
            for pin in pins:
                self.reserve_certificate_id(_ANCHOR, pin)
        return self._anchors_ids[pins]

    def write_certificates(self, next_element: etree._Element) -> None:
        """Insert every certificate, then every security details, before an element of the party."""
        container = etree.Element("holder", nsmap={"tp": TP, "ds": DS})
        for (_, pin), element_id in self._certificate_ids.items():
            self._write_certificate(container, pin, element_id)
        for pins, element_id in self._anchors_ids.items():
            details = add_element(container, "SecurityDetails", securityId=element_id)
            anchors = add_element(details, "TrustAnchors") if pins else details
            for pin in pins:
                add_element(anchors, "AnchorCertificateRef", certId=self._certificate_ids[_ANCHOR, pin])
        for child in list(container):
            next_element.addprevious(child)

    def _write_certificate(self, container: etree._Element, pin: str | None, certificate_id: str) -> None:
        """Write a Certificate: its octets if they are known, else only a KeyName with its digest.

        If `pin` (SHA-256) is None, the KeyName stands for the registered certificate of the party.
        """
        key_info: Any = etree.SubElement(
            add_element(container, "Certificate", certId=certificate_id), f"{{{DS}}}KeyInfo"
        )
        der = self.octets_by_pin.get(pin) if pin is not None else None
        if der is None:
            certificate_id = REGISTERED_NAME if pin is None else f"{DIGEST_NAME_PREFIX}{pin}"
            etree.SubElement(key_info, f"{{{DS}}}KeyName").text = certificate_id
            return
        x509_element = etree.SubElement(key_info, f"{{{DS}}}X509Data")
        etree.SubElement(x509_element, f"{{{DS}}}X509Certificate").text = base64.b64encode(der).decode(
            "ascii"
        )
