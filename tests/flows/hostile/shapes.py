"""Cases played against nobody, in a world that stands still: the same attack gives the same octets."""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway_conformance.hostile import Answer, AttackCase, AttackerKit, HttpRequest, make_sample_kit
from gateway_conformance.hostile.exchange import Step
from gateway_conformance.hostile.naive_verifier import accepts_request

#: Longer ago than the agreement of a kit lasts: what asks the clock of the machine is refused.
NOW = datetime(2024, 11, 20, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Repeatable:
    """A signer that gives one signature for one text, elliptic keys included (RFC 6979)."""

    certificate: Any
    algorithm: str
    key: Any

    def sign(self, data: bytes) -> bytes:
        chosen = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self.key.sign(data, chosen))
        return r.to_bytes(32) + s.to_bytes(32)


def repeatable(signer: Any) -> Any:
    if isinstance(signer.key, ec.EllipticCurvePrivateKey):
        return Repeatable(signer.certificate, signer.algorithm, signer.key)
    return signer


@cache
def _world() -> AttackerKit:
    bench = make_sample_kit(NOW)
    return replace(bench, signers={name: repeatable(one) for name, one in bench.signers.items()})


def bench() -> AttackerKit:
    """Return a bench whose ids begin anew."""
    numbers = itertools.count(1)
    return replace(_world(), make_uuid=lambda: uuid.UUID(int=next(numbers)))


@cache
def steps(case: AttackCase) -> list[Step]:
    """Return what a case sends when everything is answered by an empty yes; it may then give up."""
    found: list[Step] = []
    play = case.scenario(bench())
    try:
        exchange = next(play)
        while True:
            found.append(exchange.step)
            exchange = play.send(Answer(200, {}, b""))
    except StopIteration:
        return found
    except Exception:
        if not found:
            raise
        return found


def shape(case: AttackCase) -> object:
    """Return all that a case sends."""
    return tuple(
        (one.face, one.method, tuple(sorted(one.headers.items())), one.body)
        if isinstance(one, HttpRequest)
        else one
        for one in steps(case)
    )


def same_shapes(cases: Iterable[AttackCase]) -> list[list[str]]:
    """Return the ids of cases that send the same."""
    found: dict[object, list[str]] = defaultdict(list)
    for case in cases:
        found[shape(case)].append(case.id)
    return [ids for ids in found.values() if len(ids) > 1]


def fools(case: AttackCase) -> bool:
    """Tell whether the naive verifier takes the last thing a case sends, whichever part is its envelope."""
    last = steps(case)[-1]
    return isinstance(last, HttpRequest) and (accepts_request(last) or accepts_request(last, "first"))
