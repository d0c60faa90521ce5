"""The message units and their parts, protocol-neutral and valid once constructed.

The terms are those of ebMS 2.0 and 3.0. A unit holds values only: no XML, no socket, no row. The
protocol that made a unit has validated its content.
"""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Final, Protocol, cast

#: Octets of a body that are held at a time.
_MAX_PIECE_OCTETS: Final = 1024**2


#: The actors of ebMS 2.0 §2.3.10 and §2.3.11: the next handler on the way, and that of the To party.
NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
TO_PARTY_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"


class Body(Protocol):
    """Octets that can be read repeatedly: held in memory when small, elsewhere when not."""

    @property
    def octet_count(self) -> int:
        """Return the number of octets."""

    @property
    def sha256_hex(self) -> str:
        """Return the SHA-256 of the octets in lower-case hexadecimal."""

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""


@dataclass(frozen=True, slots=True)
class MemoryBody:
    """A `Body` held in memory."""

    content: bytes

    @property
    def octet_count(self) -> int:
        """Return the number of octets."""
        return len(self.content)

    @property
    def sha256_hex(self) -> str:
        """Return the SHA-256 of the octets in lower-case hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return io.BytesIO(self.content)


class DigestedBody(ABC):
    """A `Body` that reads its octets and computes their digest at the first use of `sha256_hex`."""

    __slots__ = ("_sha256", "octet_count")

    def __init__(self, octet_count: int) -> None:
        self.octet_count = octet_count
        self._sha256: str | None = None

    @property
    def sha256_hex(self) -> str:
        """Return the SHA-256 of the octets in lower-case hexadecimal; they are read once for it."""
        self._sha256 = self._sha256 or compute_body_digest(self)
        return self._sha256

    @abstractmethod
    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""


class SlicedBody(DigestedBody):
    """A piece of another body, whose streams can seek."""

    __slots__ = ("base", "offset")

    def __init__(self, base: Body, offset: int, octet_count: int) -> None:
        super().__init__(octet_count)
        self.base = base
        self.offset = offset

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", _SlicedStream(self.base.open_stream(), self.offset, self.octet_count))


class _SeekableStream(io.RawIOBase):
    """A stream whose `seek` takes only offsets from the beginning; else it raises UnsupportedOperation."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the beginning, and return it."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        self._go_to(offset)
        return offset

    def _go_to(self, offset: int) -> None:
        raise NotImplementedError


class _SlicedStream(_SeekableStream):
    """A piece of a stream, which is closed with this one."""

    def __init__(self, stream: BinaryIO, offset: int, octet_count: int) -> None:
        self._stream = stream
        self._offset = offset
        self._octet_count = octet_count
        self._position = 0
        stream.seek(offset)

    def _go_to(self, offset: int) -> None:
        self._position = min(offset, self._octet_count)
        self._stream.seek(self._offset + self._position)

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(min(len(buffer), self._octet_count - self._position))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()


