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
from gateway.pki.certificate_validation import FreshVerdict, ValidationInput
from gateway.pki.certificates import Certificate
from gateway.pki.ocsp import OcspResponse
from gateway.pki.policy_file import read_policy, write_policy
from gateway.pki.revocation_data import RevocationList
from gateway.pki.trust_store import CertificateUse, Verdict

#: Returns octets by their digest; raises when they are missing or do not match.
FetchOctets = Callable[[str], bytes]

_encode_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_VERDICT_FIELDS: Final = ("status", "problem", "tolerated", "path")


@dataclass(frozen=True, slots=True)
class VerdictEvidence:
    """The document of a verdict, its digest, and all octets that it names, including its own."""

    digest: str
    octets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class VerdictMaterial:
    """The loaded content of a document: the stated verdict, and everything needed to repeat it."""

    document: Mapping[str, Any]
    leaf: bytes
    use: CertificateUse
    register: ValidationInput
    policy: bytes


def make_verdict_evidence(fresh_verdict: FreshVerdict) -> VerdictEvidence:
    """Return the evidence of a new verdict, for storage."""
    octets: dict[str, bytes] = {}

    def add_octets(new_octets: bytes) -> str:
        digest = hashlib.sha256(new_octets).hexdigest()
        octets[digest] = new_octets
        return digest

    def add_encodings(encoded_objects: Iterable[Certificate | RevocationList | OcspResponse]) -> list[str]:
        return [add_octets(each.der) for each in encoded_objects]

    verdict, trust, used_digests = (
        fresh_verdict.verdict,
        fresh_verdict.trust,
        set(fresh_verdict.verdict.evidence),
    )
    register = {
        "anchors": add_encodings(trust.anchors),
        "intermediates": add_encodings(trust.intermediates),
        "policy": add_octets(write_policy(trust.policy)),
    }
    document = {
        "leaf": add_octets(fresh_verdict.leaf),
        "use": fresh_verdict.use.value,
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "tolerated": verdict.tolerated,
        "path": add_encodings(verdict.path),
        "mode": verdict.mode,
        "source": verdict.source,
        "levels": sorted(verdict.levels),
        "register": add_octets(_encode_json(register).encode()),
        "crls": add_encodings(
            each for each in fresh_verdict.revocations.lists if each.sha256 in used_digests
        ),
        "responses": add_encodings(
            each for each in fresh_verdict.revocations.answers if each.sha256 in used_digests
        ),
    }
    return VerdictEvidence(add_octets(_encode_json(document).encode()), octets)


def list_named_digests(digest: str, fetch_octets: FetchOctets) -> Iterator[str]:
    """Yield the digests of all octets that the document `digest` names; raise like `load_material`."""
    document, register = _load_documents(digest, fetch_octets)
    yield from (document["leaf"], document["register"], register["policy"])
    for digests in (
        document["path"],
        document["crls"],
        document["responses"],
        register["anchors"],
        register["intermediates"],
    ):
        yield from digests


def _load_documents(digest: str, fetch_octets: FetchOctets) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the stored document of a verdict, and that of the register it names; raise GW805 if invalid."""
    document = _parse_json_object(
        fetch_octets(digest), ("leaf", "use", "register", "crls", "responses", *_VERDICT_FIELDS)
    )
    return document, _parse_json_object(
        fetch_octets(document["register"]), ("anchors", "intermediates", "policy")
    )


def load_material(digest: str, fetch_octets: FetchOctets) -> VerdictMaterial:
    """Load the material that the document `digest` names; raise GW805 when a part is missing or malformed.

    The last certificate of the path is used as an anchor: a trusted list may have made it one, although
    it is not among the configured anchors.
    """
    document, register = _load_documents(digest, fetch_octets)
    policy = fetch_octets(register["policy"])
    path = document["path"]
    validation_input = ValidationInput(
        tuple(fetch_octets(each) for each in dict.fromkeys((*register["anchors"], *path[-1:]))),
        tuple(fetch_octets(each) for each in dict.fromkeys((*register["intermediates"], *path[1:-1]))),
        tuple(fetch_octets(each) for each in document["crls"]),
        tuple(fetch_octets(each) for each in document["responses"]),
        read_policy(policy, "policy"),
    )
    return VerdictMaterial(
        document, fetch_octets(document["leaf"]), CertificateUse(document["use"]), validation_input, policy
    )


def repeat_validation(material: VerdictMaterial, at: datetime) -> Verdict:
    """Validate again, as of `at`, with the stored material only."""
    return material.register.read_input().validate_certificate(material.leaf, material.use, at)


def list_differences(stated_values: Mapping[str, Any], verdict: Verdict) -> tuple[str, ...]:
    """Return the names of the values in which a verdict differs from the stated one."""
    values = {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "tolerated": verdict.tolerated,
        "path": [each.sha256 for each in verdict.path],
    }
    return tuple(name for name in _VERDICT_FIELDS if values[name] != stated_values[name])


def _parse_json_object(json_octets: bytes, required_keys: Iterable[str]) -> dict[str, Any]:
    """Return the object in JSON octets; raise GW805 unless it has all `required_keys`."""
    try:
        document = json.loads(json_octets)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not set(required_keys) <= set(document):
        raise GatewayError(EVIDENCE_BROKEN, "the stored document of the verdict is invalid")
    return document
