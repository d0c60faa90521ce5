"""Stores each message once, with the octets received and the octets of its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Engine, Insert, Row, and_, bindparam, case, insert, select, update

from gateway.errors import MESSAGE_ID_REUSED, GatewayError
from gateway.message_model import Body, Payload, SlicedBody, as_body, count_octets, read_octets
from gateway.state_machines import MESSAGE, get_next_state
from gateway.store import payloads as octets
from gateway.store import transitions
from gateway.store.conflict_inserts import insert_into
from gateway.store.events import record_events
from gateway.store.prepared_statements import InsertIfAbsent, PreparedStatement
from gateway.store.register_version import build_version_column
from gateway.store.stored_bodies import StoredBody, StoredPart
from gateway.store.tables import message_payloads, messages
from gateway.store.transitions import StateEvent

__all__ = [
    "AcceptedMessage",
    "HttpResponse",
    "LargeResponse",
    "NewMessage",
    "PreparedMessage",
    "accept_message",
    "accept_prepared_message",
    "apply_event",
    "find_by_id",
    "find_by_message_id",
    "find_response",
    "insert_own_message",
    "is_change_waiting",
    "list_messages",
    "list_parts",
    "load_parcel",
    "load_part",
    "load_payloads",
    "open_parcel",
    "prepare_message",
    "put_large_octets",
    "replace_parcel",
    "set_message_case",
    "store_response",
]

_BEGINNING: Final = 200
# A parcel in the message row saves one insert, one tree and one index. A larger one is stored separately,
# because SQLite rewrites a row whenever one of its columns changes.
_LARGEST_IN_ROW: Final = 64 * 1024
_INSERT = InsertIfAbsent(messages, ("message_id", "from_party", "direction"), "id")
_INSERT_PAYLOADS = PreparedStatement(insert(message_payloads))
_PART_COLUMNS = tuple(column for column in message_payloads.c if column.name != "message")
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
# All columns but the octets, for lists.
_SUMMARY = select(*(column for column in messages.c if column.name not in ("answer_body", "parcel")))
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
_INSIDE = and_(message_payloads.c.position == 1, message_payloads.c.parcel_offset.is_not(None))
_PARTS_OF_PARCEL = _PARTS.join(messages).add_columns(
    messages.c.parcel_sha256, messages.c.purged_at, case((_INSIDE, messages.c.parcel)).label("parcel")
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

    `identity_sha256` distinguishes the same message from another one with the same id, whatever the
    framing: it is made from the signature's digests, or from header and payload octets.
    `payload_digests` gives the SHA-256 of payloads, by content id, where it was computed before, and
    `parcel_sha256` that of the parcel; empty where it was not.
    `id_place` is the XPath of the id in its header, for what is refused because of it.
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
class AcceptedMessage:
    """The stored message and its answer; `new` is false for a duplicate, which gets the first answer.

    The answer of a message whose octets retention removed at `purged_at` may be gone with them.
    """

    id: int
    new: bool
    answer: HttpResponse | None
    purged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A message with its answer and the rows that store both, made before the transaction."""

    message: NewMessage
    answer: HttpResponse | None
    at: datetime
    row: Mapping[str, Any]
    parts: Sequence[Mapping[str, Any]]


def prepare_message(message: NewMessage, answer: HttpResponse | None, at: datetime) -> PreparedMessage:
    """Return the rows of a message and its answer, with every digest: they need no database.

    On SQLite nobody else writes during a transaction, so that what is made here keeps nobody waiting.
    """
    state = get_next_state(MESSAGE, MESSAGE.initial, "accept")
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
    conn: Connection, prepared: PreparedMessage, actor: str = "receive"
) -> AcceptedMessage:
    """Store a message whose rows are made, as `accept_message` does."""
    message, row, at = prepared.message, prepared.row, prepared.at
    stored = _insert_message(conn, row, prepared.parts)
    if stored is None:
        return _accept_duplicate(conn, message)
    apart: list[tuple[str, bytes | Body]] = [
        (part["sha256"], payload.octets)
        for part, payload in zip(prepared.parts, message.payloads, strict=True)
        if part["parcel_offset"] is None
    ]
    if not _fits_in_row(message):
        apart.append((row["parcel_sha256"], message.parcel))
    octets.store_digested_payloads(conn, apart, at)
    transitions.record_transitions(
        conn, MESSAGE, [(stored, MESSAGE.initial, row["state"])], StateEvent("accept", at, actor)
    )
    return AcceptedMessage(stored, True, prepared.answer)


