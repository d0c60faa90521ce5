"""Challenges for passkeys, and what their answers do: registration, sign-in, confirmation of an act.

A challenge is kept in the database with the session that it was given to, and the first right answer
removes it. A page offers a confirmation with `offer_confirmation` and takes the answer with
`take_confirmation` in the transaction of the act.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Row

from gateway.accounts import (
    Passkey,
    PasskeyError,
    RelyingParty,
    build_assertion_options,
    build_registration_options,
    decode_base64url,
    derive_document_challenge,
    encode_base64url,
    find_relying_party,
    read_answer_challenge,
    read_answer_credential,
    verify_assertion,
    verify_registration,
)
from gateway.store import NewChallenge, NewPasskey, passkeys, read_transaction, write_transaction

if TYPE_CHECKING:
    from gateway.web.console.console_services import ConsoleServices
    from gateway.web.console.visitor_session import Visitor

__all__ = [
    "ConfirmedAct",
    "PasskeyOwner",
    "has_passkey",
    "offer_confirmation",
    "offer_registration",
    "offer_sign_in",
    "take_confirmation",
    "take_registration",
    "take_sign_in",
]

_CHALLENGE: Final = 32
_LIFE: Final = timedelta(minutes=5)
#: A person may read a document for so long before it is confirmed.
_LIFE_OF_CONFIRMATION: Final = timedelta(minutes=30)
#: Challenges for a sign-in that one network may have open.
_MOST_OPEN: Final = 100


@dataclass(frozen=True, slots=True)
class ConfirmedAct:
    """A confirmation by passkey: which one, and the octets to keep as evidence (`verify_confirmation`)."""

    credential_id: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class PasskeyOwner:
    """The account whose passkey has signed in."""

    account: int
    name: str
    status: str


def has_passkey(services: ConsoleServices, visitor: Visitor) -> bool:
    """Return whether a person has a passkey that can be used at this console."""
    if find_relying_party(services.public_url) is None:
        return False
    with read_transaction(services.engine) as conn:
        return bool(passkeys.list_passkeys(conn, visitor.account))


def offer_confirmation(services: ConsoleServices, visitor: Visitor, document: bytes) -> str | None:
    """Return the options for a form whose act is the document; None when the person has no passkey.

    The template puts them into the attribute `data-passkey-options` of the form, and includes
    `passkey_confirmation.html` in it. The document should contain something that no other act contains
    (a number, a time): its digest is the challenge.
    """
    party = find_relying_party(services.public_url)
    if party is None:
        return None
    challenge = derive_document_challenge(document)
    with read_transaction(services.engine) as conn:
        known = _list_credentials(conn, visitor.account)
    if not known:
        return None
    _keep_challenge(services, "confirm", challenge, visitor, _LIFE_OF_CONFIRMATION)
    return build_assertion_options(party, challenge, known)


def take_confirmation(
    conn: Connection, services: ConsoleServices, visitor: Visitor, document: bytes, answer: str
) -> ConfirmedAct:
    """Verify the answer of a person's passkey to a document, in the transaction of the act.

    `answer` is the form field `passkey_answer`. Raises PasskeyError; the transaction must then be rolled
    back. The same answer is never accepted twice.
    """
    party = _get_relying_party(services)
    challenge = derive_document_challenge(document)
    row = _find_own_passkey(conn, answer, visitor.account)
    used = _take_use(conn, services, party, ("confirm", challenge, visitor.session), row, answer)
    return ConfirmedAct(used[0], used[1])


def offer_registration(services: ConsoleServices, visitor: Visitor) -> str | None:
    """Return the options for a new passkey of a person; None where browsers allow no passkeys."""
    party = find_relying_party(services.public_url)
    if party is None:
        return None
    challenge = services.random(_CHALLENGE)
    _keep_challenge(services, "register", challenge, visitor, _LIFE)
    with read_transaction(services.engine) as conn:
        known = _list_credentials(conn, visitor.account)
    person = (visitor.account, visitor.name, visitor.display_name)
    return build_registration_options(party, challenge, person, known)


def take_registration(
    conn: Connection, services: ConsoleServices, visitor: Visitor, name: str, answer: str
) -> int:
    """Store the passkey of an answer under a name; return its id. Raises PasskeyError."""
    party = _get_relying_party(services)
    challenge = _take_own_challenge(conn, services, "register", visitor.session, answer)
    made = verify_registration(party, challenge, answer)
    if passkeys.find_passkey(conn, made.credential_id) is not None:
        raise PasskeyError("the passkey is registered already")
    new = NewPasskey(
        visitor.account, made.credential_id, made.public_key, made.sign_count, name, made.backed_up
    )
    return passkeys.insert_passkey(conn, new, services.clock())


def offer_sign_in(services: ConsoleServices, network: str) -> str | None:
    """Return the options for a sign-in by any passkey; None without passkeys, or when too many wait."""
    party = find_relying_party(services.public_url)
    if party is None:
        return None
    challenge = services.random(_CHALLENGE)
    now = services.clock()
    with write_transaction(services.engine, "console.challenge") as conn:
        if passkeys.count_challenges(conn, network, now) >= _MOST_OPEN:
            return None
        new = NewChallenge("sign-in", encode_base64url(challenge), network, now + _LIFE)
        passkeys.insert_challenge(conn, new)
    return build_assertion_options(party, challenge)


def take_sign_in(conn: Connection, services: ConsoleServices, answer: str) -> PasskeyOwner:
    """Return whose passkey answers a challenge for a sign-in; raises PasskeyError."""
    party = _get_relying_party(services)
    row = _find_passkey(conn, answer)
    challenge = _read_challenge(answer)
    _take_use(conn, services, party, ("sign-in", challenge, None), row, answer)
    return PasskeyOwner(row.account_id, row.account, row.status)


def _keep_challenge(
    services: ConsoleServices, purpose: str, challenge: bytes, visitor: Visitor, life: timedelta
) -> None:
    expires_at = services.clock() + life
    new = NewChallenge(purpose, encode_base64url(challenge), "", expires_at, visitor.session)
    with write_transaction(services.engine, "console.challenge") as conn:
        passkeys.insert_challenge(conn, new)


def _take_use(
    conn: Connection,
    services: ConsoleServices,
    party: RelyingParty,
    asked: tuple[str, bytes, int | None],
    row: Row[Any],
    answer: str,
) -> tuple[str, bytes]:
    """Verify an answer to what was asked (purpose, challenge, session); return the id and the evidence."""
    purpose, challenge, session = asked
    now = services.clock()
    if not passkeys.take_challenge(conn, purpose, encode_base64url(challenge), session, now):
        raise PasskeyError("the challenge was answered already, is too old, or is not of this session")
    passkey = Passkey(row.credential_id, row.public_key, row.sign_count)
    used = verify_assertion(party, challenge, answer, passkey, row.account_id)
    if not passkeys.record_passkey_use(conn, row.id, used.sign_count, now):
        raise PasskeyError("the counter of the passkey did not rise")
    return used.credential_id, used.evidence


def _take_own_challenge(
    conn: Connection, services: ConsoleServices, purpose: str, session: int, answer: str
) -> bytes:
    challenge = _read_challenge(answer)
    said = encode_base64url(challenge)
    if not passkeys.take_challenge(conn, purpose, said, session, services.clock()):
        raise PasskeyError("the challenge was answered already, is too old, or is not of this session")
    return challenge


def _read_challenge(answer: str) -> bytes:
    try:
        return decode_base64url(read_answer_challenge(answer))
    except ValueError as problem:
        raise PasskeyError("the challenge is not base64url") from problem


def _find_passkey(conn: Connection, answer: str) -> Row[Any]:
    row = passkeys.find_passkey(conn, read_answer_credential(answer))
    if row is None:
        raise PasskeyError("the passkey is not registered")
    return row


def _find_own_passkey(conn: Connection, answer: str, account: int) -> Row[Any]:
    row = _find_passkey(conn, answer)
    if row.account_id != account or row.status != "ACTIVE":
        raise PasskeyError("the passkey belongs to another account")
    return row


def _list_credentials(conn: Connection, account: int) -> tuple[str, ...]:
    return tuple(row.credential_id for row in passkeys.list_passkeys(conn, account))


def _get_relying_party(services: ConsoleServices) -> RelyingParty:
    party = find_relying_party(services.public_url)
    if party is None:
        raise PasskeyError("the console has no URL at which passkeys work")
    return party
