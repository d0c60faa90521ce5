"""Judges a certificate again by what was kept of the first judgement, and by nothing else.

Not the register of today, its lists or its policy: what was good then and is revoked or over now
was good then.  A changed octet, document or row is found by its digest, or by that of the leaf
of evidence that was written with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence.log import leaf_hash, leaf_of, of_subject
from gateway.pki.proof import Material, differences, material_of, repeated
from gateway.pki.trust import Verdict
from gateway.store import payloads, verdicts

__all__ = ["Again", "Relied", "check_row", "judge_again", "named_by", "relied_on", "said_by", "verdict_named"]

#: What a row, its document and its leaf of evidence all say.
_SAID: Final = ("status", "problem", "tolerated", "use")


@dataclass(frozen=True, slots=True)
class Relied:
    """A verdict that something rests on: of which evidence, and the moment for which it counted.

    ``problem`` says why it cannot be found.
    """

    kind: str
    verdict: str
    at: datetime
    problem: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """A verdict as it was kept and as it comes out again; `differences` is empty where they agree.

    ``place`` is that of its leaf of evidence in the tree, None while it has none.
    """

    row: Row[Any]
    place: int | None
    at: datetime
    material: Material
    verdict: Verdict
    differences: tuple[str, ...]


def judge_again(conn: Connection, row: Row[Any], at: datetime | None = None) -> Again:
    """Judge the certificate of a kept verdict again, as of then or `at`; GW805 for what was changed."""
    place = check_row(conn, row)
    material = material_of(row.digest, lambda digest: payloads.get(conn, digest))
    said = material.said
    if said["leaf"] != row.leaf_sha256 or any(said[name] != getattr(row, name) for name in _SAID):
        raise _broken(row, "its row says other than its document")
    moment = at or row.judged_at
    verdict = repeated(material, moment)
    return Again(row, place, moment, material, verdict, differences(said, verdict))


def check_row(conn: Connection, row: Row[Any]) -> int | None:
    """Hold a row against the leaf of evidence that was written with it; return the place of that leaf."""
    leaves = of_subject(conn, "verdict", row.id)
    if len(leaves) != 1:
        # A second one could say something else, and be found first.
        raise _broken(row, f"it has {len(leaves) or 'no'} leaves of evidence")
    (leaf,) = leaves
    told = said_by(leaf)
    if leaf.digest != row.digest or leaf.at != row.judged_at or told["leaf"] != row.leaf_sha256:
        raise _broken(row, "its leaf of evidence is about another one")
    if told["until"] != row.valid_until.isoformat() or any(told[n] != getattr(row, n) for n in _SAID):
        raise _broken(row, "its row says other than its leaf of evidence")
    return None if leaf.seq is None else int(leaf.seq)


def _broken(row: Row[Any], words: str) -> GatewayError:
    return GatewayError(EVIDENCE_BROKEN, f"verdict {row.id}: {words}", f"verdict {row.id}")


def relied_on(conn: Connection, message: Row[Any]) -> Iterator[Relied]:
    """Yield the verdicts that a message rests on: on its own signer, and on those of what it carried."""
    about = [("message", message.id)]
    if message.case_id is not None:
        about.append(("case", message.case_id))
    for subject in about:
        for leaf in of_subject(conn, *subject):
            if subject[0] == "message" or leaf.digest == message.identity_sha256:
                yield from _relied(leaf)


def _relied(leaf: Row[Any]) -> Iterator[Relied]:
    try:
        said = said_by(leaf)
    except GatewayError as broken:
        yield Relied(leaf.kind, "", leaf.at, broken)
        return
    for digest in named_by(said):
        yield Relied(leaf.kind, digest, leaf.at)


def said_by(leaf: Row[Any]) -> dict[str, Any]:
    """Return the data of a leaf of evidence; GW805 where it is not what its hash says."""
    if leaf_hash(leaf_of(leaf._asdict())) != leaf.leaf_hash:
        raise GatewayError(EVIDENCE_BROKEN, "a leaf of evidence was changed", f"evidence {leaf.id}")
    said: dict[str, Any] = json.loads(leaf.data)
    return said


def named_by(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the verdicts that the data of a leaf names, wherever in it."""
    for name, value in data.items():
        if name == "verdict" and isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from named_by(value)


def verdict_named(conn: Connection, name: str) -> Row[Any] | None:
    """Return the verdict of a row number or of a digest."""
    if name.isascii() and name.isdigit() and len(name) < 18:
        return verdicts.get(conn, int(name))
    return verdicts.by_digest(conn, name.lower())
