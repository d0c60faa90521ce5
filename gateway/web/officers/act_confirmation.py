"""How an officer confirms an act: with a passkey, with a client certificate, or by being signed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import PasskeyError, RelyingParty, decode_base64url, verify_confirmation
from gateway.cases import encode_batch
from gateway.errors import ACT_NOT_PERMITTED, GatewayError
from gateway.hub import ConfirmedAct
from gateway.store import accounts, passkeys

__all__ = ["SESSION_ONLY", "Confirmation", "ConfirmationMethod", "check_confirmation"]


class ConfirmationMethod(StrEnum):
    """A way to confirm an act."""

    PASSKEY = "passkey"
    CERTIFICATE = "certificate"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How an act is confirmed.

    For a passkey, `take` verifies the answer of the browser and returns the evidence; it is called in
    the transaction of the act. `octets` are evidence that was taken before, for a batch, and `digests`
    those of all acts of the batch. For a certificate, `certificate_sha256` is the digest of the client
    certificate of this request.
    """

    method: ConfirmationMethod
    octets: bytes = field(default=b"", repr=False)
    certificate_sha256: str | None = None
    digests: tuple[str, ...] = ()
    take: Callable[[Connection], bytes] | None = field(default=None, repr=False)


#: For acts that decide nothing, and where the settings let a session decide.
SESSION_ONLY: Final = Confirmation(ConfirmationMethod.SESSION)


def check_confirmation(
    conn: Connection,
    account: int,
    about: tuple[str, bytes],
    said: Confirmation,
    party: RelyingParty | None,
) -> ConfirmedAct:
    """Return the confirmation of an act for the evidence; raises GW707 for a wrong one.

    `about` is the digest of the act, and the octets of what is decided. `party` is for whom passkeys of
    this console are made.
    """
    if said.method is ConfirmationMethod.SESSION:
        return ConfirmedAct({"method": said.method.value})
    if said.method is ConfirmationMethod.CERTIFICATE:
        return _check_certificate(conn, account, said)
    digest, document = about
    if said.digests and digest not in said.digests:
        raise _make_refusal("the passkey confirmed other acts")
    octets = said.octets if said.take is None else said.take(conn)
    credential = _check_passkey(
        conn, account, encode_batch(said.digests) if said.digests else document, octets
    )
    _check_origin(octets, party)
    data = {"method": said.method.value, "credential": credential}
    return ConfirmedAct({**data, "batch": list(said.digests)} if said.digests else data, octets)


def _check_passkey(conn: Connection, account: int, document: bytes, octets: bytes) -> str:
    """Return the id of the passkey that confirmed a document; it must be one of the account."""
    try:
        used = verify_confirmation(document, octets)
        public_key = decode_base64url(json.loads(octets)["public_key"])
    except PasskeyError as problem:
        raise _make_refusal("the passkey did not confirm this act") from problem
    row = passkeys.find_passkey(conn, used.credential_id)
    if row is None or row.account_id != account or row.public_key != public_key:
        raise _make_refusal("the passkey is not the officer's")
    return used.credential_id


def _check_origin(octets: bytes, party: RelyingParty | None) -> None:
    told = json.loads(octets)
    if party is None or (told["rp_id"], told["origin"]) != (party.id, party.origin):
        raise _make_refusal("the passkey was used at another address")


def _check_certificate(conn: Connection, account: int, said: Confirmation) -> ConfirmedAct:
    row = accounts.find_by_id(conn, account)
    known = None if row is None else row.certificate_sha256
    if said.certificate_sha256 is None or said.certificate_sha256 != known:
        raise _make_refusal("the client certificate is not the officer's")
    return ConfirmedAct({"method": said.method.value, "certificate": said.certificate_sha256})


def _make_refusal(detail: str) -> GatewayError:
    return GatewayError(ACT_NOT_PERMITTED, detail, "confirmation")
