"""Hostile answers to an ebMS 2.0 message: receipts and errors that prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from lxml import etree

from gateway.conformance.handler import EBMS2, content_of
from gateway.conformance.hostile.replies.server import Conversation, ReplyPlay
from gateway.conformance.http import Reply, Request
from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.model import Octets, Receipt, Unit
from gateway.pki.keys import Signer
from gateway.protocols import Context, Opened, Parcel
from gateway.wire.namespaces import DS

__all__ = ["EBMS2_REPLIES", "BrokerForger"]

_ELSEWHERE: Final = "earlier@else.suite.invalid"


@dataclass
class BrokerForger:
    """Makes a message handler's answers: with its own key, a `stranger`'s, or `other`'s, another party."""

    context: Callable[[], Context]
    other: Signer
    stranger: Signer
    history: dict[str, Reply] = field(default_factory=dict)
    face: str = "ebms2"

    def opened(self, request: Request) -> Opened:
        """Return what was sent, verified; raises GatewayError."""
        kept = {"Content-Type": "content-type", "SOAPAction": "soapaction"}
        headers = {name: request.headers.get(key, "") for name, key in kept.items()}
        return EBMS2.open(Parcel(headers, Octets(request.body)), self.context())

    def honest(self, request: Request) -> Reply:
        """Return the signed receipt of a message."""
        opened = self.opened(request)
        reply = self.sealed(EBMS2.receipt(opened, self.context()), opened)
        self.history[opened.unit.message_id] = reply
        return reply

    def sealed(self, unit: Unit, opened: Opened, signer: Signer | None = None) -> Reply:
        """Return a signal as the answer to a message."""
        context = self.context()
        if signer is not None:
            context = replace(context, keys=dict.fromkeys(context.keys, signer))
        parcel = EBMS2.seal((unit,), opened.pmode, context)
        return Reply(200, parcel.header("Content-Type"), content_of(parcel))


def _forger(there: Conversation) -> BrokerForger:
    if not isinstance(there.forger, BrokerForger):
        raise TypeError("this play is for a message handler")
    return there.forger


def _receipt(change: Callable[[Receipt], Unit], by: str = "") -> Callable[[Conversation], None]:
    def play(there: Conversation) -> None:
        forger = _forger(there)
        opened = forger.opened(there.request)
        unit = change(EBMS2.receipt(opened, forger.context()))
        there.answer(forger.sealed(unit, opened, getattr(forger, by) if by else None))

    return play


def _octets(change: Callable[[bytes], bytes]) -> Callable[[Conversation], None]:
    def play(there: Conversation) -> None:
        honest = there.honest()
        there.answer(replace(honest, body=change(honest.body)))

    return play


def _unsigned(octets: bytes) -> bytes:
    root = etree.fromstring(octets)
    for one in list(root.iter(f"{{{DS}}}Signature")):
        one.getparent().remove(one)  # type: ignore[union-attr]
    return etree.tostring(root)


def _replayed(there: Conversation) -> None:
    """Answer by the receipt of another message, as it was given then."""
    forger = _forger(there)
    here = forger.opened(there.request).unit.message_id
    earlier = [reply for name, reply in forger.history.items() if name != here]
    if earlier:
        there.answer(earlier[-1])
    else:
        _receipt(_of_another)(there)


def _error(there: Conversation, about: str = "") -> Reply:
    """Return a signed MessageError about what was sent, or about another message."""
    forger = _forger(there)
    opened = forger.opened(there.request)
    problem = GatewayError(SIGNATURE_INVALID, "the digest differs", "eb:Body")
    unit = EBMS2.error(problem, opened.unit, forger.context())
    if unit is None:
        raise LookupError("there is no such error")
    return forger.sealed(replace(unit, ref_to_message_id=about or unit.ref_to_message_id), opened)


def _error_of_another(there: Conversation) -> None:
    there.answer(_error(there, _ELSEWHERE))


def _signed_error(there: Conversation) -> None:
    there.answer(_error(there))


def _unsigned_error(there: Conversation) -> None:
    reply = _error(there)
    there.answer(replace(reply, body=_unsigned(reply.body)))


def _mirrored(there: Conversation) -> None:
    there.answer(Reply(200, there.request.headers.get("content-type", ""), there.request.body))


def _many_parts(there: Conversation) -> None:
    parts = b"--b\r\n\r\n\r\n" * 20_000 + b"--b--\r\n"
    there.answer(Reply(200, 'multipart/related; boundary=b; type="text/xml"', parts))


def _typed(octets: bytes) -> bytes:
    return b"<!DOCTYPE x>" + octets


def _as_it_is(unit: Receipt) -> Unit:
    return unit


def _without_digests(unit: Receipt) -> Unit:
    return replace(unit, references=())


def _of_another(unit: Receipt) -> Unit:
    return replace(unit, ref_to_message_id=_ELSEWHERE)


def _other_digest(unit: Receipt) -> Unit:
    first = replace(unit.references[0], digest=bytes(len(unit.references[0].digest)))
    return replace(unit, references=(first, *unit.references[1:]))


_ROWS: Final = (
    ("REP-07.unsigned-receipt", "the receipt without its signature", _octets(_unsigned)),
    (
        "REP-07.receipt-by-a-stranger",
        "a receipt by another authority's certificate",
        _receipt(_as_it_is, "stranger"),
    ),
    ("REP-07.receipt-by-another-party", "a receipt by another party", _receipt(_as_it_is, "other")),
    ("REP-07.receipt-of-another-message", "a receipt that names another message", _receipt(_of_another)),
    ("REP-07.receipt-of-other-octets", "a receipt with another digest", _receipt(_other_digest)),
    ("REP-07.receipt-of-nothing", "a receipt without digests", _receipt(_without_digests)),
    ("REP-07.replayed-receipt", "the receipt of another message, as it was given", _replayed),
    ("REP-07.unsigned-error", "an error that nobody signed", _unsigned_error),
    ("REP-07.error-of-another-message", "an error about another message", _error_of_another),
    ("APP-08.mirrored-message", "our own message, sent back", _mirrored),
    ("DOS-08.many-parts", "an answer of 20,000 empty parts", _many_parts),
    ("DOS-01.laughing-receipt", "a receipt with a document type", _octets(_typed)),
)

EBMS2_REPLIES: Final[tuple[ReplyPlay, ...]] = (
    *(ReplyPlay(name, title, "security.md", {"ebms2": "GW603"}, play) for name, title, play in _ROWS),
    ReplyPlay(
        "REP-07.signed-error",
        "the partner's own error: the delivery ends, the message is not acknowledged",
        "ebMS 2.0 §4.2.3",
        {"ebms2": "GW602"},
        _signed_error,
    ),
)
