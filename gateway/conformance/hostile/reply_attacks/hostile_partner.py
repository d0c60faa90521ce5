"""A hostile partner as a process: its identity is from a partner folder; its replies are in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from lxml import etree

from gateway.conformance.hostile.reply_attacks.ebms2_replies import EBMS2_REPLIES, BrokerReplyForger
from gateway.conformance.hostile.reply_attacks.octet_replies import OCTET_REPLIES
from gateway.conformance.hostile.reply_attacks.reply_server import ReplyForger, ReplyScenario, ReplyServer
from gateway.conformance.hostile.reply_attacks.soap_replies import SOAP_REPLIES, AgencyReplyForger
from gateway.conformance.partners import (
    IncomingRequest,
    Journal,
    build_acknowledgment,
    get_current_time,
    load_service_description,
    read_file,
    read_identity,
    read_membership,
)
from gateway.errors import MISUSE, GatewayError
from gateway.pki import CertificateOrder, Signer, issue_certificate, load_signer, make_authority
from gateway.wire import WsdlOperation

__all__ = ["REPLIES", "HostilePartner", "build_hostile_server", "select_replies"]

#: All hostile answers of this suite to a gateway that calls a partner.
REPLIES: Final[tuple[ReplyScenario, ...]] = (*SOAP_REPLIES, *OCTET_REPLIES, *EBMS2_REPLIES)

_PAST: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HostilePartner:
    """The identity of the partner: a NAME of a partner folder, and the key of an `other` partner.

    `face` is ``soap`` (a service of the WSDL named) or ``ebms2`` (a message handler).
    """

    partner: Path
    name: str
    other: str
    face: str
    wsdl: str = "agency-template.wsdl"


def select_replies(face: str, pattern: str = "*") -> tuple[ReplyScenario, ...]:
    """Return the replies of a face (``soap``, ``ebms2``) whose id matches a shell pattern."""
    return tuple(one for one in REPLIES if face in one.outcome and fnmatchcase(one.id, pattern))


def build_hostile_server(who: HostilePartner, pattern: str, folder: Path, at: tuple[str, int]) -> ReplyServer:
    """Return a server that answers each request with the next reply that matches `pattern`.

    After the last one the sequence starts again.  Each is a row of ``plays.jsonl`` in `folder`, with
    what the client must come to.
    """
    chosen = select_replies(who.face, pattern)
    if not chosen:
        raise GatewayError(MISUSE, f"no play of {who.face} fits {pattern[:80]!r}", "--play")
    endless: Iterator[ReplyScenario] = itertools.cycle(chosen)
    turn = threading.Lock()
    journal = Journal(folder / "plays.jsonl")

    def choose_scenario(_: IncomingRequest) -> ReplyScenario:
        with turn:
            return next(endless)

    def record_scenario(play: ReplyScenario, _: IncomingRequest) -> None:
        row = {"play": play.id, "title": play.title, "outcome": play.outcome[who.face]}
        journal.write(row | {"at": get_current_time().isoformat(timespec="milliseconds")})

    return ReplyServer(_build_reply_forger(who), choose_scenario, at[0], at[1], played=record_scenario)


def _build_reply_forger(who: HostilePartner) -> ReplyForger:
    signer = read_identity(who.partner, who.name).signer
    other = load_signer(
        read_file(who.partner / f"{who.other}.key.pem"), read_file(who.partner / f"{who.other}.cert.pem")
    )
    stranger = _issue_stranger(signer)
    if who.face == "soap":
        return AgencyReplyForger(
            load_service_description(who.wsdl),
            signer,
            other,
            stranger,
            _acknowledge_operation,
            get_current_time,
        )
    return BrokerReplyForger(read_membership(who.partner, who.name).build_context, other, stranger)


def _issue_stranger(signer: Signer) -> Signer:
    """Return a signer with the same subject, certified by an unknown authority."""
    elsewhere = make_authority("CN=Nobody knows it", get_current_time() - _PAST, "p-256")
    order = CertificateOrder(key_kind="p-256")
    return issue_certificate(elsewhere, signer.certificate.subject, get_current_time() - _PAST, order).signer


def _acknowledge_operation(operation: WsdlOperation) -> etree._Element:
    return build_acknowledgment(operation.response, "R-1")
