"""Stores the sessions of people, by the digests of their tokens, and their beginnings: passkeys and OpenID.

The rows that sign-ins leave behind are removed a few hundred at a time, found by indexes of their age, so
that no lock lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.store.accounts import SessionRow, accounts, remove_expired_invitations, sessions, sign_ins
from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import insert_row
from gateway.store.table_types import (
    CODE_TEXT,
    IndexedText,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session: its account, the organisation in which it acts, the method and network of the sign-in.

    `authenticated_at` is when the person is known to have proved who they are; None if that is not known.
    """

    token_sha256: str
    account_id: int
    kind: str
    organisation: str
    method: str
    network: str
    authenticated_at: datetime | None


def insert_session(
    conn: Connection, session: NewSession, at: datetime, signed_in_at: datetime | None = None
) -> int:
    """Store a session; return its id. It began when its person signed in: now, or at an earlier time."""
    values = asdict(session) | {"created_at": signed_in_at or at, "seen_at": at}
    return insert_row(conn, sessions, values)


class SessionOfAccountRow(SessionRow, Protocol):
    """A session, with its account."""

    name: str
    display_name: str
    status: str
    language: str


def find_session(conn: Connection, token_sha256: str) -> SessionOfAccountRow | None:
    """Return a session with the name, the status and the language of its account."""
    query = (
        select(sessions, accounts.c.name, accounts.c.display_name, accounts.c.status, accounts.c.language)
        .join(accounts, accounts.c.id == sessions.c.account_id)
        .where(sessions.c.token_sha256 == token_sha256)
    )
    return conn.execute(query).first()


def lock_open_session(conn: Connection, account: int, session: int) -> bool:
    """Lock an account until the commit; return whether this session of it has not ended.

    A request that has begun may come to its change after others have put the person out.
    """
    conn.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
    ended_at = conn.execute(select(sessions.c.ended_at).where(sessions.c.id == session)).one()[0]
    return ended_at is None


def record_session_use(conn: Connection, session: int, at: datetime) -> None:
    """Store when a session was last used."""
    conn.execute(update(sessions).where(sessions.c.id == session).values(seen_at=at))


def end_session(conn: Connection, session: int, at: datetime) -> None:
    """End a session; one that has ended keeps its first end."""
    conn.execute(
        update(sessions).where(sessions.c.id == session, sessions.c.ended_at.is_(None)).values(ended_at=at)
    )


def set_form_token(conn: Connection, token_sha256: str, form_token: str) -> None:
    """Give the forms of a session the token of those of the session before."""
    of_token = sessions.c.token_sha256 == token_sha256
    conn.execute(update(sessions).where(of_token).values(form_token=form_token))


def end_oldest_sessions(conn: Connection, account: int, keep: int, at: datetime) -> None:
    """End the sessions of an account that were used longest ago, but for the last `keep` of them."""
    open_sessions = (sessions.c.account_id == account, sessions.c.ended_at.is_(None))
    used_last = select(sessions.c.id).where(*open_sessions)
    kept_sessions = used_last.order_by(sessions.c.seen_at.desc(), sessions.c.id.desc()).limit(keep).subquery()
    conn.execute(
        update(sessions)
        .where(*open_sessions, sessions.c.id.not_in(select(kept_sessions)))
        .values(ended_at=at)
    )


def end_open_account_sessions(
    conn: Connection,
    account: int,
    at: datetime,
    *,
    method: str | None = None,
    kept_session_id: int | None = None,
) -> int:
    """End the sessions of an account, except `kept_session_id`; return how many ended.

    With `method`, end only the sessions that began with this sign-in method.
    """
    conditions = [sessions.c.account_id == account, sessions.c.ended_at.is_(None)]
    if method is not None:
        conditions.append(sessions.c.method == method)
    if kept_session_id is not None:
        conditions.append(sessions.c.id != kept_session_id)
    return conn.execute(update(sessions).where(*conditions).values(ended_at=at)).rowcount


