"""A second verifier of signed documents: plain signxml, which shares no code with the gateway.

The gateway verifies by its own code. Only a program of other authors shows that others can verify the
documents that the gateway signs: the demo and the tests let signxml verify each document that the hub
signs.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.x509 import load_der_x509_certificate
from signxml.xades import XAdESSignatureConfiguration, XAdESVerifier

from gateway.errors import describe_exception
from gateway.pki import Certificate

#: References of a document that the gateway signs: the document, its SignedProperties, KeyInfo.
_REFERENCES = 3


def find_signature_fault(document: bytes, certificate: Certificate, at: datetime) -> str | None:
    """Return why signxml does not verify a document that the gateway signed; None where it does.

    `certificate` is that of the signer, and must be valid `at` that time; its path is not validated. The
    signature is validated against the schemas of XML Signature and XAdES too. The targets of the references
    are not judged: signxml verifies references to any target.
    """
    config = XAdESSignatureConfiguration(expect_references=_REFERENCES, verification_time=at)
    signer = load_der_x509_certificate(certificate.der)
    try:
        XAdESVerifier().verify(document, x509_cert=signer, expect_config=config)
    except Exception as fault:  # signxml lets exceptions of lxml, of cryptography and of Python through
        return f"{type(fault).__name__}: {describe_exception(fault)}"[:500]
    return None
