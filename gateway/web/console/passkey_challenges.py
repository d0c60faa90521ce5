"""Challenges for passkeys, and the effects of their answers: registration, sign-in, confirmation of an act.

A challenge is kept in the database with the session that it was given to, and the first right answer
removes it. A page offers a confirmation with `begin_passkey_confirmation` and takes the answer with
`finish_passkey_confirmation` in the transaction of the act.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from gateway.accounts import (
    Passkey,
    PasskeyError,
    PasskeyUser,
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
from gateway.store import (
    NewChallenge,
    NewPasskey,
    PasskeyOfAccountRow,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.web.console.page_guards import services

if TYPE_CHECKING:
    from gateway.web.console.page_guards import Visitor


_CHALLENGE: Final = 32
_LIFE: Final = timedelta(minutes=5)
#: The longest time between showing a document to a person and its confirmation.
_LIFE_OF_CONFIRMATION: Final = timedelta(minutes=30)
#: Challenges for a sign-in that one network may have open.
_MOST_OPEN: Final = 100


@dataclass(frozen=True, slots=True)
class ConfirmedAct:
    """A confirmation by passkey: which one, and the octets to keep as evidence.

    `gateway.accounts.verify_confirmation` verifies these octets later.
    """

    credential_id: str
    evidence: bytes


def begin_passkey_confirmation(visitor: Visitor, document: bytes) -> str | None:
    """Store a challenge for a document; return the options of its form, None if the person has no passkey.

    The template puts them into the attribute `data-passkey-options` of the form, and includes
    `passkey_confirmation.html` in it. The document should contain something that no other act contains
    (a number, a time): its digest is the challenge.
    """
    party = find_relying_party(services.public_url)
    if party is None:
        return None
    challenge = derive_document_challenge(document)
    with read_transaction(services.engine) as conn:
        credentials = _list_credentials(conn, visitor.account)
    if not credentials:
        return None
    _store_challenge("confirm", challenge, visitor, _LIFE_OF_CONFIRMATION)
    return build_assertion_options(party, challenge, credentials)


def finish_passkey_confirmation(
    conn: Connection, visitor: Visitor, document: bytes, answer: str
) -> ConfirmedAct:
    """Verify the answer of a person's passkey to a document, in the transaction of the act.

    `answer` is the JSON text of the form field ``passkey_answer``. Raises PasskeyError; the transaction must
    then be rolled back. The same answer is never accepted twice.
    """
    row = _find_passkey(conn, answer)
    if row.account_id != visitor.account or row.status != "ACTIVE":
        raise PasskeyError("the passkey belongs to another account")
    challenge = derive_document_challenge(document)
    _consume_challenge(conn, "confirm", challenge, visitor.session)
    return _verify_passkey_use(conn, challenge, row, answer)


def begin_passkey_registration(visitor: Visitor) -> str | None:
    """Store a challenge; return the options for a new passkey, None where browsers allow no passkeys."""
    party = find_relying_party(services.public_url)
    if party is None:
        return None
    challenge = services.random(_CHALLENGE)
    _store_challenge("register", challenge, visitor, _LIFE)
    with read_transaction(services.engine) as conn:
        credentials = _list_credentials(conn, visitor.account)
    user = PasskeyUser(visitor.account, visitor.name, visitor.display_name)
    return build_registration_options(party, challenge, user, credentials)


def finish_passkey_registration(conn: Connection, visitor: Visitor, name: str, answer: str) -> int:
    """Store the passkey of an answer under a name; return its id. Raises PasskeyError."""
    party = _get_relying_party()
    challenge = _read_challenge(answer)
    _consume_challenge(conn, "register", challenge, visitor.session)
    registration = verify_registration(party, challenge, answer)
    if sessions.find_passkey(conn, registration.credential_id) is not None:
        raise PasskeyError("the passkey is registered already")
    new = NewPasskey(
        visitor.account,
        registration.credential_id,
        registration.public_key,
        registration.sign_count,
        name,
        registration.backed_up,
    )
    return sessions.insert_passkey(conn, new, services.clock())


def begin_passkey_sign_in(network: str) -> str | None:
    """Store a challenge; return the options for a sign-in by any passkey.

    None where browsers allow no passkeys, or when too many challenges of this network are open.
    """
    party = find_relying_party(services.public_url)
    if party is None:
        return None
    challenge = services.random(_CHALLENGE)
    now = services.clock()
    with write_transaction(services.engine, "console.challenge") as conn:
        if sessions.count_challenges(conn, network, now) >= _MOST_OPEN:
            return None
        new = NewChallenge("sign-in", encode_base64url(challenge), network, now + _LIFE)
        sessions.insert_challenge(conn, new)
    return build_assertion_options(party, challenge)


def finish_passkey_sign_in(conn: Connection, answer: str) -> PasskeyOfAccountRow:
    """Return the passkey that answers a challenge for a sign-in, with its account; raises PasskeyError."""
    row, challenge = _find_passkey(conn, answer), _read_challenge(answer)
    _consume_challenge(conn, "sign-in", challenge, None)
    _verify_passkey_use(conn, challenge, row, answer)
    return row


def _store_challenge(purpose: str, challenge: bytes, visitor: Visitor, lifetime: timedelta) -> None:
    expires_at = services.clock() + lifetime
    new = NewChallenge(purpose, encode_base64url(challenge), "", expires_at, visitor.session)
    with write_transaction(services.engine, "console.challenge") as conn:
        sessions.insert_challenge(conn, new)


def _verify_passkey_use(
    conn: Connection, challenge: bytes, row: PasskeyOfAccountRow, answer: str
) -> ConfirmedAct:
    """Verify the answer of the passkey in `row` to a challenge; return the passkey and the evidence."""
    passkey = Passkey(row.credential_id, row.public_key, row.sign_count)
    verified_use = verify_assertion(_get_relying_party(), challenge, answer, passkey, row.account_id)
    if not sessions.record_passkey_use(conn, row.id, verified_use.sign_count, services.clock()):
        raise PasskeyError("the counter of the passkey did not rise")
    return ConfirmedAct(verified_use.credential_id, verified_use.evidence)


def _consume_challenge(conn: Connection, purpose: str, challenge: bytes, session: int | None) -> None:
    """Remove an issued challenge, so that it is used once; `session` is None before a sign-in."""
    if not sessions.take_challenge(conn, purpose, encode_base64url(challenge), session, services.clock()):
        raise PasskeyError("the challenge was answered already, is too old, or is not of this session")


def _read_challenge(answer: str) -> bytes:
    try:
        return decode_base64url(read_answer_challenge(answer))
    except ValueError as problem:
        raise PasskeyError("the challenge is not base64url") from problem


def _find_passkey(conn: Connection, answer: str) -> PasskeyOfAccountRow:
    row = sessions.find_passkey(conn, read_answer_credential(answer))
    if row is None:
        raise PasskeyError("the passkey is not registered")
    return row


def _list_credentials(conn: Connection, account: int) -> tuple[str, ...]:
    return tuple(row.credential_id for row in sessions.list_passkeys(conn, account))


def _get_relying_party() -> RelyingParty:
    party = find_relying_party(services.public_url)
    if party is None:
        raise PasskeyError("the console has no URL at which passkeys work")
    return party