def _insert_message(
    conn: Connection, row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> int | None:
    """Insert a message with its parts; return its row id, None where there is one of the same key."""
    if len(parts) == 1 and conn.dialect.name != "sqlite":
        values = {f"message_{name}": value for name, value in row.items()}
        values |= {f"part_{name}": value for name, value in parts[0].items()}
        found = conn.execute(_build_joint_insert(tuple(row)), values).scalar_one_or_none()
        return None if found is None else int(found)
    stored = _INSERT.insert_one(conn, row)
    if stored is not None and parts:
        _INSERT_PAYLOADS.execute_rows(conn, [{"message": stored.id, **part} for part in parts])
    return None if stored is None else int(stored.id)


@lru_cache(maxsize=4)
def _build_joint_insert(names: tuple[str, ...]) -> Insert:
    """Return the statement of PostgreSQL that inserts a message with its only part."""
    given = {name: bindparam(f"message_{name}", type_=messages.c[name].type) for name in names}
    key = ("message_id", "from_party", "direction")
    fresh = insert_into(messages, "postgresql").values(given).on_conflict_do_nothing(index_elements=key)
    new = fresh.returning(messages.c.id).cte("new")
    part = [bindparam(f"part_{one.name}", type_=one.type) for one in _PART_COLUMNS]
    joint = insert(message_payloads).from_select(
        ["message", *(one.name for one in _PART_COLUMNS)], select(new.c.id, *part)
    )
    return joint.returning(message_payloads.c.message)


def put_large_octets(engine: Engine, message: NewMessage) -> None:
    """Put the large octets of a message into the object store before the transaction that accepts it."""
    if not _fits_in_row(message):
        octets.put_large_octets(engine, message.parcel)
    for content in (one.octets for one in message.payloads):
        if count_octets(content) > _LARGEST_IN_ROW and _find_content_offset(message.parcel, content) < 0:
            octets.put_large_octets(engine, content)


def insert_own_message(conn: Connection, message: NewMessage, at: datetime, actor: str) -> int:
    """Store an outgoing message; return its row id."""
    stored = accept_message(conn, message, None, at, actor)
    if not stored.new:
        raise GatewayError(MESSAGE_ID_REUSED, f"message {message.message_id[:80]} is stored already")
    if message.case_id is not None:
        record_events(conn, "message", [(stored.id, message.action)], at)
    return stored.id


def _make_message_row(
    message: NewMessage, answer: HttpResponse | None, state: str, parcel_sha256: str, at: datetime
) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "direction": message.direction,
        "protocol": message.protocol,
        "kind": message.kind,
        "conversation_id": message.conversation_id,
        "ref_to_message_id": message.ref_to_message_id,
        "from_party": message.from_party,
        "to_party": message.to_party,
        "service": message.service,
        "action": message.action,
        "agreement_id": message.agreement_id,
        "pmode_id": message.pmode_id,
        "signer_sha256": message.signer_sha256,
        "identity_sha256": message.identity_sha256,
        "state": state,
        "received_at": at,
        "expires_at": message.expires_at,
        "case_id": message.case_id,
        "parcel_headers": dict(message.parcel_headers),
        "parcel_sha256": parcel_sha256,
        "parcel": read_octets(message.parcel) if _fits_in_row(message) else None,
        **_make_response_columns(answer),
    }


def _fits_in_row(message: NewMessage) -> bool:
    # A delivery reads an outgoing parcel by its digest, so it is stored separately.
    return message.direction == "in" and count_octets(message.parcel) <= _LARGEST_IN_ROW


def _make_response_columns(answer: HttpResponse | None) -> dict[str, Any]:
    return {
        "answer_status": answer.status if answer else None,
        "answer_headers": dict(answer.headers) if answer else None,
        "answer_sha256": hashlib.sha256(answer.body).hexdigest() if answer else None,
        "answer_body": answer.body if answer else None,
    }


def _make_part_row(position: int, payload: Payload, message: NewMessage) -> dict[str, Any]:
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
    found = offset >= 0 and parcel.startswith(content, offset)
    return offset if found else parcel.find(content)


