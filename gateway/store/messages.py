"""Stores each message once, with the octets received and the octets of its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)

from gateway.errors import MESSAGE_ID_REUSED, GatewayError
from gateway.message_model import Body, Payload, SlicedBody, as_body, count_octets, read_octets
from gateway.state_machines import MESSAGE, get_next_state
from gateway.store import payloads as octets
from gateway.store import transitions
from gateway.store.deliveries import deliveries
from gateway.store.message_rows import MessagePayloadRow, MessageRow, MessageWithRegisterRow
from gateway.store.object_store import StoredBody, StoredPart
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import build_version_column
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NAME_TEXT,
    ClusteredTable,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_partial_index,
    make_required_column,
    make_state_constraint,
    metadata,
)
from gateway.store.transitions import StateEvent, record_events

_is_incoming = "direction = 'in'"

_is_outgoing = "direction = 'out'"

# Each state for itself: SQLite does not see that one of a list of values is in the list.
_unprocessed = "state = 'RECEIVED' OR state = 'FAILED' OR state = 'REFUSED'"

# `answer_*` is the receipt as sent: a duplicate gets these octets again. The row is written before the
# octets of its parcel, because the row decides whether it is a duplicate; SQLite would scan this whole
# table for a deferred foreign key. Between case and message only one side has a foreign key.
messages = Table(
    "messages",
    metadata,
    make_identity_column(),
    make_required_column("message_id", ID_TEXT),
    make_required_column("direction", CODE_TEXT),
    make_required_column("protocol"),
    make_required_column("kind"),
    make_required_column("conversation_id"),
    Column("ref_to_message_id", Text),
    make_required_column("from_party", NAME_TEXT),
    make_required_column("to_party", NAME_TEXT),
    make_required_column("service"),
    make_required_column("action"),
    Column("pmode_id", Text),
    Column("signer_sha256", Text),
    make_required_column("identity_sha256"),
    make_required_column("state", CODE_TEXT),
    Column("problem", CODE_TEXT),
    make_required_column("received_at", Instant),
    Column("expires_at", Instant),
    Column("case_id", BigInteger),
    make_required_column("parcel_headers", Json),
    make_required_column("parcel_sha256", CODE_TEXT),
    Column("answer_status", Integer),
    Column("answer_headers", Json),
    Column("answer_sha256", Text),
    Column("answer_body", LargeBinary),
    Column("parcel", LargeBinary),  # null where its octets are in `payloads`
    Column("agreement_id", Text),  # of the P-Mode; null where neither was known
    Column("purged_at", Instant),  # when retention removed the octets of parcel and answer
    UniqueConstraint("message_id", "from_party", "direction"),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    make_state_constraint(MESSAGE.states),
    make_partial_index("ix_messages_case_id", "case_id"),
    # For the lists of operators; the usual message is not in the index of states.
    Index("ix_messages_received_at", "received_at", "id"),
    PartialIndex("ix_messages_sender", "from_party", "id", where=_is_incoming),
    PartialIndex("ix_messages_receiver", "to_party", "id", where=_is_outgoing),
    PartialIndex("ix_messages_stopped", "state", "id", where=_unprocessed),
    PartialIndex("ix_messages_problem", "problem", "id", where="problem IS NOT NULL"),
    PartialIndex("ix_messages_unpurged", "received_at", "id", where="purged_at IS NULL AND case_id IS NULL"),
    PartialIndex("ix_messages_parcel_sha256", "parcel_sha256", where="parcel IS NULL"),
)


# The parts of a message: by its offset where a part is unchanged in the parcel, else among the payloads.
message_payloads = ClusteredTable(
    "message_payloads",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    make_required_column("content_id"),
    make_required_column("media_type"),
    make_required_column("sha256", CODE_TEXT),
    make_required_column("size", BigInteger),
    Column("parcel_offset", BigInteger),
    make_required_column("properties", Json),
    PartialIndex("ix_message_payloads_sha256", "sha256", where="parcel_offset IS NULL"),
)


#: The columns of a message but for its octets; for lists without the headers also.
COLUMNS_WITHOUT_BODIES: Final = tuple(c for c in messages.c if c.name not in ("answer_body", "parcel"))
LISTED_COLUMNS: Final = tuple(
    c for c in COLUMNS_WITHOUT_BODIES if c.name not in ("parcel_headers", "answer_headers")
)
_BEGINNING: Final = 200
# A parcel in the message row saves one insert, one tree and one index. A larger one is stored separately,
# because SQLite rewrites a row whenever one of its columns changes.
_MAX_ROW_OCTETS: Final = 64 * 1024
_INSERT = InsertIfAbsent(messages, ("message_id", "from_party", "direction"), "id")
_INSERT_PARTS = insert(message_payloads)
_FIRST = select(
    messages.c.id,
    messages.c.identity_sha256,
    messages.c.state,
    messages.c.answer_status,
    messages.c.answer_headers,
    messages.c.answer_body,
    messages.c.purged_at,
).where(
    messages.c.direction == bindparam("direction"),
    messages.c.from_party == bindparam("from_party"),
    messages.c.message_id == bindparam("message_id"),
)
_SUMMARY = select(*COLUMNS_WITHOUT_BODIES)
_GET = _SUMMARY.where(messages.c.id == bindparam("wanted"))
_WITH_REGISTER = _GET.add_columns(build_version_column().label("register"))
_SET_CASE = update(messages).where(messages.c.id == bindparam("wanted")).values(case_id=bindparam("case"))
_PARCEL = select(
    messages.c.parcel_headers, messages.c.parcel_sha256, messages.c.parcel, messages.c.purged_at
).where(messages.c.id == bindparam("wanted"))
_PARTS = (
    select(message_payloads)
    .where(message_payloads.c.message == bindparam("wanted"))
    .order_by(message_payloads.c.position)
)
#: The parts with the octets of the message, which only its first part is given, where it is in them.
_IS_IN_PARCEL = and_(message_payloads.c.position == 1, message_payloads.c.parcel_offset.is_not(None))
_PARTS_OF_PARCEL = _PARTS.join(messages).add_columns(
    messages.c.parcel_sha256, messages.c.purged_at, case((_IS_IN_PARCEL, messages.c.parcel)).label("parcel")
)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response: status, headers, octets; stored before it is sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class LargeResponse(HttpResponse):
    """A response whose octets are read where they are kept, while it is sent; `body` is empty."""

    content: Body


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be stored.

    `identity_sha256` distinguishes a repeat of the message from another message with the same id. It does
    not depend on the framing: it is made from the signature's digests, or from header and payload octets.
    `payload_digests` gives the SHA-256 of payloads, by content id, and `parcel_sha256` that of the parcel;
    each is empty where it was not computed before.
    `id_place` is the XPath of the id in its header, for a message that is refused because of its id.
    """

    message_id: str
    protocol: str
    kind: str
    conversation_id: str
    from_party: str
    to_party: str
    service: str
    action: str
    identity_sha256: str
    parcel_headers: Mapping[str, str]
    parcel: bytes | Body
    payloads: Sequence[Payload] = ()
    direction: str = "in"
    ref_to_message_id: str | None = None
    agreement_id: str | None = None
    pmode_id: str | None = None
    signer_sha256: str | None = None
    expires_at: datetime | None = None
    case_id: int | None = None
    payload_digests: Mapping[str, str] = field(default_factory=dict)
    parcel_sha256: str = ""
    id_place: str = ""


