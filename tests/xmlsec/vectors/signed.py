"""Every signed document of three outside suites, judged, and held against what its suite says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.xmlsec import SignaturePolicy, VerificationReport, verify_any_document

SUITES = ("xmldsig-santuario", "xmldsig-xmlsec", "xmldsig-signxml")

# Made to be wrong by those who made them, as their names, notes or tests say.
BAD = {
    "signature-rsa-enveloped-bad-digest-val.xml",
    "signature-rsa-enveloped-bad-sig.xml",
    "bad-signature.xml",
    "envelopingInvalidSignatureEd25519.xml",
    "envelopingInvalidSignatureEd448.xml",
    "invalid wss resp - changed content.xml",
    "invalid_enveloped_transform.xml",
    "dss-signed-altered-signedPropsRemoved.xml",
    "nonconformant-dss-signed-altered-refRemoved.xml",
    "valid-xades-policyId-newlines.xml",  # indented anew after it was signed
}

# Good to their makers, invalid here, each for a reason.
ARGUED = {
    "enveloping-sha256-ecdsa-sha256_padded.xml": "r and s are padded beyond the length of the order of the "
    "curve; RFC 9231 §2.3.6 has one form only",
    "enveloping-sha512-ecdsa-sha512-with-asn1.xml": "the value is an ASN.1 sequence, which its makers take "
    "by a switch; RFC 9231 §2.3.6 has r and s only",
}


@dataclass
class Count:
    """What came of one suite under one policy: numbers, and the names of what is wrong."""

    documents: int = 0
    valid: int = 0
    invalid: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    argued: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, judgement: VerificationReport) -> None:
        """Count one judgement, and hold it against what is known of the document."""
        self.documents += 1
        if judgement.verdict == "refused by policy":
            self.refused[str(judgement.policy_rule)] += 1
            return
        self.valid += judgement.verdict == "valid"
        self.invalid += judgement.verdict == "invalid"
        if (judgement.verdict == "valid") == (name not in BAD):
            return
        if name in ARGUED and judgement.verdict == "invalid":
            self.argued[name] = ARGUED[name]
        else:
            self.wrong.append(f"{name}: {judgement.verdict} ({judgement.reason})")


def documents(vectors: Path, suite: str) -> list[Path]:
    """Return the signed documents of a suite; templates and canonical forms are not documents."""
    found = sorted((vectors / "vectors" / suite).rglob("*.xml"))
    return [path for path in found if b"SignatureValue" in path.read_bytes()]


def count(vectors: Path, suite: str, policy: SignaturePolicy) -> Count:
    """Judge every document of a suite."""
    told = Count()
    for path in documents(vectors, suite):
        told.add(path.name, verify_any_document(path.read_bytes(), {}, policy))
    return told