def end_sessions_in(conn: Connection, kind: str, organisation: str, at: datetime) -> int:
    """End the sessions of all persons in an organisation; return how many ended."""
    there = (sessions.c.kind == kind, sessions.c.organisation == organisation)
    open_session_update = update(sessions).where(*there, sessions.c.ended_at.is_(None))
    return conn.execute(open_session_update.values(ended_at=at)).rowcount


def set_flash_message(conn: Connection, session: int, flash_message: str | None) -> None:
    """Store the sentence that the next page of a session shows."""
    conn.execute(update(sessions).where(sessions.c.id == session).values(notice=flash_message))


def set_account_flash_message(conn: Connection, account: int, flash_message: str) -> None:
    """Store the sentence that the next page of each open session of an account shows."""
    theirs = (sessions.c.account_id == account, sessions.c.ended_at.is_(None))
    conn.execute(update(sessions).where(*theirs).values(notice=flash_message))


def take_flash_message(conn: Connection, session: int) -> str | None:
    """Return the sentence for the next page, and remove it."""
    flash_message = conn.execute(select(sessions.c.notice).where(sessions.c.id == session)).scalar()
    if flash_message is not None:
        set_flash_message(conn, session, None)
    return None if flash_message is None else str(flash_message)


def list_sessions(conn: Connection, account: int) -> Sequence[SessionRow]:
    """Return the sessions of an account, newest first."""
    query = select(sessions).where(sessions.c.account_id == account)
    return conn.execute(query.order_by(sessions.c.created_at.desc(), sessions.c.id.desc())).all()


# Passkeys (WebAuthn): the public keys by which people sign in and confirm their acts.
passkeys = Table(
    "passkeys",
    metadata,
    make_identity_column(),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("credential_id", IndexedText(1400)),
    make_required_column("public_key", LargeBinary),
    make_required_column("sign_count", BigInteger),
    make_required_column("name"),
    make_required_column("backed_up", Boolean),
    make_required_column("created_at", Instant),
    Column("used_at", Instant),
    UniqueConstraint("credential_id"),
    Index("ix_passkeys_account_id", "account_id"),
)


class PasskeyRow(Protocol):
    """A row of the table `passkeys`."""

    id: int
    account_id: int
    credential_id: str
    public_key: bytes
    sign_count: int
    name: str
    backed_up: bool
    created_at: datetime
    used_at: datetime | None


