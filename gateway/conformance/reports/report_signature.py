"""The signature of a report: an XML document beside it with name and digest, signed as XAdES-B.

The report itself stays as it is. Whoever gets it verifies the document with any verifier of XAdES, and
compares the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from lxml import etree

from gateway.errors import REPORT_NOT_PROVEN, GatewayError
from gateway.pki import Certificate, Signer
from gateway.wire import parse_xml
from gateway.xmlsec import sign_document, verify_document

__all__ = ["SignedReport", "get_signature_path", "sign_report", "verify_report"]

_NAMESPACE: Final = "urn:single-window:conformance-report:1"
_ROOT: Final = f"{{{_NAMESPACE}}}SignedReport"


@dataclass(frozen=True, slots=True)
class SignedReport:
    """What a signature proves: the file's digest, who signed, and the time that the signer states."""

    file: str
    sha256: str
    certificate: Certificate
    signed_at: datetime | None


def get_signature_path(report: Path) -> Path:
    """Return where the signature of a report is: the name of the report and ``.signature.xml``."""
    return report.with_name(f"{report.name}.signature.xml")


def sign_report(name: str, content: bytes, signer: Signer, at: datetime) -> bytes:
    """Return the signature of a report; raise GW204 for a key that XAdES does not use."""
    root = etree.Element(_ROOT, nsmap={"r": _NAMESPACE})
    etree.SubElement(root, f"{{{_NAMESPACE}}}File").text = name
    etree.SubElement(root, f"{{{_NAMESPACE}}}SHA256").text = hashlib.sha256(content).hexdigest()
    sign_document(root, signer, now=at)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def verify_report(content: bytes, signature: bytes) -> SignedReport:
    """Return who signed a report; raise GW903 or a problem of the signature."""
    root = parse_xml(signature)
    if root.tag != _ROOT:
        raise GatewayError(REPORT_NOT_PROVEN, "the document is no signature of a report", "/*")
    signed = verify_document(root)
    digest = root.findtext(f"{{{_NAMESPACE}}}SHA256", "")
    if digest != hashlib.sha256(content).hexdigest():
        detail = "the report was changed after it was signed: its SHA-256 is another one"
        raise GatewayError(REPORT_NOT_PROVEN, detail, "SHA256")
    file = root.findtext(f"{{{_NAMESPACE}}}File", "")
    return SignedReport(file, digest, signed.certificate, signed.signing_time)
