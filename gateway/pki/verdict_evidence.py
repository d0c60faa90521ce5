"""What a verdict rests on, as octets by their SHA-256: enough to judge again when all has changed.

A document names everything by digest: the certificate, the way that led to an anchor, the lists and
responses that were believed, and the register of that moment with the policy in force.  Octets that
are the same are held once, so the next certificate of an authority costs its own octets and a
document.  It holds no time: judged twice by the same things, a certificate has one document.
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

#: Octets by their digest; raises where there are none, or others.
Fetch = Callable[[str], bytes]

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_WORDS: Final = ("status", "problem", "tolerated", "path")


@dataclass(frozen=True, slots=True)
class VerdictEvidence:
    """The document of a verdict, its digest, and all octets that it names, itself among them."""

    digest: str
    octets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class VerdictMaterial:
    """What a document names, at hand: what was said, of what, and all that is needed to say it again."""

    said: Mapping[str, Any]
    leaf: bytes
    use: CertificateUse
    register: ValidationInput
    policy: bytes


def make_verdict_evidence(judged: FreshVerdict) -> VerdictEvidence:
    """Return what is to be kept of a new verdict."""
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
    """Yield the digests of all octets that the document `digest` names; raises as `load_material` does."""
    said, own = _load_documents(digest, fetch)
    yield from (said["leaf"], said["register"], own["policy"])
    for words in (said["path"], said["crls"], said["responses"], own["anchors"], own["intermediates"]):
        yield from words


def _load_documents(digest: str, fetch: Fetch) -> tuple[dict[str, Any], dict[str, Any]]:
    said = _parse_json_object(fetch(digest), ("leaf", "use", "register", "crls", "responses", *_WORDS))
    return said, _parse_json_object(fetch(said["register"]), ("anchors", "intermediates", "policy"))


def load_material(digest: str, fetch: Fetch) -> VerdictMaterial:
    """Gather what the document `digest` names; raises GW805 for what is missing or no such document.

    The end of the path is an anchor here: by a trusted list it was one though none of our own.
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
    """Judge again, as of `at`, by nothing but what was kept."""
    return material.register.read_input().validate_certificate(material.leaf, material.use, at)


def list_differences(said: Mapping[str, Any], verdict: Verdict) -> tuple[str, ...]:
    """Return in what a verdict differs from the one that was said; nothing where they agree."""
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
