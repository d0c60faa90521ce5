"""The evidence of a verdict, as octets by their SHA-256: sufficient to repeat it at any later time.

A document names everything by digest: the certificate, its path to an anchor, the lists and
responses that were accepted, and the register at that time with the policy in force. Equal
octets are stored once, so the next certificate of an authority costs only its own octets and
a document. A document contains no time: two validations with the same input have the same
document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.pki.certificate_validation import FreshVerdict
from gateway.pki.certificates import Certificate
from gateway.pki.ocsp import OcspResponse
from gateway.pki.policy_file import read_policy, write_policy
from gateway.pki.revocation_data import RevocationList
from gateway.pki.trust_store import CertificateUse, Verdict
from gateway.pki.validation_input import ValidationInput

__all__ = [
    "VerdictEvidence",
    "VerdictMaterial",
    "list_differences",
    "list_named_digests",
    "load_material",
    "make_verdict_evidence",
    "repeat_validation",
]

#: Returns octets by their digest; raises when they are missing or do not match.
Fetch = Callable[[str], bytes]

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_WORDS: Final = ("status", "problem", "tolerated", "path")


@dataclass(frozen=True, slots=True)
class VerdictEvidence:
    """The document of a verdict, its digest, and all octets that it names, including its own."""

    digest: str
    octets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class VerdictMaterial:
    """The loaded content of a document: the stated verdict, and everything needed to repeat it."""

    said: Mapping[str, Any]
    leaf: bytes
    use: CertificateUse
    register: ValidationInput
    policy: bytes


def make_verdict_evidence(judged: FreshVerdict) -> VerdictEvidence:
    """Return the evidence of a new verdict, for storage."""
    octets: dict[str, bytes] = {}

    def hold_content(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        octets[digest] = content
        return digest

    def hold_items(items: Iterable[Certificate | RevocationList | OcspResponse]) -> list[str]:
        return [hold_content(each.der) for each in items]

    verdict, trust, words = judged.verdict, judged.trust, set(judged.verdict.evidence)
    register = {
        "anchors": hold_items(trust.anchors),
        "intermediates": hold_items(trust.intermediates),
        "policy": hold_content(write_policy(trust.policy)),
    }
    document = {
        "leaf": hold_content(judged.leaf),
        "use": judged.use.value,
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "tolerated": verdict.tolerated,
        "path": hold_items(verdict.path),
        "mode": verdict.mode,
        "source": verdict.source,
        "levels": sorted(verdict.levels),
        "register": hold_content(_encode(register).encode()),
        "crls": hold_items(each for each in judged.revocations.lists if each.sha256 in words),
        "responses": hold_items(each for each in judged.revocations.answers if each.sha256 in words),
    }
    return VerdictEvidence(hold_content(_encode(document).encode()), octets)


def list_named_digests(digest: str, fetch: Fetch) -> Iterator[str]:
    """Yield the digests of all octets that the document `digest` names; raise like `load_material`."""
    said, own = _load_documents(digest, fetch)
    yield from (said["leaf"], said["register"], own["policy"])
    for words in (said["path"], said["crls"], said["responses"], own["anchors"], own["intermediates"]):
        yield from words


def _load_documents(digest: str, fetch: Fetch) -> tuple[dict[str, Any], dict[str, Any]]:
    said = _parse_json_object(fetch(digest), ("leaf", "use", "register", "crls", "responses", *_WORDS))
    return said, _parse_json_object(fetch(said["register"]), ("anchors", "intermediates", "policy"))


def load_material(digest: str, fetch: Fetch) -> VerdictMaterial:
    """Load what the document `digest` names; raise GW805 when something is missing or malformed.

    The end of the path is used as an anchor: under a trusted list it was one without being an
    anchor of ours.
    """
    said, own = _load_documents(digest, fetch)
    policy = fetch(own["policy"])
    path = said["path"]
    register = ValidationInput(
        tuple(fetch(each) for each in dict.fromkeys((*own["anchors"], *path[-1:]))),
        tuple(fetch(each) for each in dict.fromkeys((*own["intermediates"], *path[1:-1]))),
        tuple(fetch(each) for each in said["crls"]),
        tuple(fetch(each) for each in said["responses"]),
        read_policy(policy, "policy"),
    )
    return VerdictMaterial(said, fetch(said["leaf"]), CertificateUse(said["use"]), register, policy)


def repeat_validation(material: VerdictMaterial, at: datetime) -> Verdict:
    """Validate again, as of `at`, with the stored material only."""
    return material.register.read_input().validate_certificate(material.leaf, material.use, at)


def list_differences(said: Mapping[str, Any], verdict: Verdict) -> tuple[str, ...]:
    """Return the names of the values in which a verdict differs from the stated one."""
    found = {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "tolerated": verdict.tolerated,
        "path": [each.sha256 for each in verdict.path],
    }
    return tuple(name for name in _WORDS if found[name] != said[name])


def _parse_json_object(content: bytes, needed: Iterable[str]) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not set(needed) <= set(found):
        raise GatewayError(EVIDENCE_BROKEN, "the stored document of the verdict is invalid")
    return found