def _accept_duplicate(conn: Connection, message: NewMessage) -> AcceptedMessage:
    key = {name: getattr(message, name) for name in ("direction", "from_party", "message_id")}
    first = conn.execute(_FIRST, key).one()
    if first.identity_sha256 != message.identity_sha256:
        raise GatewayError(
            MESSAGE_ID_REUSED,
            f"message {message.message_id[:80]} was received before with other content",
            message.id_place,
        )
    get_next_state(MESSAGE, MESSAGE.initial, "duplicate")
    return AcceptedMessage(first.id, False, _read_response(first), first.purged_at)


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
    conn: Connection, message: int, headers: Mapping[str, str], parcel: str, sealed: tuple[str, str]
) -> None:
    """Replace the octets (by their digest) of an own message that was never sent: it was sealed again.

    `sealed` is its new identity and the certificate (SHA-256) of its signer.
    """
    identity, signer = sealed
    values = {
        "parcel_headers": dict(headers),
        "parcel_sha256": parcel,
        "identity_sha256": identity,
        "signer_sha256": signer,
    }
    own = (messages.c.id == message, messages.c.direction == "out")
    conn.execute(update(messages).where(*own).values(values))


def set_message_case(conn: Connection, message: int, case_id: int) -> None:
    """Set the case of the message."""
    conn.execute(_SET_CASE, {"wanted": message, "case": case_id})


def apply_event(
    conn: Connection,
    message: int,
    what: StateEvent,
    problem: str | None = None,
    *,
    before: str | None = None,
    case: int | None = None,
) -> str:
    """Apply an event to a stored message, which is in the state `before`; return its new state.

    With `case` it belongs to that case from then on.
    """
    values: dict[str, Any] = {"problem": problem} | ({} if case is None else {"case_id": case})
    return transitions.apply_event(conn, messages, MESSAGE, message, what, before=before, **values)


def find_by_id(conn: Connection, message: int) -> Row[Any] | None:
    """Return the message of this row id, without the octets of its answer."""
    return conn.execute(_GET, {"wanted": message}).first()


def find_with_register(conn: Connection, message: int) -> Row[Any] | None:
    """Return the same with the version of the `register` of certificates."""
    return conn.execute(_WITH_REGISTER, {"wanted": message}).first()


def is_change_waiting(conn: Connection, since: datetime, until: datetime) -> bool:
    """Return whether a supplement, an amendment or a withdrawal of this period is not admitted yet."""
    found = select(messages.c.id).where(
        messages.c.purged_at.is_(None),
        messages.c.case_id.is_(None),
        messages.c.received_at.between(since, until),
        messages.c.state == "ACCEPTED",
        messages.c.direction == "in",
        messages.c.action.in_(("Supplement", "Amend", "Withdraw")),
    )
    return conn.execute(found.limit(1)).first() is not None


def find_by_message_id(conn: Connection, direction: str, from_party: str, message_id: str) -> Row[Any] | None:
    """Return the message that a party sent with this id."""
    return conn.execute(
        _SUMMARY.where(
            messages.c.direction == direction,
            messages.c.from_party == from_party,
            messages.c.message_id == message_id,
        )
    ).first()


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
    """Return the octets of the message that its parts are in; empty where none of them is."""
    if all(row.parcel_offset is None for row in rows):
        return b""
    first = rows[0]
    if first.parcel is None:
        return open_parcel(conn, message)[1]
    octets.check_not_purged(first.purged_at, first.parcel_sha256)
    return octets.verify_digest(first.parcel, first.parcel_sha256)


def list_parts(conn: Connection, message: int) -> Sequence[Row[Any]]:
    """Return the parts of a message in their order, without their octets."""
    return conn.execute(_PARTS, {"wanted": message}).all()


def load_part(conn: Connection, message: int, position: int) -> Payload | None:
    """Return one part of a message, verified against its digest; None when there is no such part."""
    wanted = (message_payloads.c.message == message, message_payloads.c.position == position)
    row = conn.execute(select(message_payloads).where(*wanted)).first()
    if row is None:
        return None
    parcel = b"" if row.parcel_offset is None else open_parcel(conn, message)[1]
    return Payload(row.content_id, row.media_type, _load_part_octets(conn, row, parcel))


def _load_part_octets(conn: Connection, part: Row[Any], parcel: bytes | Body) -> bytes | Body:
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
) -> Sequence[Row[Any]]:
    """Return messages, newest first, whose columns have these values, with an id below `before`."""
    found = _SUMMARY.order_by(messages.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(messages.c[name] == value)
    return conn.execute(found.where(messages.c.id < before) if before else found).all()
