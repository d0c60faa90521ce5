"""The suite as a partner of a gateway of AS4: its keys, its agreements, and the endpoint where it listens."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.client import (
    HttpReply,
    IncomingRequest,
    Membership,
    PartnerServer,
    parse_listening_address,
    read_file,
    read_identity,
)
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.protocols import ProtocolContext, as4
from gateway_conformance import DATA_FOLDER
from gateway_conformance.as4.seen_message import SeenMessage
from gateway_conformance.partner_files import write_partner_files
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
)
from gateway_conformance.reports import ExchangeLog, record_message
from gateway_conformance.standard import InvitedGateway, fill_agreement, list_identity_files

#: The kinds of agreements, and the terms of each.
KINDS: Final[Mapping[str, str]] = {
    "main": "as the profile demands: signed, encrypted, compressed",
    "clear": "as main, without encryption",
    "pull": "what the gateway sends is pulled by the suite",
    "callback": "receipts and errors are posted to the suite",
    "login": "what the gateway sends is pulled by the suite with a name and a password",
    "sync": "the response is in the HTTP answer to the request",
}
_NAME: Final = "suite"
#: The file of a partner folder with the password by which the suite pulls.
SECRET_FILE: Final = "suite.password"  # noqa: S105  # a file name


@dataclass(frozen=True)
class As4Party:
    """The suite's identity and its agreements by kind; `password` is that by which it pulls, if any."""

    folder: Path
    agreements: Mapping[str, tuple[PMode, ...]]
    membership: Membership
    password: bytes = field(default=b"", repr=False)

    @property
    def endpoint(self) -> str | None:
        """Return where the gateway sends to the suite."""
        return self.membership.listening_endpoint

    def get_sending_pmode(self, kind: str, action: str) -> PMode:
        """Return the P-Mode by which the suite sends an action; raise LookupError where there is none."""
        for pmode in self.agreements.get(kind, ()):
            if pmode.from_party[0] in self.membership.own_identifiers and pmode.action == action:
                return pmode
        raise LookupError(f"the partner folder has no agreement {kind} with action {action[:80]}")

    def get_pulled_pmode(self, kind: str) -> PMode:
        """Return the P-Mode of the messages that the suite pulls; raise LookupError where there is none."""
        for pmode in self.agreements.get(kind, ()):
            if pmode.pull is not None and pmode.to_party[0] in self.membership.own_identifiers:
                return pmode
        raise LookupError(f"the partner folder has no agreement {kind} by which messages are pulled")

    def build_context(self) -> ProtocolContext:
        """Return the context of the protocol core, to seal, to verify and to answer."""
        context = self.membership.build_context()
        return replace(context, make_message_id=lambda: f"{uuid.uuid4()}@suite.invalid")


def read_as4_party(folder: Path) -> As4Party:
    """Read a partner folder; raise GW808 if the gateway's certificate or the main agreement is missing.

    The suite is the From party of the first P-Mode of the main agreement: it listens at that endpoint.
    """
    identity = read_identity(folder, _NAME)
    if not identity.hub_certificates:
        detail = "the folder has no certificate of the gateway, by which its signatures are verified"
        raise GatewayError(MISUSE, detail, str(folder / "hub.cert.pem"))
    files = {kind: folder / "agreements" / f"{kind}.yaml" for kind in KINDS}
    agreements = {
        kind: read_pmodes(read_file(path), path.name) for kind, path in files.items() if path.is_file()
    }
    if "main" not in agreements:
        raise GatewayError(MISUSE, "the folder has no agreements/main.yaml", str(folder))
    first = agreements["main"][0]
    sides: tuple[frozenset[PartyId], ...] = (frozenset(first.from_party), frozenset(first.to_party))
    index = PModeIndex(tuple(pmode for pmodes in agreements.values() for pmode in pmodes))
    password_path = folder / SECRET_FILE
    password = read_file(password_path).rstrip(b"\r\n") if password_path.is_file() else b""
    return As4Party(folder, agreements, Membership(identity, index, *sides), password)


AS4_PARTY: Final = "suite-as4"
AS4_PARTY_ID: Final = PartyId("suite-as4", "urn:oasis:names:tc:ebcore:partyid-type:unregistered:suite")
_PASSWORD_OCTETS: Final = 32
_SUBJECT: Final = "CN=Conformance suite{},O=Conformance suite"


