"""Which verdicts the decisions of a case rest on: those on whoever signed what its agencies said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence.log import of_subject
from gateway.evidence.verdicts import Relied, said_by
from gateway.pki.certificates import Certificate
from gateway.pki.trust import Use
from gateway.store import payloads, requests, verdicts
from gateway.wire.xml import parse_xml
from gateway.xmlsec.algorithms import POLICIES
from gateway.xmlsec.wss import verify_request

__all__ = ["replies_of"]


def replies_of(conn: Connection, case: int) -> Iterator[Relied]:
    """Yield the verdict on the signer of each answer and call-back kept, its signature verified again.

    Which verdict counted is said by the evidence; of older evidence it is found by certificate and moment.
    """
    for request in requests.of_case(conn, case):
        for leaf in of_subject(conn, "request", request.id):
            if leaf.kind != "reply":
                continue
            kind = f"reply of {request.agency}"
            try:
                signer = _signer(payloads.get(conn, leaf.digest), leaf.at)
                yield Relied(kind, _verdict_on(conn, signer, leaf), leaf.at)
            except GatewayError as broken:
                yield Relied(kind, "", leaf.at, broken)


def _verdict_on(conn: Connection, signer: Certificate, leaf: Row[Any]) -> str:
    """Return the digest of the verdict that a reply rests on; it must be about its signer."""
    named = said_by(leaf).get("verdict")
    if named is not None:
        row = verdicts.by_digest(conn, named)
        if row is not None and row.leaf_sha256 != signer.sha256:
            raise GatewayError(EVIDENCE_BROKEN, "its verdict is about another certificate", leaf.kind)
        return str(named)
    row = verdicts.in_force(conn, signer.sha256, Use.SIGNING.value, leaf.at)
    if row is None:
        detail = f"no verdict on certificate {signer.sha256[:16]} is kept of that time"
        raise GatewayError(EVIDENCE_BROKEN, detail, leaf.kind)
    return str(row.digest)


def _signer(envelope: bytes, at: datetime) -> Certificate:
    """Return the certificate whose key signed an envelope, by the strictest policy that takes it."""
    refused: GatewayError | None = None
    for policy in POLICIES.values():
        try:
            return verify_request(parse_xml(envelope), policy, now=at).certificate
        except GatewayError as problem:
            refused = refused or problem
    raise refused or GatewayError(EVIDENCE_BROKEN, "nobody signed it")
