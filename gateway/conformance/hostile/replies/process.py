"""A hostile partner as a process: its identity from a partner folder, its plays one after the other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lxml import etree

from gateway.conformance.agency import describe_service
from gateway.conformance.hostile.replies.cases import replies
from gateway.conformance.hostile.replies.ebms2 import BrokerForger
from gateway.conformance.hostile.replies.server import Forger, ReplyPlay, ReplyServer
from gateway.conformance.hostile.replies.soap import AgencyForger
from gateway.conformance.http import Request
from gateway.conformance.identity import now, read_file, read_identity
from gateway.conformance.journal import Journal
from gateway.conformance.membership import read_membership
from gateway.conformance.notices import acknowledged
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki.issue import Order, issue_certificate, make_authority
from gateway.pki.keys import Signer, load_signer
from gateway.wire.wsdl import Operation

__all__ = ["HostilePartner", "hostile_server"]

_PAST: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HostilePartner:
    """Who is played: a NAME of a partner folder, with the key of an `other` partner at hand.

    `face` is ``soap`` (a service of the WSDL named) or ``ebms2`` (a message handler).
    """

    partner: Path
    name: str
    other: str
    face: str
    wsdl: str = "agency-template.wsdl"


def hostile_server(who: HostilePartner, pattern: str, folder: Path, at: tuple[str, int]) -> ReplyServer:
    """Return a server that answers each request by the next of the plays that fit `pattern`.

    After the last one it begins anew.  Each is a row of ``plays.jsonl`` in `folder`, with
    what the client must come to.
    """
    chosen = replies(who.face, pattern)
    if not chosen:
        raise GatewayError(SETTINGS_WRONG, f"no play of {who.face} fits {pattern[:80]!r}", "--play")
    endless: Iterator[ReplyPlay] = itertools.cycle(chosen)
    turn = threading.Lock()
    journal = Journal(folder / "plays.jsonl")

    def choose(_: Request) -> ReplyPlay:
        with turn:
            return next(endless)

    def played(play: ReplyPlay, _: Request) -> None:
        row = {"play": play.id, "title": play.title, "outcome": play.outcome[who.face]}
        journal.write(row | {"at": now().isoformat(timespec="milliseconds")})

    return ReplyServer(_forger(who), choose, at[0], at[1], played=played)


def _forger(who: HostilePartner) -> Forger:
    signer = read_identity(who.partner, who.name).signer
    other = load_signer(
        read_file(who.partner / f"{who.other}.key.pem"), read_file(who.partner / f"{who.other}.cert.pem")
    )
    stranger = _stranger(signer)
    if who.face == "soap":
        return AgencyForger(describe_service(who.wsdl), signer, other, stranger, _taken, now)
    return BrokerForger(read_membership(who.partner, who.name).context, other, stranger)


def _stranger(signer: Signer) -> Signer:
    """Return a signer with the same subject, by an authority that nobody knows."""
    elsewhere = make_authority("CN=Nobody knows it", now() - _PAST, "p-256")
    order = Order(key_kind="p-256")
    return issue_certificate(elsewhere, signer.certificate.subject, now() - _PAST, order).signer


def _taken(operation: Operation) -> etree._Element:
    return acknowledged(operation.response, "R-1")
