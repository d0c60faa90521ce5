"""Stores lists of others: fetched revocation data with the state of each source, loaded CRLs, trusted lists.

Of fetched data only the edition in force is stored; a loaded CRL is in force until a later one repeats it,
and the last trusted list of a territory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from gateway.store import payloads
from gateway.store.prepared_statements import InsertIfAbsent, insert_row
from gateway.store.register_version import increment_register_version
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NAME_TEXT,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import note_changed_row

# The sources of fetched data, with the results of their fetches; the settings define sources and times.
fetch_sources = Table(
    "fetch_sources",
    metadata,
    Column("name", NAME_TEXT, primary_key=True),
    make_required_column("kind"),
    make_required_column("url"),
    Column("fetched_at", Instant),  # the last fetch that was accepted
    Column("etag", Text),
    Column("failed_at", Instant),
    make_required_column("failures", Integer),  # since the last accepted fetch
    Column("given_up", BigInteger),  # its last delivery that FAILED; a later one cancels it
    Column("problem", Text),
    Column("detail", Text),
)


class FetchSourceRow(Protocol):
    """A row of the table `fetch_sources`."""

    name: str
    kind: str
    url: str
    fetched_at: datetime | None
    etag: str | None
    failed_at: datetime | None
    failures: int
    given_up: int | None
    problem: str | None
    detail: str | None


# The fetched data in force; for a responder one row for each certificate that was queried.
fetched_lists = Table(
    "fetched_lists",
    metadata,
    Column("source", NAME_TEXT, ForeignKey("fetch_sources.name"), primary_key=True),
    Column("subject", ID_TEXT, primary_key=True),  # empty, or the SHA-256 of the certificate
    make_required_column("kind"),
    make_required_column("sha256", Text, ForeignKey("payloads.sha256")),
    make_required_column("issuer"),
    Column("number", Text),
    make_required_column("this_update", Instant),
    make_required_column("next_update", Instant),
    make_required_column("taken_at", Instant),  # when these octets came into force
    make_required_column("fetched_at", Instant),
)


class FetchedListRow(Protocol):
    """A row of the table `fetched_lists`."""

    source: str
    subject: str
    kind: str
    sha256: str
    issuer: str
    number: str | None
    this_update: datetime
    next_update: datetime
    taken_at: datetime
    fetched_at: datetime


_NEW_SOURCE = InsertIfAbsent(fetch_sources, ("name",))


@dataclass(frozen=True, slots=True)
class NewFetchedList:
    """A fetched list or response to activate; `subject`: the certificate that it was requested for.

    `kind` is that of its source, `number` its number in decimal digits, `subject` a SHA-256 or
    empty.
    """

    subject: str
    kind: str
    octets: bytes
    issuer: str
    number: str | None
    this_update: datetime
    next_update: datetime


def ensure_source(conn: Connection, name: str, kind: str, url: str) -> FetchSourceRow:
    """Return the locked row of a source, inserted or updated where the settings differ from it."""
    _NEW_SOURCE.insert_many(conn, [{"name": name, "kind": kind, "url": url, "failures": 0}])
    row = conn.execute(select(fetch_sources).where(fetch_sources.c.name == name).with_for_update()).one()
    if (row.kind, row.url) == (kind, url):
        return row
    _update_source(conn, name, kind=kind, url=url, etag=None)
    return conn.execute(select(fetch_sources).where(fetch_sources.c.name == name)).one()


def activate_lists(
    conn: Connection, source_name: str, new_lists: Iterable[NewFetchedList], at: datetime
) -> int:
    """Activate fetched lists in place of those for the same subjects; return how many have new octets.

    The epoch rises when there is any. The octets of replaced lists stay in the database.
    """
    changed = sum([_activate_list(conn, source_name, word, at) for word in new_lists])
    if changed:
        increment_register_version(conn)
    return changed


def _activate_list(conn: Connection, source_name: str, new_list: NewFetchedList, at: datetime) -> bool:
    """Put a list in force for its source and subject.

    Return False if the same octets were in force already: then only the time of the fetch is stored.
    """
    same_subject = (fetched_lists.c.source == source_name, fetched_lists.c.subject == new_list.subject)
    stored_sha256 = conn.execute(select(fetched_lists.c.sha256).where(*same_subject)).scalar_one_or_none()
    sha256 = payloads.store_payload(conn, new_list.octets, at)
    if stored_sha256 == sha256:
        conn.execute(update(fetched_lists).where(*same_subject).values(fetched_at=at))
        return False
    values = {key: value for key, value in asdict(new_list).items() if key != "octets"}
    values |= {"sha256": sha256, "taken_at": at, "fetched_at": at}
    if stored_sha256 is None:
        conn.execute(insert(fetched_lists).values(source=source_name, **values))
    else:
        conn.execute(update(fetched_lists).where(*same_subject).values(**values))
    note_changed_row(conn, "fetched_lists", f"{source_name} {new_list.subject}")
    return True


def record_success(conn: Connection, name: str, at: datetime, etag: str | None = None) -> None:
    """Record that everything of a source was fetched and accepted."""
    _update_source(conn, name, fetched_at=at, etag=etag, failures=0, problem=None, detail=None)


def record_failure(conn: Connection, name: str, at: datetime, problem: str, detail: str) -> int:
    """Record that a fetch failed; return the number of consecutive failures."""
    changed = (
        update(fetch_sources)
        .where(fetch_sources.c.name == name)
        .values(failed_at=at, failures=fetch_sources.c.failures + 1, problem=problem, detail=detail)
    )
    return int(conn.execute(changed.returning(fetch_sources.c.failures)).scalar_one())


def replace_given_up_delivery(conn: Connection, name: str, delivery: int | None) -> int | None:
    """Set the given-up delivery of a source, or None; return the previous one."""
    previous_delivery_id = conn.execute(
        select(fetch_sources.c.given_up).where(fetch_sources.c.name == name)
    ).scalar()
    if previous_delivery_id != delivery:
        _update_source(conn, name, given_up=delivery)
    return previous_delivery_id


def delete_source(conn: Connection, name: str) -> int:
    """Delete everything fetched from a source; return how many lists that were."""
    for subject in list_by_source(conn, name):
        note_changed_row(conn, "fetched_lists", f"{name} {subject}")
    deleted_count = conn.execute(delete(fetched_lists).where(fetched_lists.c.source == name)).rowcount
    conn.execute(delete(fetch_sources).where(fetch_sources.c.name == name))
    if deleted_count:
        increment_register_version(conn)
    return int(deleted_count)


def delete_lists(conn: Connection, name: str, subjects: Iterable[str]) -> None:
    """Delete the responses for certificates that are no longer queried."""
    for subject in subjects:
        conn.execute(
            delete(fetched_lists).where(fetched_lists.c.source == name, fetched_lists.c.subject == subject)
        )


def find_source(conn: Connection, name: str) -> FetchSourceRow | None:
    """Return the row of a source."""
    return conn.execute(select(fetch_sources).where(fetch_sources.c.name == name)).first()


def list_sources(conn: Connection) -> Sequence[FetchSourceRow]:
    """Return every source that was ever fetched from, by name."""
    return conn.execute(select(fetch_sources).order_by(fetch_sources.c.name)).all()


def list_in_force(conn: Connection) -> Sequence[FetchedListRow]:
    """Return everything in force, by source and subject; the octets are among the payloads."""
    return conn.execute(select(fetched_lists).order_by(fetched_lists.c.source, fetched_lists.c.subject)).all()


def list_by_source(conn: Connection, name: str) -> dict[str, FetchedListRow]:
    """Return the data in force of one source, by subject."""
    query = select(fetched_lists).where(fetched_lists.c.source == name)
    return {row.subject: row for row in conn.execute(query)}


class FetchedListSummaryRow(Protocol):
    """The lists of a source in force: how many, and the period in which all of them are valid.

    `number` is that of a single list; several have none together.
    """

    source: str
    words: int
    this_update: datetime
    next_update: datetime
    taken_at: datetime
    number: str | None


def summarize_sources(conn: Connection) -> Sequence[FetchedListSummaryRow]:
    """Return for each source how many lists are in force, and the period in which all of them are valid.

    The number of a list is text: several lists have no greatest one.
    """
    query = select(
        fetched_lists.c.source,
        func.count().label("words"),
        func.min(fetched_lists.c.this_update).label("this_update"),
        func.min(fetched_lists.c.next_update).label("next_update"),
        func.max(fetched_lists.c.taken_at).label("taken_at"),
        case((func.count() == 1, func.max(fetched_lists.c.number))).label("number"),
    )
    return conn.execute(query.group_by(fetched_lists.c.source)).all()


def _update_source(conn: Connection, name: str, **values: Any) -> None:
    conn.execute(update(fetch_sources).where(fetch_sources.c.name == name).values(**values))


# The lists that operators loaded; `crl_number` is the SHA-256 of a list, `issuer_key_sha256` that of the name
# of its issuer in normal form. A list is in force until a later one repeats it.
revocations = Table(
    "revocations",
    metadata,
    Column("issuer_key_sha256", CODE_TEXT, primary_key=True),
    Column("crl_number", CODE_TEXT, primary_key=True),
    make_required_column("this_update", Instant),
    Column("next_update", Instant),
    make_required_column("der", LargeBinary),
    make_required_column("fetched_at", Instant),
    Column("replaced_at", Instant),
)


class RevocationRow(Protocol):
    """A row of the table `revocations`."""

    issuer_key_sha256: str
    crl_number: str
    this_update: datetime
    next_update: datetime | None
    der: bytes
    fetched_at: datetime
    replaced_at: datetime | None


_INSERT_CRL = InsertIfAbsent(revocations, ("issuer_key_sha256", "crl_number"), "crl_number")


@dataclass(frozen=True, slots=True)
class NewRevocationList:
    """A CRL as loaded; `replaced_at` is the time of loading where a later one is in force already."""

    issuer_key_sha256: str
    crl_number: str
    this_update: datetime
    next_update: datetime | None
    der: bytes
    replaced_at: datetime | None = None


def insert_crl(conn: Connection, crl: NewRevocationList, at: datetime) -> bool:
    """Store the list; return False when it is stored already."""
    is_new = _INSERT_CRL.insert_one(conn, asdict(crl) | {"fetched_at": at}) is not None
    if is_new:
        note_changed_row(conn, "revocations", crl.crl_number)
        increment_register_version(conn)
    return is_new


def replace_crls(
    conn: Connection, issuer_key_sha256: str, digests: Iterable[str], at: datetime | None
) -> None:
    """Put lists of an issuer out of force, by their SHA-256; back into force where `at` is None."""
    is_changed = revocations.c.replaced_at.is_(None) if at else revocations.c.replaced_at.is_not(None)
    changed = update(revocations).where(
        revocations.c.issuer_key_sha256 == issuer_key_sha256,
        revocations.c.crl_number.in_(list(digests)),
        is_changed,
    )
    query = changed.values(replaced_at=at).returning(revocations.c.crl_number)
    changed_digests = conn.execute(query).scalars().all()
    for digest in changed_digests:
        note_changed_row(conn, "revocations", digest)
    if changed_digests:
        increment_register_version(conn)


def list_crls_in_force(conn: Connection, issuer_key_sha256: str | None = None) -> Sequence[RevocationRow]:
    """Return the lists in force, of one issuer or all, the oldest first."""
    query = select(revocations).where(revocations.c.replaced_at.is_(None))
    if issuer_key_sha256 is not None:
        query = query.where(revocations.c.issuer_key_sha256 == issuer_key_sha256)
    order = (revocations.c.this_update, revocations.c.fetched_at, revocations.c.crl_number)
    return conn.execute(query.order_by(*order)).all()


def find_issuer_in_force(conn: Connection, sha256: str) -> str | None:
    """Return the `issuer_key_sha256` of a loaded list in force; None where no such list is in force."""
    query = select(revocations.c.issuer_key_sha256).where(
        revocations.c.crl_number == sha256, revocations.c.replaced_at.is_(None)
    )
    return conn.execute(query).scalar()


# Append-only: the last list of each form and territory is in force, and the last root of a signer; earlier
# lists are evidence of earlier decisions. `named_by` is empty for a root, whose signer the settings name.
trust_lists = Table(
    "trust_lists",
    metadata,
    make_identity_column(),
    make_required_column("form"),
    make_required_column("territory"),
    make_required_column("sequence", BigInteger),
    make_required_column("sha256"),
    make_required_column("signer", LargeBinary),
    make_required_column("issued", Instant),
    Column("next_update", Instant),
    make_required_column("content", LargeBinary),
    Column("named_by", Text),
    make_required_column("taken_at", Instant),
    make_required_column("taken_by"),
    CheckConstraint("form IN ('own', 'etsi')", name="form"),
)


class TrustListRow(Protocol):
    """A row of the table `trust_lists` without its octets."""

    id: int
    form: str
    territory: str
    sequence: int
    sha256: str
    signer: bytes
    issued: datetime
    next_update: datetime | None
    named_by: str | None
    taken_at: datetime
    taken_by: str


_TRUSTED_LISTS = select(*(column for column in trust_lists.c if column is not trust_lists.c.content))


@dataclass(frozen=True, slots=True)
class NewTrustedList:
    """A verified list; `named_by` is the list that names its signer, None: the settings name the signer."""

    form: str
    territory: str
    sequence: int
    sha256: str
    signer: bytes
    issued: datetime
    next_update: datetime | None
    content: bytes
    named_by: str | None
    taken_by: str


def insert_trusted_list(conn: Connection, new: NewTrustedList, at: datetime) -> int:
    """Activate the list from the next message on; return its row id."""
    number = insert_row(conn, trust_lists, asdict(new) | {"taken_at": at})
    note_changed_row(conn, "trust_lists", number)
    increment_register_version(conn)
    return number


def list_latest_trusted_lists(conn: Connection) -> Sequence[TrustListRow]:
    """Return the last list of each form and territory without its octets, and each signer's last root.

    A root is a list whose signer the settings name; the settings also decide which of several roots
    counts.
    """
    is_root = trust_lists.c.named_by.is_(None)
    others = select(func.max(trust_lists.c.id)).where(~is_root)
    roots = select(func.max(trust_lists.c.id)).where(is_root)
    last = others.group_by(trust_lists.c.form, trust_lists.c.territory).union_all(
        roots.group_by(trust_lists.c.signer)
    )
    return conn.execute(_TRUSTED_LISTS.where(trust_lists.c.id.in_(last)).order_by(trust_lists.c.id)).all()


def get_trusted_list_content(conn: Connection, list_id: int) -> bytes:
    """Return the octets of a list."""
    content: bytes = conn.execute(
        select(trust_lists.c.content).where(trust_lists.c.id == list_id)
    ).scalar_one()
    return content


def list_all_trusted_lists(conn: Connection) -> Sequence[TrustListRow]:
    """Return every list that was ever accepted, the newest first, without the octets."""
    return conn.execute(_TRUSTED_LISTS.order_by(trust_lists.c.id.desc())).all()