class JoinedBody(DigestedBody):
    """Pieces one after the other, each octets or a body of its own."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Sequence[bytes | Body]) -> None:
        self._pieces = tuple(as_body(piece) for piece in pieces)
        super().__init__(sum(piece.octet_count for piece in self._pieces))

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", _JoinedStream(self._pieces))


class _JoinedStream(_SeekableStream):
    """The octets of bodies, one after the other; one of their streams is open at a time."""

    def __init__(self, pieces: Sequence[Body]) -> None:
        self._pieces = pieces
        self._next_index = 0
        self._stream: BinaryIO | None = None

    def _go_to(self, offset: int) -> None:
        """Move to `offset`, in octets from the start; open a piece only if `offset` is inside it."""
        self._close_piece()
        self._next_index, remaining = 0, offset
        while (
            self._next_index < len(self._pieces) and remaining >= self._pieces[self._next_index].octet_count
        ):
            remaining -= self._pieces[self._next_index].octet_count
            self._next_index += 1
        if remaining and self._next_index < len(self._pieces):
            self._open_next_piece().seek(remaining)

    def readinto(self, buffer: Any) -> int:
        """Read from the current piece into `buffer`; return the number of octets, 0 at the end."""
        while self._stream is not None or self._next_index < len(self._pieces):
            piece = (self._stream or self._open_next_piece()).read(len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
            self._close_piece()
        return 0

    def _open_next_piece(self) -> BinaryIO:
        self._stream = self._pieces[self._next_index].open_stream()
        self._next_index += 1
        return self._stream

    def _close_piece(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._close_piece()
        super().close()


class PositionedStream(_SeekableStream):
    """A stream over an open file with a position of its own, independent of other readers of the file.

    It keeps a reference to `owner`: some files are closed as soon as their owner is no longer referenced.
    """

    def __init__(self, descriptor: int, owner: object = None) -> None:
        self._descriptor = descriptor
        self._owner = owner
        self._position = 0

    def _go_to(self, offset: int) -> None:
        self._position = offset

    def readinto(self, buffer: Any) -> int:
        """Read octets into the buffer; return how many there were, 0 at the end."""
        octet_count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += octet_count
        return octet_count


def as_body(octets: bytes | Body) -> Body:
    """Return octets as a body; a body is returned as it is."""
    return MemoryBody(octets) if isinstance(octets, bytes) else octets


def iterate_octets(octets: bytes | Body) -> Iterator[bytes]:
    """Yield bytes as one piece, and a body in pieces of at most one megabyte."""
    if isinstance(octets, bytes):
        yield octets
        return
    with octets.open_stream() as stream:
        while piece := stream.read(_MAX_PIECE_OCTETS):
            yield piece


def read_octets(octets: bytes | Body) -> bytes:
    """Return all octets of a body, which are then held in memory."""
    return octets if isinstance(octets, bytes) else b"".join(iterate_octets(octets))


def count_octets(octets: bytes | Body) -> int:
    """Return the number of octets."""
    return len(octets) if isinstance(octets, bytes) else octets.octet_count


def compute_body_digest(octets: bytes | Body) -> str:
    """Return the SHA-256 in lower-case hexadecimal; a body is read in pieces."""
    digest = hashlib.sha256()
    for piece in iterate_octets(octets):
        digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class PartyId:
    """An identifier of a party: a value within a type (ebMS 2.0 §3.1.1.1; without type a URI)."""

    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a message: its identifiers and its role."""

    ids: tuple[PartyId, ...]
    role: str | None = None


#: The party of a signal of ebMS 3.0 that was read by itself: such a signal names no parties.
UNNAMED_PARTY: Final = Party(())


@dataclass(frozen=True, slots=True)
class MessageProperty:
    """One property of a message (ebMS 3.0 §5.2.2.11), such as a corner of four-corner exchange."""

    name: str
    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload part: content id (without brackets or ``cid:``), media type, decoded octets.

    Large octets are a `Body`, which is read in pieces; `content` reads all of them into memory.
    """

    content_id: str
    media_type: str
    octets: bytes | Body
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def content(self) -> bytes:
        """Return all octets, in memory."""
        return read_octets(self.octets)


@dataclass(frozen=True, slots=True)
class AckRequest:
    """An Acknowledgment is requested: of the To party's handler, or of the next one (ebMS 2.0 §6.3.1)."""

    signed: bool


#: The number after it is 0 again (ebMS 2.0 §9.1.1).
MAX_SEQUENCE_NUMBER: Final = 99_999_999


@dataclass(frozen=True, slots=True)
class SequenceNumber:
    """The number of a message in a conversation (ebMS 2.0 §9.1.1); `status` is ``Reset`` or ``Continue``."""

    number: int
    status: str = "Continue"