# Challenges that wait for the answer of a passkey; each is removed by its first right answer.
passkey_challenges = Table(
    "passkey_challenges",
    metadata,
    make_identity_column(),
    make_required_column("purpose"),
    make_required_column("challenge", CODE_TEXT),
    Column("session_id", BigInteger, ForeignKey("sessions.id")),
    make_required_column("network", CODE_TEXT),
    make_required_column("expires_at", Instant),
    CheckConstraint("purpose IN ('sign-in', 'register', 'confirm')", name="purpose"),
    Index("ix_passkey_challenges_challenge", "challenge"),
    Index("ix_passkey_challenges_network", "network", "expires_at"),
    Index("ix_passkey_challenges_expires_at", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey of an account: its id (base64url), its public key (COSE), and the name its owner gave it."""

    account_id: int
    credential_id: str
    public_key: bytes
    sign_count: int
    name: str
    backed_up: bool


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """A challenge (base64url): its purpose, its session (None before the sign-in), and its end."""

    purpose: str
    challenge: str
    network: str
    expires_at: datetime
    session_id: int | None = None


def insert_passkey(conn: Connection, passkey: NewPasskey, at: datetime) -> int:
    """Store a passkey; return its id. Raises IntegrityError for a credential that is stored already."""
    return insert_row(conn, passkeys, asdict(passkey) | {"created_at": at})


class PasskeyOfAccountRow(PasskeyRow, Protocol):
    """A passkey, with name and status of its account."""

    account: str
    status: str


def find_passkey(conn: Connection, credential_id: str) -> PasskeyOfAccountRow | None:
    """Return a passkey with the name and the status of its account, which is locked until the commit."""
    query = (
        select(passkeys, accounts.c.name.label("account"), accounts.c.status)
        .join(accounts, accounts.c.id == passkeys.c.account_id)
        .where(passkeys.c.credential_id == credential_id)
    )
    return conn.execute(query.with_for_update()).first()


def list_passkeys(conn: Connection, account: int) -> Sequence[PasskeyRow]:
    """Return the passkeys of an account, oldest first."""
    query = select(passkeys).where(passkeys.c.account_id == account)
    return conn.execute(query.order_by(passkeys.c.id)).all()


def record_passkey_use(conn: Connection, passkey: int, sign_count: int, at: datetime) -> bool:
    """Store the counter of a use; return False, and store nothing, when it is not above the stored one.

    An authenticator without a counter always sends 0 (WebAuthn §6.1.1).
    """
    rises = or_(passkeys.c.sign_count < sign_count, passkeys.c.sign_count + sign_count == 0)
    changed = conn.execute(
        update(passkeys).where(passkeys.c.id == passkey, rises).values(sign_count=sign_count, used_at=at)
    )
    return changed.rowcount == 1


def remove_passkey(conn: Connection, account: int, passkey: int) -> str | None:
    """Remove a passkey of an account; return its name, None when the account has no such passkey."""
    conditions = (passkeys.c.id == passkey, passkeys.c.account_id == account)
    name = conn.execute(select(passkeys.c.name).where(*conditions)).scalar()
    conn.execute(delete(passkeys).where(*conditions))
    return None if name is None else str(name)


def remove_passkeys(conn: Connection, account: int) -> int:
    """Remove every passkey of an account; return how many there were."""
    return conn.execute(delete(passkeys).where(passkeys.c.account_id == account)).rowcount


def insert_challenge(conn: Connection, challenge: NewChallenge) -> None:
    """Store a challenge."""
    conn.execute(insert(passkey_challenges).values(asdict(challenge)))


def count_challenges(conn: Connection, network: str, now: datetime) -> int:
    """Return how many challenges wait for answers from a network; other counts wait until the commit."""
    acquire_named_locks(conn, f"passkey challenges of {network}")
    query = select(func.count()).select_from(passkey_challenges)
    waiting = query.where(passkey_challenges.c.network == network, passkey_challenges.c.expires_at > now)
    return int(conn.execute(waiting).scalar_one())


def take_challenge(
    conn: Connection, purpose: str, challenge: str, session: int | None, now: datetime
) -> bool:
    """Remove a challenge of a session; return whether it waited there, so that it is used once.

    A document that was shown twice has the same challenge twice: one answer removes both, because a passkey
    without a counter could answer twice.
    """
    session_column = passkey_challenges.c.session_id
    removed = delete(passkey_challenges).where(
        passkey_challenges.c.purpose == purpose,
        passkey_challenges.c.challenge == challenge,
        session_column.is_(None) if session is None else session_column == session,
        passkey_challenges.c.expires_at > now,
    )
    return conn.execute(removed).rowcount > 0


def remove_expired_challenges(conn: Connection, now: datetime) -> int:
    """Remove the challenges that were not answered in time; return their number."""
    over = passkey_challenges.c.expires_at <= now
    return conn.execute(delete(passkey_challenges).where(over)).rowcount


# Sign-ins that wait for the answer of the OpenID provider, by the digest of their state.
oidc_sign_ins = Table(
    "oidc_sign_ins",
    metadata,
    Column("state_sha256", CODE_TEXT, primary_key=True),
    make_required_column("browser_sha256"),
    make_required_column("nonce"),
    make_required_column("verifier"),
    make_required_column("return_path"),
    make_required_column("network", CODE_TEXT),
    make_required_column("expires_at", Instant),
    Column("kept_form", Text),  # the session before and a form, sealed with a secret of the browser
    Column("reauthenticates", Boolean, nullable=False, server_default=false()),
    Index("ix_oidc_sign_ins_network", "network", "expires_at"),
    Index("ix_oidc_sign_ins_expires_at", "expires_at"),
)


class OidcSignInRow(Protocol):
    """A row of the table `oidc_sign_ins`."""

    state_sha256: str
    browser_sha256: str
    nonce: str
    verifier: str
    return_path: str
    network: str
    expires_at: datetime
    kept_form: str | None
    reauthenticates: bool


@dataclass(frozen=True, slots=True)
class NewOidcSignIn:
    """A request to the provider: digests of state and browser, nonce, code verifier, the path to return to.

    `kept_form` is the session before and a form that waits, sealed with a secret of the browser.
    With `reauthenticates` the provider must authenticate a person anew who is signed in already.
    """

    state_sha256: str
    browser_sha256: str
    nonce: str
    verifier: str
    return_path: str
    network: str
    expires_at: datetime
    kept_form: str | None = None
    reauthenticates: bool = False


def insert_oidc_sign_in(conn: Connection, sign_in: NewOidcSignIn) -> None:
    """Store a request to the provider."""
    conn.execute(insert(oidc_sign_ins).values(asdict(sign_in)))


def count_waiting_oidc_sign_ins(conn: Connection, network: str, now: datetime) -> int:
    """Return how many OpenID sign-ins of a network wait; other counts wait until the commit."""
    acquire_named_locks(conn, f"openid sign-ins of {network}")
    query = select(func.count()).select_from(oidc_sign_ins)
    waiting = query.where(oidc_sign_ins.c.network == network, oidc_sign_ins.c.expires_at > now)
    return int(conn.execute(waiting).scalar_one())


def take_oidc_sign_in(
    conn: Connection, state_sha256: str, browser_sha256: str, now: datetime
) -> OidcSignInRow | None:
    """Remove and return the request with a state; None for another browser, or after its expiry."""
    row = conn.execute(select(oidc_sign_ins).where(oidc_sign_ins.c.state_sha256 == state_sha256)).first()
    removed = conn.execute(delete(oidc_sign_ins).where(oidc_sign_ins.c.state_sha256 == state_sha256))
    if row is None or removed.rowcount != 1:
        return None
    return row if row.browser_sha256 == browser_sha256 and row.expires_at > now else None


def remove_expired_oidc_sign_ins(conn: Connection, now: datetime) -> int:
    """Remove the sign-ins that were not answered in time; return how many there were."""
    return conn.execute(delete(oidc_sign_ins).where(oidc_sign_ins.c.expires_at <= now)).rowcount


#: The most rows that one removal removes; after a full batch there may be more.
REMOVED_AT_ONCE: Final = 500


def remove_old_attempts(conn: Connection, before: datetime, *, is_successful: bool) -> int:
    """Remove sign-in attempts before a time, at most 500, all `good` or all failed; return how many."""
    old = select(sign_ins.c.id).where(sign_ins.c.good.is_(is_successful), sign_ins.c.at < before)
    chosen = old.order_by(sign_ins.c.at).limit(REMOVED_AT_ONCE)
    return conn.execute(delete(sign_ins).where(sign_ins.c.id.in_(chosen))).rowcount


def remove_old_sessions(conn: Connection, before: datetime) -> int:
    """Remove sessions that began before a time and are over, at most 500; return how many.

    The newest session of each account stays: it shows when the person last signed in.
    """
    later = sessions.alias("later")
    newer = exists().where(
        later.c.account_id == sessions.c.account_id, later.c.created_at > sessions.c.created_at
    )
    over = or_(sessions.c.ended_at.is_not(None), sessions.c.seen_at < before)
    old = select(sessions.c.id).where(sessions.c.created_at < before, over, newer)
    chosen = old.order_by(sessions.c.created_at).limit(REMOVED_AT_ONCE)
    return conn.execute(delete(sessions).where(sessions.c.id.in_(chosen))).rowcount


def remove_unanswered(conn: Connection, now: datetime) -> int:
    """Remove expired challenges, links and waiting sign-ins; return how many."""
    removed = remove_expired_challenges(conn, now) + remove_expired_oidc_sign_ins(conn, now)
    return removed + remove_expired_invitations(conn, now)
