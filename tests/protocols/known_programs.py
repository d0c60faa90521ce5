"""Programs that send envelopes of one kind, and a receiver that opens them both ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from gateway.agreements import PMode, PModeIndex, Reliability
from gateway.errors import GatewayError
from gateway.message_model import (
    MemoryBody,
    Payload,
    Unit,
    UserMessage,
)
from gateway.protocols import Parcel, SentUnit, as4, ebms2
from gateway.protocols.known_envelopes.message_opener import KnownEnvelope, KnownEnvelopes, learn_envelope
from gateway.wire import DEFAULT_LIMITS, MimePart, read_multipart_related, write_multipart_related
from tests.kit.known_messages import describe
from tests.protocols import as4_samples, sample_parties

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
count = itertools.count(1)


@dataclass(frozen=True)
class Arrival:
    """A parcel that comes, and what was sent on its connection."""

    parcel: Parcel
    sent: SentUnit | None = None

    def change(self, octets: bytes) -> Arrival:
        return replace(self, parcel=Parcel(self.parcel.headers, MemoryBody(octets)))

    def find_envelope(self) -> bytes:
        return read_multipart_related(self.parcel.get_header("Content-Type"), self.parcel.body).root.content

    def pack(self, root: bytes, parts: tuple[MimePart, ...]) -> Arrival:
        """Return the arrival with another envelope and other parts."""
        content_type = self.parcel.get_header("Content-Type")
        kind = content_type.partition('type="')[2].partition('"')[0] or "text/xml"
        media_type, body = write_multipart_related(root, parts, "boundary", "root@x", kind)
        return replace(
            self, parcel=Parcel({**self.parcel.headers, "Content-Type": media_type}, MemoryBody(body))
        )


@dataclass(frozen=True)
class Program:
    """A program that sends envelopes of one kind, each with other values."""

    name: str
    core: Any
    pmode: PMode
    message: UserMessage
    prefix: bytes

    def make_message(self, **changes: Any) -> UserMessage:
        number = next(count)
        payloads = (
            Payload(f"p1.{number}@broker.example", "application/xml", f"<a b='{number}'>가</a>".encode()),
            Payload(f"p2.{number}@broker.example", "application/octet-stream", bytes([number % 256] * 99)),
        )
        values: dict[str, Any] = {
            "message_id": f"m-{number}@broker.example",
            "timestamp": sample_parties.NOW - timedelta(seconds=number % 50, milliseconds=1),
            "conversation_id": f"c-{number}",
            "payloads": payloads,
        }
        return replace(self.message, **{**values, **changes})

    def send(self, **changes: Any) -> Arrival:
        sealed = self.core.seal((self.make_message(**changes),), self.pmode, sample_parties.context())
        return Arrival(Parcel(sealed.headers, sealed.body))

    def learn(self, document: bytes) -> KnownEnvelope | None:
        return learn_envelope(self.core, document, "strict", DEFAULT_LIMITS)


class Receipts(Program):
    """The receipts of ebMS 2.0, each on the connection of what it is about."""

    def make_receipt(self, payloads: int = 1, **changes: Any) -> tuple[SentUnit, Any]:
        number = next(count)
        message = self.make_message(
            sender=sample_parties.FROM_HUB, receiver=sample_parties.FROM_BROKER, action="Result",
            payloads=tuple(
                Payload(f"p{one}.{number}@hub.example", "text/xml", b"<a/>") for one in range(payloads)
            ),
        )  # fmt: skip
        parcel = ebms2.seal((message,), self.pmode, sample_parties.context())
        there = sample_parties.context(now=sample_parties.NOW + timedelta(milliseconds=number))
        receipt = ebms2.make_receipt(ebms2.open_units(parcel, there), there)
        assert parcel.sent_unit is not None
        return parcel.sent_unit, replace(
            receipt, **{"timestamp": receipt.timestamp + timedelta(seconds=1), **changes}
        )

    def seal(self, sent: SentUnit, *units: Unit) -> Arrival:
        sealed = ebms2.seal(units, self.pmode, sample_parties.context())
        return Arrival(Parcel(sealed.headers, sealed.body), sent)

    def send(self, **changes: Any) -> Arrival:
        return self.seal(*self.make_receipt(**changes))


EBMS2_PMODE = sample_parties.pmode("ebms2", reliability=Reliability())
AS4 = Program("as4", as4, sample_parties.pmode("as4", **as4_samples.TERMS), as4_samples.message(), b"eb3")
EBMS2 = Program("ebms2", ebms2, EBMS2_PMODE, sample_parties.message(), b"eb")
RECEIPTS = Receipts("receipt", ebms2, sample_parties.RESULT, sample_parties.message(), b"eb")
MESSAGES, PROGRAMS = (AS4, EBMS2), (AS4, EBMS2, RECEIPTS)
every_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.name)


@cache
def sent(program: Program, number: int) -> Arrival:
    return program.send()


@cache
def learned(program: Program) -> KnownEnvelope:
    envelope = program.learn(sent(program, 0).find_envelope())
    assert envelope is not None
    return envelope


class Counted(KnownEnvelopes):
    """Counts the messages that were opened without a reading."""

    opened = 0

    def open_by_envelope(self, *words: Any) -> Any:
        opened = super().open_by_envelope(*words)
        self.opened += opened is not None
        return opened


@dataclass
class Receiver:
    """Opens what a program sends by what it remembers, and as a whole: both must say the same."""

    program: Program
    envelopes: Counted = field(default_factory=Counted)

    def open(self, arrival: Arrival, **changes: Any) -> Any:
        """Return what a message says, or why it is refused."""
        known = self._judge(self.envelopes.open_units, arrival, changes)
        assert known == self._judge(open_whole, arrival, changes)
        return known

    def _judge(self, open_message: Callable[..., Any], arrival: Arrival, changes: dict[str, Any]) -> Any:
        given = {"agreements": PModeIndex((self.program.pmode,)), **changes}
        context = sample_parties.context(**given)
        try:
            return describe(open_message(self.program.core, arrival.parcel, context, arrival.sent))
        except GatewayError as refused:
            return refused.problem.id, refused.detail, refused.location


def open_whole(core: Any, *words: Any) -> Any:
    return core.open_units(*words)


def make_receiver(program: Program) -> Receiver:
    made = Receiver(program)
    assert "unit" in made.open(sent(program, 0))
    assert made.envelopes.opened == 0
    return made
