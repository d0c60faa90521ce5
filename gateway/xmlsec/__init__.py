"""XML signatures by fixed profiles: what exactly was signed, and with which certificate.

Every profile (ebMS 2.0, WS-Security, XAdES) names the references, transforms, key
sources and algorithms that it takes; whatever it does not name is refused, never
skipped.  Whether the certificate is to be trusted is not judged here.
"""

from __future__ import annotations

from gateway.xmlsec.algorithms import LEGACY_NORWAY, STRICT, SignaturePolicy, get_signature_policy
from gateway.xmlsec.digest_references import DigestReference
from gateway.xmlsec.xml_signature import VerifiedSignature

__all__ = [
    "LEGACY_NORWAY",
    "STRICT",
    "DigestReference",
    "SignaturePolicy",
    "VerifiedSignature",
    "get_signature_policy",
]
