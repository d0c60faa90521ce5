"""Officers and their acts as values; how an act is confirmed: by passkey, certificate, or session."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import PasskeyError, RelyingParty, Right, decode_base64url, verify_confirmation
from gateway.cases import encode_batch
from gateway.errors import ACT_NOT_PERMITTED, CLIENT_CERTIFICATE, NO_ROOM, GatewayError
from gateway.hub import ActingOfficer, ConfirmedAct, Hub, StaleSnapshotError, find_account_refusal
from gateway.store import accounts, sessions


class ConfirmationMethod(StrEnum):
    """A way to confirm an act."""

    PASSKEY = "passkey"
    CERTIFICATE = "certificate"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How an act is confirmed.

    For a passkey, `verify_answer` verifies the answer of the browser and returns the evidence; it is called
    in the transaction of the act. For a batch, `octets` are the evidence taken before, and `digests` are
    those of all acts of the batch. For a certificate, `certificate_sha256` is the digest of the client
    certificate of this request; `validate_certificate` has made `check_epoch`, which raises in the
    transaction of the act if the register has changed since.
    """

    method: ConfirmationMethod
    octets: bytes = field(default=b"", repr=False)
    certificate_sha256: str | None = None
    digests: tuple[str, ...] = ()
    verify_answer: Callable[[Connection], bytes] | None = field(default=None, repr=False)
    check_epoch: Callable[[Connection], None] | None = field(default=None, repr=False)


_NOT_OWN: Final = "the client certificate is not the officer's"
#: For acts that decide nothing, and where the settings let a session decide.
SESSION_ONLY: Final = Confirmation(ConfirmationMethod.SESSION)


@dataclass(frozen=True, slots=True)
class Officer:
    """A signed-in officer: account id, sign-in name, roles as text, rights, and the agency."""

    account: int
    name: str
    role: str
    rights: frozenset[Right]
    agency: str

    def to_acting_officer(self) -> ActingOfficer:
        """Return the officer as it is named in records, without rights."""
        return ActingOfficer(self.account, self.name, self.role, self.agency)


@dataclass(frozen=True, slots=True)
class AgencyPolicy:
    """The rules of an agency for its officers: four eyes for decisions, and the method of confirmation."""

    four_eyes: bool
    confirm: frozenset[ConfirmationMethod]


@dataclass(frozen=True, slots=True)
class ActOutcome:
    """The state of an act: PERFORMED, PROPOSED, REFUSED, or INTENDED while the hub cannot perform it.

    `problem` is that of its last call, or None.
    """

    act: int
    state: str
    problem: GatewayError | None = None


def check_confirmation(
    conn: Connection,
    account: int,
    digest: str,
    document: bytes,
    confirmation: Confirmation,
    relying_party: RelyingParty | None,
) -> ConfirmedAct:
    """Return the confirmation of an act for the evidence; raises GW707 for a wrong one.

    `digest` is that of the act, `document` the octets that the officer confirms. `relying_party` is the
    relying party (WebAuthn) for which passkeys of this console are made.
    """
    if confirmation.method is ConfirmationMethod.SESSION:
        return ConfirmedAct({"method": confirmation.method.value})
    if confirmation.method is ConfirmationMethod.CERTIFICATE:
        return _check_certificate(conn, account, confirmation)
    if confirmation.digests and digest not in confirmation.digests:
        raise _make_refusal("the passkey confirmed other acts")
    octets = confirmation.octets if confirmation.verify_answer is None else confirmation.verify_answer(conn)
    credential = _check_passkey(
        conn, account, encode_batch(confirmation.digests) if confirmation.digests else document, octets
    )
    _check_origin(octets, relying_party)
    data = {"method": confirmation.method.value, "credential": credential}
    return ConfirmedAct(
        {**data, "batch": list(confirmation.digests)} if confirmation.digests else data, octets
    )


def _check_passkey(conn: Connection, account: int, document: bytes, octets: bytes) -> str:
    """Return the id of the passkey that confirmed a document; it must be one of the account."""
    try:
        used = verify_confirmation(document, octets)
        public_key = decode_base64url(json.loads(octets)["public_key"])
    except PasskeyError as problem:
        raise _make_refusal("the passkey did not confirm this act") from problem
    row = sessions.find_passkey(conn, used.credential_id)
    if row is None or row.account_id != account or row.public_key != public_key:
        raise _make_refusal("the passkey is not the officer's")
    return used.credential_id


def _check_origin(octets: bytes, relying_party: RelyingParty | None) -> None:
    """Refuse a passkey assertion (JSON octets) that was made for another relying party or origin."""
    assertion = json.loads(octets)
    if relying_party is None or (assertion["rp_id"], assertion["origin"]) != (
        relying_party.id,
        relying_party.origin,
    ):
        raise _make_refusal("the passkey was used at another address")


def validate_certificate(hub: Hub, account: int, confirmation: Confirmation) -> Confirmation:
    """Return the confirmation; one by certificate only if that of the account is valid now.

    Raises GW707 for a certificate that is not valid, GW806 for one that could not be validated. It is called
    before the transaction of the act, because the verdict is stored in one of its own.
    """
    if confirmation.method is not ConfirmationMethod.CERTIFICATE:
        return confirmation
    snapshot = hub.refresh_snapshot()
    refusal = find_account_refusal(hub, account)
    if refusal is not None and refusal.problem is CLIENT_CERTIFICATE:
        raise _make_refusal(_NOT_OWN) from refusal
    if refusal is not None:
        detail = f"the client certificate is not accepted: {refusal.problem.id} {refusal.detail[:300]}"
        raise _make_refusal(detail) from refusal

    def check_epoch(conn: Connection) -> None:
        try:
            hub.register.check_snapshot_current(conn, snapshot)
        except StaleSnapshotError:
            detail = "the register changed while the certificate was validated: confirm again"
            raise GatewayError(NO_ROOM, detail, "confirmation") from None

    return replace(confirmation, check_epoch=check_epoch)


def _check_certificate(conn: Connection, account: int, confirmation: Confirmation) -> ConfirmedAct:
    """Return the confirmation by certificate; refuse one that is not registered for the account."""
    if confirmation.check_epoch is None:
        raise _make_refusal("the client certificate was not validated")
    confirmation.check_epoch(conn)
    row = accounts.find_by_id(conn, account)
    registered = None if row is None else row.certificate_sha256
    if confirmation.certificate_sha256 is None or confirmation.certificate_sha256 != registered:
        raise _make_refusal(_NOT_OWN)
    return ConfirmedAct({"method": confirmation.method.value, "certificate": confirmation.certificate_sha256})


def _make_refusal(detail: str) -> GatewayError:
    return GatewayError(ACT_NOT_PERMITTED, detail, "confirmation")
