"""Proof that something was recorded, and when at the latest: judged anywhere, without the hub.

A leaf is proved by its path to a head of the tree; a head by the signature over its text and by
time stamps over it; a stamp's authority by what was kept of the verdict on it.  The document has
all of it in it and names nothing outside, so that whoever holds it needs no row of ours.  Whom he
believes he says himself: anybody can make keys, authorities and a policy that fit each other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence.log import leaf_hash, leaf_of, of_subject
from gateway.evidence.seals import all_heads
from gateway.evidence.tree import path_of, root_by_path
from gateway.pki.certificates import Certificate, read_certificate
from gateway.pki.keys import algorithm_of
from gateway.pki.proof import Material, material_of, repeated
from gateway.pki.timestamps import TimeStamp, check_token
from gateway.pki.trust import DEFAULT_USES, TrustPolicy, Use, Verdict
from gateway.store import payloads, stamps
from gateway.store.tables import evidence
from gateway.xmlsec.algorithms import verify_value

__all__ = ["Authorities", "Proved", "check_head", "check_stamp", "prove", "proved", "read_head"]

_VERSION: Final = 1
_SAID: Final = frozenset({"at", "kind", "subject_type", "subject_id", "digest", "data"})
_SIZE: Final = re.compile(r"[1-9][0-9]{0,17}")
Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Proved:
    """What a document proves: its leaves, under a head that was signed and stamped by these."""

    leaves: tuple[Mapping[str, Any], ...]
    head: str
    signer: Certificate | None
    stamps: tuple[TimeStamp, ...]


@dataclass(frozen=True, slots=True)
class Authorities:
    """By whom time stamps are believed: the certificates (DER) that certify, and a policy of one's own.

    Without certificates those of the proof itself count: then it only agrees with itself.  Without
    a policy the kept one does, but for what a time-stamping certificate is: that is not for it to say.
    """

    anchors: tuple[bytes, ...] = ()
    policy: TrustPolicy | None = None

    def over(self, material: Material) -> Material:
        """Return what was kept of a verdict, with these in the place of what it says of itself."""
        kept = material.register
        policy = self.policy or _with_own_use(kept.policy)
        return replace(material, register=replace(kept, anchors=self.anchors or kept.anchors, policy=policy))


def _with_own_use(policy: TrustPolicy) -> TrustPolicy:
    use = Use.TIME_STAMPING
    rule = replace(DEFAULT_USES[use], accept_indeterminate=policy.uses[use].accept_indeterminate)
    return replace(policy, uses={**policy.uses, use: rule})


def check_head(text: str, signature: bytes | None, certificate: bytes | None) -> Certificate | None:
    """Return whose certificate signed a head, None where it was stored unsigned; GW805 where it did not."""
    if signature is None or certificate is None:
        return None
    signer = read_certificate(certificate)
    if not verify_value(algorithm_of(signer.public_key), signer.public_key, signature, text.encode()):
        raise _broken("the signature of a head is not good", text.partition("\n")[0][:80])
    return signer


def check_stamp(
    token: bytes, text: str, verdict: str | None, fetch: Fetch, believed: Authorities = Authorities()
) -> TimeStamp:
    """Return the stamp over a head, its authority judged again by what was kept of the verdict on it."""
    if verdict is None:
        raise _broken("nothing was kept of why the authority of a time stamp was believed", "time-stamp")
    material = believed.over(material_of(verdict, fetch))

    def judge(der: bytes, use: Use, at: datetime) -> Verdict:
        if der != material.leaf or use is not material.use:
            raise _broken("what was kept is about another certificate than the token's", "time-stamp")
        return repeated(material, at)

    return check_token(token, hashlib.sha256(text.encode()).digest(), judge)


def prove(conn: Connection, subject_type: str, subject_id: str) -> dict[str, Any]:
    """Return the document about one thing, under the first stamped head that covers all that has a place.

    GW805 where nothing about it has a place under any head yet.
    """
    rows = [row for row in of_subject(conn, subject_type, subject_id) if row.seq is not None]
    head = _head_over(conn, max((row.seq for row in rows), default=0))
    if head is None:
        raise _broken("nothing about it is sealed yet", f"{subject_type} {subject_id}"[:80])
    hashes = [
        bytes.fromhex(one)
        for one in conn.execute(
            select(evidence.c.leaf_hash).where(evidence.c.seq <= head.last_seq).order_by(evidence.c.seq)
        ).scalars()
    ]
    octets: dict[str, str] = {}

    def fetch(digest: str) -> bytes:
        content = payloads.get(conn, digest)
        octets[digest] = base64.b64encode(content).decode()
        return content

    given = stamps.of_seal(conn, head.id)
    for stamp in given:
        if stamp.verdict is not None:
            material_of(stamp.verdict, fetch)
    return {
        "version": _VERSION,
        "head": head.head,
        "signature": _coded(head.signature),
        "certificate": _coded(head.certificate),
        "stamps": [
            {"authority": one.authority, "token": _coded(one.token), "verdict": one.verdict} for one in given
        ],
        "leaves": [
            {
                "place": row.seq,
                "leaf": leaf_of(_mapping(row)).decode(),
                "path": [step.hex() for step in path_of(row.seq - 1, hashes)],
            }
            for row in rows
        ],
        "octets": octets,
    }


def _head_over(conn: Connection, last: int) -> Row[Any] | None:
    """Return the first stamped head over so many leaves, else the last head."""
    over = [row for row in all_heads(conn) if last and row.last_seq >= last]
    stamped = (row for row in over if stamps.of_seal(conn, row.id))
    return next(stamped, over[-1] if over else None)


def proved(document: Mapping[str, Any], believed: Authorities = Authorities()) -> Proved:
    """Return what a document proves, everything in it computed and judged anew; GW805 where it does not.

    GW205 where no certificate that is believed certifies the authority of a stamp.
    """
    try:
        return _proved(document, believed)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise _broken(f"it is no proof of ours ({type(problem).__name__})", "document") from None


def _proved(document: Mapping[str, Any], believed: Authorities) -> Proved:
    if document["version"] != _VERSION:
        raise _broken("it is of another version", "document")
    text, octets = document["head"], document["octets"]
    size, root = read_head(text)

    def fetch(digest: str) -> bytes:
        return payloads.checked(base64.b64decode(octets[digest], validate=True), digest)

    for one in document["leaves"]:
        path = [bytes.fromhex(step) for step in one["path"]]
        leaf = bytes.fromhex(leaf_hash(one["leaf"].encode()))
        if root_by_path(leaf, one["place"] - 1, size, path) != root:
            raise _broken(f"leaf {one['place']} is not under the head", f"leaf {one['place']}")
    given = [
        check_stamp(_octets(one["token"]) or b"", text, one["verdict"], fetch, believed)
        for one in document["stamps"]
    ]
    signer = check_head(text, _octets(document["signature"]), _octets(document["certificate"]))
    leaves: Sequence[Mapping[str, Any]] = [json.loads(one["leaf"]) for one in document["leaves"]]
    for one in leaves:
        if not set(one) >= _SAID:
            raise _broken("a leaf is not written as leaves are", "document")
    return Proved(tuple(leaves), text, signer, tuple(given))


def read_head(text: str) -> tuple[int, bytes]:
    """Return size and root of the tree that a head is of; GW805 where it is not written so."""
    lines = text.split("\n")
    if len(lines) != 5 or not _SIZE.fullmatch(lines[1]) or lines[4]:
        raise _broken("a head is not written as heads are", "head")
    try:
        return int(lines[1]), base64.b64decode(lines[2], validate=True)
    except ValueError:
        raise _broken("the root of a head is not written as roots are", "head") from None


def _mapping(row: Row[Any]) -> Mapping[str, Any]:
    return dict(row._mapping)


def _coded(octets: bytes | None) -> str | None:
    return None if octets is None else base64.b64encode(octets).decode()


def _octets(coded: str | None) -> bytes | None:
    return None if coded is None else base64.b64decode(coded, validate=True)


def _broken(detail: str, where: str) -> GatewayError:
    return GatewayError(EVIDENCE_BROKEN, detail, where)