@dataclass(frozen=True, slots=True)
class DigestReference:
    """One digest of a signature or of an Acknowledgment: URI, digest algorithm, digest value, transforms.

    Each of `transforms` is an algorithm followed by its parameters.
    """

    uri: str
    digest_algorithm: str
    digest: bytes
    transforms: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class _MessageUnit:
    """The header fields that every unit has."""

    message_id: str
    conversation_id: str
    sender: Party
    receiver: Party
    agreement: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class UserMessage(_MessageUnit):
    """A business message with its payloads; `expires_at` is the ebMS 2.0 TimeToLive instant.

    `ack_requested` asks the To party's handler for an Acknowledgment, `hop_ack_requested` the next
    handler on the way. The latter is not covered by the signature. Only ebMS 3.0 has `mpc`, the channel
    (None: the default one), `properties`, and what AgreementRef says beside its name: the type of
    the name and the id of a P-Mode.
    """

    service: str
    action: str
    service_type: str | None = None
    ref_to_message_id: str | None = None
    expires_at: datetime | None = None
    duplicate_elimination: bool = False
    ack_requested: AckRequest | None = None
    hop_ack_requested: AckRequest | None = None
    sync_reply: bool = False
    payloads: tuple[Payload, ...] = ()
    description: str = ""
    sequence: SequenceNumber | None = None
    mpc: str | None = None
    properties: tuple[MessageProperty, ...] = ()
    agreement_type: str | None = None
    pmode_id: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt(_MessageUnit):
    """Proof that `ref_to_message_id` was stored; `references` repeat the digests received.

    `signature_requested` says that the sender asked for a signed receipt, whether its message was signed or
    not; this is not in the receipt itself. `message` is the message that the receipt repeats if nothing of
    that message was signed. `actor` says whose proof the receipt is: that of the To party's handler
    (`TO_PARTY_MSH`), or that of the next handler on the way (`NEXT_MSH`).
    """

    ref_to_message_id: str
    received_at: datetime
    references: tuple[DigestReference, ...] = ()
    acting_party: Party | None = None
    signature_requested: bool = field(default=False, compare=False)
    actor: str = TO_PARTY_MSH
    message: UserMessage | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error of a signal; `severity` is ``Warning`` or ``Error``.

    `context` is a value of ebMS 2.0; `category`, `origin` and `title` are values of ebMS 3.0.
    """

    code: str
    severity: str
    location: str = ""
    description: str = ""
    context: str = "urn:oasis:names:tc:ebxml-msg:service:errors"
    category: str = ""
    origin: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class ErrorSignal(_MessageUnit):
    """Errors about `ref_to_message_id` (None when the message had no readable id)."""

    ref_to_message_id: str | None
    errors: tuple[ErrorEntry, ...]

    @property
    def highest_severity(self) -> str:
        """Return the highest severity of the entries."""
        return "Error" if any(entry.severity == "Error" for entry in self.errors) else "Warning"


@dataclass(frozen=True, slots=True)
class Ping(_MessageUnit):
    """Asks whether the receiver's message handler is available."""

    sync_reply: bool = False


@dataclass(frozen=True, slots=True)
class Pong(_MessageUnit):
    """Confirms that the handler is available; answers `ref_to_message_id`."""

    ref_to_message_id: str


@dataclass(frozen=True, slots=True)
class StatusRequest(_MessageUnit):
    """Asks for the status of message `queried_message_id`."""

    queried_message_id: str
    sync_reply: bool = False


@dataclass(frozen=True, slots=True)
class StatusResponse(_MessageUnit):
    """Status of `queried_message_id`: UnAuthorized, NotRecognized, Received, Processed or Forwarded."""

    ref_to_message_id: str
    queried_message_id: str
    status: str
    received_at: datetime | None = field(default=None)


@dataclass(frozen=True, slots=True)
class PullRequest(_MessageUnit):
    """Asks for the oldest message of a channel; `mpc` None is the default one (ebMS 3.0 §5.2.3.1).

    `login_digest` is the digest of the login of the request, by which a repeated login is refused; empty: no
    login.
    """

    mpc: str | None = None
    login_digest: str = field(default="", compare=False)


Unit = UserMessage | Receipt | ErrorSignal | Ping | Pong | StatusRequest | StatusResponse | PullRequest