@dataclass(frozen=True, slots=True)
class StoredMessageRows:
    """The values of the row of a message, and those of the row of each of its parts."""

    message: Mapping[str, Any]
    parts: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """The stored message and its answer; `is_new` is false for a duplicate, which gets the first answer.

    If retention removed the octets of the message at `purged_at`, the answer may have been removed, too.
    `rows` are the rows of a new message, for the evidence about them.
    """

    id: int
    is_new: bool
    answer: HttpResponse | None
    purged_at: datetime | None = None
    rows: StoredMessageRows | None = None


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A message with its answer and the rows that store both, made before the transaction."""

    message: NewMessage
    answer: HttpResponse | None
    at: datetime
    row: Mapping[str, Any]
    parts: Sequence[Mapping[str, Any]]


def prepare_message(message: NewMessage, answer: HttpResponse | None, at: datetime) -> PreparedMessage:
    """Return the rows of a message and its answer, with every digest, made without a database.

    On SQLite a transaction keeps all other writers waiting, so these rows are made before it.
    """
    state = get_next_state(MESSAGE, MESSAGE.initial_state, "accept")
    parcel_sha256 = message.parcel_sha256 or as_body(message.parcel).sha256_hex
    parts = [_make_part_row(*numbered, message) for numbered in enumerate(message.payloads, start=1)]
    row = _make_message_row(message, answer, state, parcel_sha256, at)
    return PreparedMessage(message, answer, at, row, parts)


def accept_message(
    conn: Connection, message: NewMessage, answer: HttpResponse | None, at: datetime, actor: str = "receive"
) -> AcceptedMessage:
    """Store the message with its answer, or return the first answer of the same message.

    The answer is the HTTP response with the signed receipt; its octets are in the column `answer_body`.
    Raises GW312 when the sender used the id before for other content.
    """
    return accept_prepared_message(conn, prepare_message(message, answer, at), actor)


def accept_prepared_message(
    conn: Connection, prepared: PreparedMessage, actor: str = "receive", *, is_parcel_stored: bool = False
) -> AcceptedMessage:
    """Store a message whose rows are made, as `accept_message` does; its parcel may be stored already."""
    message, row, at = prepared.message, prepared.row, prepared.at
    message_id = _insert_message(conn, row, prepared.parts)
    if message_id is None:
        return _accept_duplicate(conn, message)
    separate_octets: list[tuple[str, bytes | Body]] = [
        (part["sha256"], payload.octets)
        for part, payload in zip(prepared.parts, message.payloads, strict=True)
        if part["parcel_offset"] is None
    ]
    if not _fits_in_row(message) and not is_parcel_stored:
        separate_octets.append((row["parcel_sha256"], message.parcel))
    octets.store_digested_payloads(conn, separate_octets, at)
    transitions.record_transitions(
        conn, MESSAGE, [(message_id, MESSAGE.initial_state, row["state"])], StateEvent("accept", at, actor)
    )
    rows = StoredMessageRows(row, prepared.parts)
    return AcceptedMessage(message_id, is_new=True, answer=prepared.answer, rows=rows)


def _insert_message(
    conn: Connection, row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> int | None:
    """Insert a message with its parts; return its row id, None where there is one of the same key."""
    stored = _INSERT.insert_one(conn, row)
    if stored is not None and parts:
        conn.execute(_INSERT_PARTS, [{"message": stored.id, **part} for part in parts])
    return None if stored is None else int(stored.id)


def put_large_octets(engine: Engine, message: NewMessage) -> None:
    """Put the large octets of a message into the object store before the transaction that accepts it."""
    if not _fits_in_row(message):
        octets.put_large_octets(engine, message.parcel)
    for content in (payload.octets for payload in message.payloads):
        if count_octets(content) > _MAX_ROW_OCTETS and _find_content_offset(message.parcel, content) < 0:
            octets.put_large_octets(engine, content)


def insert_own_message(conn: Connection, message: NewMessage, at: datetime, actor: str) -> AcceptedMessage:
    """Store an outgoing message, whose parcel is stored for its delivery."""
    stored = accept_prepared_message(conn, prepare_message(message, None, at), actor, is_parcel_stored=True)
    if not stored.is_new:
        raise GatewayError(MESSAGE_ID_REUSED, f"message {message.message_id[:80]} is stored already")
    if message.case_id is not None:
        record_events(conn, "message", [(stored.id, message.action)], at)
    return stored


def _make_message_row(
    message: NewMessage, answer: HttpResponse | None, state: str, parcel_sha256: str, at: datetime
) -> dict[str, Any]:
    """Return the row of a message; it contains the parcel only where that is small enough."""
    row = collect_values(message)
    for name in ("payloads", "payload_digests", "id_place"):
        del row[name]
    return row | {
        "state": state,
        "received_at": at,
        "parcel_headers": dict(message.parcel_headers),
        "parcel_sha256": parcel_sha256,
        "parcel": read_octets(message.parcel) if _fits_in_row(message) else None,
        **_make_response_columns(answer),
    }


def _fits_in_row(message: NewMessage) -> bool:
    # A delivery reads an outgoing parcel by its digest, so it is stored separately.
    return message.direction == "in" and count_octets(message.parcel) <= _MAX_ROW_OCTETS


def _make_response_columns(answer: HttpResponse | None) -> dict[str, Any]:
    """Return the columns of the HTTP answer; all are None without one."""
    return {
        "answer_status": answer.status if answer else None,
        "answer_headers": dict(answer.headers) if answer else None,
        "answer_sha256": hashlib.sha256(answer.body).hexdigest() if answer else None,
        "answer_body": answer.body if answer else None,
    }


def _make_part_row(position: int, payload: Payload, message: NewMessage) -> dict[str, Any]:
    """Return the row of a part; `parcel_offset` is where the parcel contains its octets, None if nowhere."""
    offset = _find_content_offset(message.parcel, payload.octets)
    return {
        "position": position,
        "content_id": payload.content_id,
        "media_type": payload.media_type,
        "sha256": message.payload_digests.get(payload.content_id) or as_body(payload.octets).sha256_hex,
        "size": count_octets(payload.octets),
        "parcel_offset": offset if offset >= 0 else None,
        "properties": [list(pair) for pair in payload.properties],
    }


def _find_content_offset(parcel: bytes | Body, content: bytes | Body) -> int:
    """Return the offset of the content in the parcel, -1 where it is not there.

    Small content of a large parcel is not searched, and stored beside it.
    """
    if isinstance(content, SlicedBody) and content.base is parcel:
        return content.offset
    if not (isinstance(parcel, bytes) and isinstance(content, bytes)):
        return -1
    # Searched by its beginning: preparing the search for a long text takes longer than the search.
    offset = parcel.find(content[:_BEGINNING])
    is_at_beginning = offset >= 0 and parcel.startswith(content, offset)
    return offset if is_at_beginning else parcel.find(content)


def _accept_duplicate(conn: Connection, message: NewMessage) -> AcceptedMessage:
    """Return the stored answer to the same message; raise GW312 if it was received with other content."""
    key = {name: getattr(message, name) for name in ("direction", "from_party", "message_id")}
    first_row = conn.execute(_FIRST, key).one()
    if first_row.identity_sha256 != message.identity_sha256:
        raise GatewayError(
            MESSAGE_ID_REUSED,
            f"message {message.message_id[:80]} was received before with other content",
            message.id_place,
        )
    get_next_state(MESSAGE, MESSAGE.initial_state, "duplicate")
    return AcceptedMessage(
        first_row.id, is_new=False, answer=_read_response(first_row), purged_at=first_row.purged_at
    )


def _read_response(row: Any) -> HttpResponse | None:
    if row.answer_body is None:
        return None
    return HttpResponse(row.answer_status, row.answer_headers, row.answer_body)


def store_response(conn: Connection, message: int, answer: HttpResponse) -> HttpResponse:
    """Store an answer (the receipt) made later than its message: there was no key when the message came.

    Return the answer that was stored first.
    """
    unanswered = (messages.c.id == message) & messages.c.answer_body.is_(None)
    conn.execute(update(messages).where(unanswered).values(**_make_response_columns(answer)))
    return find_response(conn, message) or answer


def replace_parcel(
    conn: Connection,
    message: int,
    headers: Mapping[str, str],
    parcel_sha256: str,
    identity_sha256: str,
    signer_sha256: str,
) -> None:
    """Replace the octets (by their digest) of an own message that was never sent: it was sealed again.

    `identity_sha256` is its new one, `signer_sha256` the SHA-256 of the certificate of its signer.
    """
    values = {
        "parcel_headers": dict(headers),
        "parcel_sha256": parcel_sha256,
        "identity_sha256": identity_sha256,
        "signer_sha256": signer_sha256,
    }
    conditions = (messages.c.id == message, messages.c.direction == "out")
    conn.execute(update(messages).where(*conditions).values(values))


def set_message_case(conn: Connection, message: int, case_id: int) -> None:
    """Set the case of the message."""
    conn.execute(_SET_CASE, {"wanted": message, "case": case_id})


def apply_event(
    conn: Connection,
    message: int,
    event: StateEvent,
    problem: str | None = None,
    *,
    before: str | None = None,
    case_id: int | None = None,
) -> str:
    """Apply an event to a stored message, which is in the state `before`; return its new state.

    With `case_id` it belongs to that case from then on.
    """
    values: dict[str, Any] = {"problem": problem} | ({} if case_id is None else {"case_id": case_id})
    return transitions.apply_event(conn, messages, MESSAGE, message, event, before=before, **values)


def find_by_id(conn: Connection, message: int) -> MessageRow | None:
    """Return the message of this row id, without the octets of its answer."""
    return conn.execute(_GET, {"wanted": message}).first()


def find_with_register(conn: Connection, message: int) -> MessageWithRegisterRow | None:
    """Return the message of this row id, with the present register version in the column `register`."""
    return conn.execute(_WITH_REGISTER, {"wanted": message}).first()


def find_first_time(conn: Connection) -> datetime | None:
    """Return when the first message was received or made; None without messages."""
    return conn.execute(select(func.min(messages.c.received_at))).scalar()


def is_change_waiting(conn: Connection, since: datetime, until: datetime) -> bool:
    """Return whether a supplement, an amendment or a withdrawal of this period is not admitted yet."""
    query = select(messages.c.id).where(
        messages.c.purged_at.is_(None),
        messages.c.case_id.is_(None),
        messages.c.received_at.between(since, until),
        messages.c.state == "ACCEPTED",
        messages.c.direction == "in",
        messages.c.action.in_(("Supplement", "Amend", "Withdraw")),
    )
    return conn.execute(query.limit(1)).first() is not None


def find_by_message_id(
    conn: Connection, direction: str, from_party: str, message_id: str
) -> MessageRow | None:
    """Return the message that a party sent with this id."""
    return conn.execute(
        _SUMMARY.where(
            messages.c.direction == direction,
            messages.c.from_party == from_party,
            messages.c.message_id == message_id,
        )
    ).first()


def find_newest_of_pmode(conn: Connection, from_party: str, pmode: str) -> int | None:
    """Return the row id of the newest business message of a party under a P-Mode."""
    rows = messages.c
    message_condition = (rows.direction == "in") & (rows.from_party == from_party) & (rows.pmode_id == pmode)
    message_query = (
        select(rows.id).where(message_condition, rows.kind == "UserMessage").order_by(rows.id.desc()).limit(1)
    )
    newest: int | None = conn.execute(message_query).scalar()
    return newest


def find_newest_receipted(conn: Connection, to_party: str, pmode: str) -> int | None:
    """Return the newest delivery to a party under a P-Mode that ended by a receipt."""
    rows = messages.c
    sent = (rows.direction == "out") & (rows.to_party == to_party) & (rows.pmode_id == pmode)
    delivery_query = select(deliveries.c.id).join(messages, deliveries.c.wire_id == rows.message_id)
    newest: int | None = conn.execute(
        delivery_query.where(sent, deliveries.c.state == "DELIVERED").order_by(rows.id.desc()).limit(1)
    ).scalar()
    return newest


def find_response(conn: Connection, message: int) -> HttpResponse | None:
    """Return the stored answer of a message."""
    columns = (messages.c.answer_status, messages.c.answer_headers, messages.c.answer_body)
    row = conn.execute(select(*columns).where(messages.c.id == message)).first()
    return _read_response(row) if row else None


def load_parcel(conn: Connection, message: int) -> tuple[dict[str, str], bytes]:
    """Return the HTTP headers and all octets of the message, in memory; empty when there is none."""
    headers, parcel = open_parcel(conn, message)
    return headers, read_octets(parcel)


def open_parcel(conn: Connection, message: int) -> tuple[dict[str, str], bytes | Body]:
    """Return the HTTP headers and octets of the message, large ones as a body; empty when there is none."""
    row = conn.execute(_PARCEL, {"wanted": message}).first()
    if row is None:
        return {}, b""
    octets.check_not_purged(row.purged_at, row.parcel_sha256)
    if row.parcel is None:
        return row.parcel_headers, octets.open_payload(conn, row.parcel_sha256)
    return row.parcel_headers, octets.verify_digest(row.parcel, row.parcel_sha256)


def load_payloads(conn: Connection, message: int) -> tuple[Payload, ...]:
    """Return the payloads of a message in their order, each verified against its digest.

    A large one is a body, and is verified when it is read.
    """
    rows = conn.execute(_PARTS_OF_PARCEL, {"wanted": message}).all()
    parcel = _open_parcel_of_parts(conn, message, rows)
    return tuple(
        Payload(
            row.content_id,
            row.media_type,
            _load_part_octets(conn, row, parcel),
            tuple((name, value) for name, value in row.properties),
        )
        for row in rows
    )


def _open_parcel_of_parts(conn: Connection, message: int, rows: Sequence[Row[Any]]) -> bytes | Body:
    """Return the octets of the message in which its parts are; empty if no part is in it."""
    if all(row.parcel_offset is None for row in rows):
        return b""
    first = rows[0]
    if first.parcel is None:
        return open_parcel(conn, message)[1]
    octets.check_not_purged(first.purged_at, first.parcel_sha256)
    return octets.verify_digest(first.parcel, first.parcel_sha256)


def list_parts(conn: Connection, message: int) -> Sequence[MessagePayloadRow]:
    """Return the parts of a message in their order, without their octets."""
    return conn.execute(_PARTS, {"wanted": message}).all()


def load_part(conn: Connection, message: int, position: int) -> Payload | None:
    """Return one part of a message, verified against its digest; None when there is no such part."""
    conditions = (message_payloads.c.message == message, message_payloads.c.position == position)
    row = conn.execute(select(message_payloads).where(*conditions)).first()
    if row is None:
        return None
    parcel = b"" if row.parcel_offset is None else open_parcel(conn, message)[1]
    return Payload(row.content_id, row.media_type, _load_part_octets(conn, row, parcel))


def _load_part_octets(conn: Connection, part: Row[Any], parcel: bytes | Body) -> bytes | Body:
    """Return the octets of a part, from `parcel` if they have an offset there, else from their payload.

    Verify them against the digest of the part; a large part of a stored body is verified when it is read.
    """
    if part.parcel_offset is None:
        return octets.open_payload(conn, part.sha256)
    if isinstance(parcel, StoredBody):
        piece = StoredPart(parcel, part.parcel_offset, part.sha256, part.size)
        return piece if part.size > parcel.store.inline else read_octets(piece)
    assert isinstance(parcel, bytes)
    return octets.verify_digest(parcel[part.parcel_offset : part.parcel_offset + part.size], part.sha256)


def list_messages(
    conn: Connection,
    *,
    limit: int = 50,
    before: int | None = None,
    **equal: Any,
) -> Sequence[MessageRow]:
    """Return messages, newest first, whose columns have these values, with an id below `before`."""
    query = _SUMMARY.order_by(messages.c.id.desc()).limit(limit)
    for name, value in equal.items():
        query = query.where(messages.c[name] == value)
    return conn.execute(query.where(messages.c.id < before) if before else query).all()
