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
from gateway.pki.certificates import Certificate
from gateway.pki.ocsp import OcspAnswer
from gateway.pki.policy import read_policy, written_policy
from gateway.pki.register import Register
from gateway.pki.revocation import RevocationList
from gateway.pki.trust import Judged, Use, Verdict

__all__ = ["Material", "Proof", "differences", "material_of", "named_in", "proof_of", "repeated"]

#: Octets by their digest; raises where there are none, or others.
Fetch = Callable[[str], bytes]

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_WORDS: Final = ("status", "problem", "tolerated", "path")


@dataclass(frozen=True, slots=True)
class Proof:
    """The document of a verdict, its digest, and all octets that it names, itself among them."""

    digest: str
    octets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Material:
    """What a document names, at hand: what was said, of what, and all that is needed to say it again."""

    said: Mapping[str, Any]
    leaf: bytes
    use: Use
    register: Register
    policy: bytes


def proof_of(judged: Judged) -> Proof:
    """Return what is to be kept of a new verdict."""
    octets: dict[str, bytes] = {}

    def hold(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        octets[digest] = content
        return digest

    def held(items: Iterable[Certificate | RevocationList | OcspAnswer]) -> list[str]:
        return [hold(each.der) for each in items]

    verdict, trust, words = judged.verdict, judged.trust, set(judged.verdict.evidence)
    register = {
        "anchors": held(trust.anchors),
        "intermediates": held(trust.intermediates),
        "policy": hold(written_policy(trust.policy)),
    }
    document = {
        "leaf": hold(judged.leaf),
        "use": judged.use.value,
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "tolerated": verdict.tolerated,
        "path": held(verdict.path),
        "mode": verdict.mode,
        "source": verdict.source,
        "levels": sorted(verdict.levels),
        "register": hold(_encode(register).encode()),
        "crls": held(each for each in judged.revocations.lists if each.sha256 in words),
        "responses": held(each for each in judged.revocations.answers if each.sha256 in words),
    }
    return Proof(hold(_encode(document).encode()), octets)


def named_in(digest: str, fetch: Fetch) -> Iterator[str]:
    """Yield the digests of all octets that the document `digest` names; raises as `material_of` does."""
    said, own = _documents(digest, fetch)
    yield from (said["leaf"], said["register"], own["policy"])
    for words in (said["path"], said["crls"], said["responses"], own["anchors"], own["intermediates"]):
        yield from words


def _documents(digest: str, fetch: Fetch) -> tuple[dict[str, Any], dict[str, Any]]:
    said = _object(fetch(digest), ("leaf", "use", "register", "crls", "responses", *_WORDS))
    return said, _object(fetch(said["register"]), ("anchors", "intermediates", "policy"))


def material_of(digest: str, fetch: Fetch) -> Material:
    """Gather what the document `digest` names; raises GW805 for what is missing or no such document.

    The end of the path is an anchor here: by a trusted list it was one though none of our own.
    """
    said, own = _documents(digest, fetch)
    policy = fetch(own["policy"])
    path = said["path"]
    register = Register(
        tuple(fetch(each) for each in dict.fromkeys((*own["anchors"], *path[-1:]))),
        tuple(fetch(each) for each in dict.fromkeys((*own["intermediates"], *path[1:-1]))),
        tuple(fetch(each) for each in said["crls"]),
        tuple(fetch(each) for each in said["responses"]),
        read_policy(policy, "policy"),
    )
    return Material(said, fetch(said["leaf"]), Use(said["use"]), register, policy)


def repeated(material: Material, at: datetime) -> Verdict:
    """Judge again, as of `at`, by nothing but what was kept."""
    return material.register.open().judge(material.leaf, material.use, at)


def differences(said: Mapping[str, Any], verdict: Verdict) -> tuple[str, ...]:
    """Return in what a verdict differs from the one that was said; nothing where they agree."""
    found = {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "tolerated": verdict.tolerated,
        "path": [each.sha256 for each in verdict.path],
    }
    return tuple(name for name in _WORDS if found[name] != said[name])


def _object(content: bytes, needed: Iterable[str]) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not set(needed) <= set(found):
        raise GatewayError(EVIDENCE_BROKEN, "what is kept of a verdict is no such document")
    return found