@dataclass(frozen=True, slots=True)
class As4Invitation:
    """The files of a partner folder, the keys that the gateway must register, and the agreements by kind."""

    files: Mapping[str, bytes]
    issued: IssuedCertificate
    decryption: IssuedCertificate
    agreements: Mapping[str, bytes]

    @property
    def digests(self) -> Sequence[str]:
        """Return the SHA-256 of both certificates."""
        return [certified.certificate.sha256 for certified in (self.issued, self.decryption)]

    def write_files(self, out: Path) -> None:
        """Write every file below `out`, the keys readable by their owner alone; raises GW808."""
        write_partner_files(self.files, out)


def make_as4_invitation(
    authority: CertificationAuthority, gateway: InvitedGateway, callback: str, at: datetime
) -> As4Invitation:
    """Make keys and agreements for a gateway that trusts `authority`; the suite listens at `callback`."""
    order = CertificateOrder(key_kind="rsa-2048")
    issued = issue_certificate(authority, _SUBJECT.format(""), at, order)
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    decryption = issue_certificate(authority, _SUBJECT.format(" decrypts"), at, order)
    folder = DATA_FOLDER.joinpath("suites", "as4", "agreements")
    agreements = {
        file.name.removesuffix(".yaml"): fill_agreement(file.read_bytes(), gateway, callback.rstrip("/"), at)
        for file in sorted(folder.iterdir(), key=lambda path: path.name)
    }
    files = {
        **list_identity_files(authority, gateway, issued, decryption),
        SECRET_FILE: secrets.token_urlsafe(_PASSWORD_OCTETS).encode() + b"\n",
        **{f"agreements/{kind}.yaml": text for kind, text in agreements.items()},
    }
    return As4Invitation(files, issued, decryption, agreements)


_SILENT: Final = HttpReply(503, "text/plain", b"the suite says so\n")
_ACCEPTED: Final = HttpReply(204)


@dataclass
class As4Inbox:
    """The messages of one conversation; the first `silent_attempts` attempts get no receipt."""

    log: ExchangeLog
    silent_attempts: int = 0
    arrivals: list[SeenMessage] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, seconds: float) -> list[SeenMessage]:
        """Return the messages as soon as `count` have arrived, or after `seconds` seconds."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.arrivals) >= count, seconds)
            return list(self.arrivals)


class As4Listener:
    """Serves the endpoint of the suite, or `address`, the place behind a proxy."""

    def __init__(self, party: As4Party, address: str | None = None) -> None:
        self._party = party
        self._boxes: dict[str, As4Inbox] = {}
        self._lock = threading.Lock()
        host, port = _choose_listening_address(party.endpoint, address)
        self._server = PartnerServer(self._serve_request, host, port)
        self.port = self._server.port

    def start(self) -> None:
        """Start to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def open_inbox(self, conversation: str, log: ExchangeLog, silent: int = 0) -> As4Inbox:
        """Return a new inbox for the messages of a conversation, or for signals about a message by its id."""
        inbox = As4Inbox(log, silent)
        with self._lock:
            self._boxes[conversation] = inbox
        return inbox

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        seen = SeenMessage(request.headers, request.body)
        # A signal has no conversation: its inbox is that of the message which it is about.
        name = seen.conversation or seen.find_text("//eb3:SignalMessage/eb3:MessageInfo/eb3:RefToMessageId")
        with self._lock:
            inbox = self._boxes.get(name)
        if inbox is None:
            return self._answer(seen)
        sent = record_message(f"POST {request.path} HTTP/1.1", request.headers, request.body)
        with inbox.changed:
            reply = _SILENT if len(inbox.arrivals) < inbox.silent_attempts else self._answer(seen)
            head = {"Content-Type": reply.content_type}
            inbox.log.add_exchange(
                sent, record_message(f"HTTP/1.1 {reply.status}", head, reply.body), to_gateway=False
            )
            inbox.arrivals.append(seen)
            inbox.changed.notify_all()
        return reply

    def _answer(self, seen: SeenMessage) -> HttpReply:
        """Return a signed receipt, nothing for a signal, or the error of the core for a wrong message."""
        if seen.select("//eb3:SignalMessage"):
            return _ACCEPTED
        context = self._party.build_context()
        try:
            receipt = as4.make_receipt(seen.open(context), context)
            parcel = as4.seal((receipt,), None, context)
        except GatewayError as wrong:
            refusal = as4.reject_parcel(wrong, seen.parcel, context)
            if refusal.parcel is None:
                return HttpReply(refusal.http_status)
            parcel = refusal.parcel
        return HttpReply(200, parcel.get_header("Content-Type"), parcel.read_octets())


def _choose_listening_address(endpoint: str | None, address: str | None) -> tuple[str, int]:
    if address is not None:
        return parse_listening_address(address)
    parts = urlsplit(endpoint or "//127.0.0.1:0")
    return parts.hostname or "127.0.0.1", 80 if parts.port is None else parts.port
