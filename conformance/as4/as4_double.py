"""A simulated gateway of AS4 for trying the suite itself: a right one, and doubles that do one thing wrong.

A suite that finds nothing wrong with a wrong gateway is worth nothing. Each double must be found out.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from gateway.agreements import PMode
from gateway.client import HttpReply, IncomingRequest, Membership, read_file
from gateway.errors import NOT_SUPPORTED, NOTHING_TO_PULL, PULL_REFUSED, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Payload, PullRequest, Receipt, UserMessage
from gateway.pki import load_decryption_key, load_signer, read_certificate
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, as4
from gateway.wire import DEFAULT_LIMITS, EB3
from gateway_conformance.as4.as4_assertion import GatewayDeclarations
from gateway_conformance.as4.as4_party import As4Party, read_as4_party
from gateway_conformance.as4.draft_message import DraftMessage, sign_again
from gateway_conformance.as4.seen_message import SeenMessage
from gateway_conformance.hostile import HttpRequest, make_endpoint_target
from gateway_conformance.partner_files import make_stranger

#: After this time a message without receipt is given again.
_AGAIN: Final = 0.6
#: The faults of a double with its channel.
CHANNEL_WAYS: Final = (
    "never-gives",
    "never-again",
    "gives-twice",
    "keeps-pulled",
    "gives-to-anyone",
    "any-password",
    "forgets-logins",
    "silent-channel",
)


@dataclass
class _WaitingMessage:
    message_id: str
    parcel: Parcel
    given_at: float | None = None


@dataclass
class DoubleChannel:
    """The messages that wait to be pulled, the oldest first; `fault_name` names the fault of the double."""

    fault_name: str = ""
    _waiting: list[_WaitingMessage] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_message(self, message_id: str, parcel: Parcel) -> None:
        """Let a message wait."""
        if self.fault_name != "never-gives":
            with self._lock:
                self._waiting.append(_WaitingMessage(message_id, parcel))

    def end_message(self, message_id: str) -> None:
        """Take a message out, after its receipt or an error about it."""
        if self.fault_name != "keeps-pulled":
            with self._lock:
                self._waiting = [message for message in self._waiting if message.message_id != message_id]

    def give_message(self) -> Parcel | None:
        """Return the oldest message that was never given, or was given so long ago that it is given again."""
        with self._lock:
            for message in self._waiting:
                if message.given_at is None or self._is_due_again(message.given_at):
                    message.given_at = time.monotonic()
                    return message.parcel
        return None

    def _is_due_again(self, given_at: float) -> bool:
        if self.fault_name == "gives-twice":
            return True
        return self.fault_name != "never-again" and time.monotonic() > given_at + _AGAIN


_XML: Final = '<?xml version="1.0" encoding="{}"?><result xmlns="urn:example:result">{}</result>'
_NOTHING: Final = HttpReply(200, "text/plain", b"")
#: How long the double waits before a repeat, and how often it repeats.
_INTERVAL: Final = 0.2
_ATTEMPTS: Final = 3
_ENDLESS: Final = 40
#: The kinds of agreements whose messages are pulled from it, and the name by which the suite logs in.
_PULLED: Final = ("pull", "login")
_LOGIN: Final = GatewayDeclarations().login
_AES_256: Final = ("http://www.w3.org/2009/xmlenc11#aes256-gcm", "http://www.w3.org/2009/xmlenc11#rsa-oaep")
#: The faults of a double when it receives.
_RECEIVING: Final = (
    "always-200",
    "always-refuses",
    "takes-everything",
    "unsigned-receipt",
    "missing-digest",
    "body-unsigned",
    "same-id",
    "other-code",
    "bare-errors",
    "forgets-receipts",
    "keeps-nothing",
    "delivers-compressed",
    "delivers-pings",
    "no-bom",
    "no-properties",
    "no-simple-soap",
    "no-uncompressed",
    "loses-properties",
    "answers-at-once",
    "no-response",
    "bare-response",
    *CHANNEL_WAYS,
)
#: Doubles that are named after the change of the messages that they send.
_SENT_CHANGES: Final = (
    "two-party-ids",
    "payload-in-body",
    "no-mime-type",
    "no-compression-type",
    "no-charset",
    "swapped-parts",
    "other-reference",
    "other-conversation",
    "bad-message-id",
    "other-role",
    "other-service",
)
#: The other faults of a double when it sends.
_SENDING: Final = (
    "uncompressed",
    "unencrypted",
    "other-cipher",
    "other-mask",
    "parts-unsigned",
    "stranger",
    "never-repeats",
    "never-stops",
    "one-payload",
    "tells-nobody",
)
WRONG_WAYS: Final = (*_RECEIVING, *_SENT_CHANGES, *_SENDING)


@dataclass
class As4Double:
    """Answers POSTs as a gateway with one fault, `fault_name`; without one as a gateway that does right.

    Files in `folder` record the payloads that the double delivers and the notifications that it gives to its
    producer and its consumer. A POST to ``/control/KIND/CONVERSATION`` makes the double send a message.
    """

    party: As4Party
    folder: Path
    fault_name: str = ""
    _replies: dict[str, tuple[str, HttpReply]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _channels: dict[str, DoubleChannel] = field(init=False)
    _logins: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._channels = {kind: DoubleChannel(self.fault_name) for kind in _PULLED}

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one POST."""
        if request.path.startswith("/control/"):
            kind, conversation = request.path.split("/")[2:4]
            self._send_later(kind, conversation, None)
            return _NOTHING
        if self.fault_name == "always-200":
            return _NOTHING
        if self.fault_name == "always-refuses":
            return HttpReply(500, "text/plain", b"not now\n")
        parcel = Parcel({"Content-Type": request.headers.get("content-type", "")}, MemoryBody(request.body))
        context, seen = self.party.build_context(), SeenMessage(request.headers, request.body)
        posted = self._get_agreement_kind(seen.find_text("//eb3:AgreementRef")) == "callback"
        try:
            if seen.select("//eb3:SignalMessage"):
                return self._answer_signal(parcel, seen, context)
            reply = self._answer_message(as4.open_units(parcel, context), context)
        except GatewayError as problem:
            reply = self._answer_refusal(problem, parcel, context)
        return self._post_later(reply) if posted and self.fault_name != "answers-at-once" else reply

    @staticmethod
    def _get_agreement_kind(agreement: str) -> str:
        return agreement.rpartition(":")[2]

    def _post_later(self, reply: HttpReply) -> HttpReply:
        """Post an answer to the suite by a connection of its own."""
        target = make_endpoint_target(self.party.agreements["callback"][0].reply_endpoint or "")
        request = HttpRequest("ebms2", {"Content-Type": reply.content_type}, reply.body)
        threading.Thread(target=target.send, args=(request,), daemon=True).start()
        return HttpReply(204)

    def _answer_signal(self, parcel: Parcel, seen: SeenMessage, context: ProtocolContext) -> HttpReply:
        """Take a signal about a message of the double; answer a PullRequest with the next waiting message."""
        for reference in seen.select("//eb3:SignalMessage[not(eb3:PullRequest)]//eb3:RefToMessageId/text()"):
            for channel in self._channels.values():
                channel.end_message(str(reference))
        if not seen.select("//eb3:PullRequest"):
            return HttpReply(204)
        kind = self._find_channel(seen)
        if self.fault_name == "gives-to-anyone":
            kind = kind or "pull"
        elif kind == "login":
            self._authorize_login(parcel, seen, context)
        else:
            self._authorize_puller(as4.verify_parcel(parcel, "strict", context))
        outgoing = self._channels[kind].give_message()
        if outgoing is not None:
            return HttpReply(200, outgoing.get_header("Content-Type"), outgoing.read_octets())
        if self.fault_name == "silent-channel":
            return HttpReply(204)
        raise GatewayError(NOTHING_TO_PULL, "nothing waits")

    def _find_channel(self, seen: SeenMessage) -> str:
        """Return the kind of the agreement whose channel a PullRequest names; empty for none."""
        channel = seen.find_text("//eb3:PullRequest/@mpc")
        return next((kind for kind in _PULLED if self._get_pulled_pmode(kind).pull_channel == channel), "")

    def _get_pulled_pmode(self, agreement_kind: str) -> PMode:
        return next(pmode for pmode in self.party.agreements[agreement_kind] if pmode.pull is not None)

    def _authorize_login(self, parcel: Parcel, seen: SeenMessage, context: ProtocolContext) -> None:
        """Raise for a wrong name or password, or a login that came before."""
        if self.fault_name == "any-password" and seen.select("//wsse:UsernameToken"):
            return
        passwords = {
            _LOGIN: (context.get_party_name(self._get_pulled_pmode("login").receiver), self.party.password)
        }
        opened = as4.open_units(parcel, replace(context, find_pull_login=passwords.get))
        login = opened.unit.login_digest if isinstance(opened.unit, PullRequest) else ""
        with self._lock:
            if login in self._logins and self.fault_name != "forgets-logins":
                raise GatewayError(PULL_REFUSED, "this login came before")
            self._logins.add(login)

    def _authorize_puller(self, opened: OpenedMessage) -> None:
        trusted = self.party.membership.identity.hub_certificates
        signer = "" if opened.verified_signature is None else opened.verified_signature.certificate.sha256
        channels = {pmode.pull_channel for pmode in self.party.agreements["pull"] if pmode.pull is not None}
        channel = opened.unit.mpc if isinstance(opened.unit, PullRequest) else None
        if signer not in trusted or channel not in channels:
            raise GatewayError(PULL_REFUSED, "this channel is not yours")

    def _answer_message(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        unit = opened.unit
        if not isinstance(unit, UserMessage):
            return HttpReply(204)
        self._refuse_wrongly(unit, opened)
        with self._lock:
            earlier = self._replies.get(unit.message_id)
        if earlier is not None:
            if earlier[0] != opened.identity and self.fault_name != "takes-everything":
                return HttpReply(500, "text/plain", b"another message has this id\n")
            return (
                HttpReply(500, "text/plain", b"known\n")
                if self.fault_name == "forgets-receipts"
                else earlier[1]
            )
        receipt = as4.make_receipt(opened, context)
        reply = self._write_receipt(receipt, context)
        with self._lock:
            self._replies[unit.message_id] = (opened.identity, reply)
        self._record_delivery(unit)
        if unit.action == "Submit":
            return self._send_response(unit, receipt, context) or reply
        return reply

    def _send_response(
        self, unit: UserMessage, receipt: Receipt, context: ProtocolContext
    ) -> HttpReply | None:
        """Send the response to a request as its agreement says: pulled, by POST, or in the HTTP answer.

        Return the HTTP answer that contains the response; None where the response goes another way.
        """
        agreement_kind = self._get_agreement_kind(unit.agreement)
        if agreement_kind in _PULLED:
            draft = self._make_draft("command", unit.conversation_id, None, agreement_kind)
            self._channels[agreement_kind].add_message(draft.unit.message_id, draft.build_parcel())
            return None
        if agreement_kind != "sync":
            self._send_later("command", unit.conversation_id, unit.message_id)
            return None
        if self.fault_name == "no-response":
            return None
        reference = "another@suite.invalid" if self.fault_name == "other-reference" else unit.message_id
        draft = self._make_draft("command", unit.conversation_id, reference, agreement_kind)
        bundled = () if self.fault_name == "bare-response" else (receipt,)
        parcel = as4.seal((draft.unit, *bundled), draft.pmode, context)
        return HttpReply(200, parcel.get_header("Content-Type"), parcel.read_octets())

    def _refuse_wrongly(self, unit: UserMessage, opened: OpenedMessage) -> None:
        """Raise GatewayError for a correct message, where the fault of the double is to refuse it."""
        octets = opened.parcel.read_octets()
        reasons = {
            "no-bom": b"\xef\xbb\xbf<" in octets,
            "no-properties": bool(unit.properties),
            "no-simple-soap": not unit.payloads,
            "no-uncompressed": bool(unit.payloads)
            and not any(part.compressed for part in opened.unwrapped_parts),
        }
        if reasons.get(self.fault_name, False):
            raise GatewayError(NOT_SUPPORTED, "the double refuses it")

    def _write_receipt(self, receipt: Receipt, context: ProtocolContext) -> HttpReply:
        if self.fault_name == "missing-digest":
            receipt = replace(receipt, references=receipt.references[:-1])
        if self.fault_name == "same-id" and receipt.ref_to_message_id:
            receipt = replace(receipt, message_id=receipt.ref_to_message_id)
        parcel = as4.seal((receipt,), None, context)
        signer = self.party.membership.identity.signer
        if self.fault_name == "unsigned-receipt":
            parcel = sign_again(parcel, None)
        if self.fault_name == "body-unsigned":
            parcel = sign_again(parcel, signer, frozenset({"body-"}))
        return HttpReply(200, parcel.get_header("Content-Type"), parcel.read_octets())

    def _answer_refusal(self, problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> HttpReply:
        if self.fault_name == "takes-everything":
            return self._acknowledge_unverified(parcel, context)
        refusal = as4.reject_parcel(problem, parcel, context)
        unit = refusal.error_signal
        if isinstance(unit, ErrorSignal):
            self._write_file("consumer", unit.ref_to_message_id or "", f"{unit.errors[0].code}\n")
            if self.fault_name in ("other-code", "bare-errors"):
                unit = _change_error(unit, self.fault_name)
                sealed = as4.seal((unit,), None, context)
                return HttpReply(200, sealed.get_header("Content-Type"), sealed.read_octets())
        if refusal.parcel is None:
            return HttpReply(refusal.http_status)
        return HttpReply(
            refusal.http_status, refusal.parcel.get_header("Content-Type"), refusal.parcel.read_octets()
        )

    def _acknowledge_unverified(self, parcel: Parcel, context: ProtocolContext) -> HttpReply:
        try:
            sent: SentUnit = as4.read_sent_unit(parcel, DEFAULT_LIMITS)
        except GatewayError:
            return _NOTHING
        if not sent.references or not isinstance(sent.unit, UserMessage):
            return _NOTHING
        opened = OpenedMessage((sent.unit,), None, None, parcel, "")
        receipt = replace(as4.make_receipt(opened, context), references=sent.references)
        return self._write_receipt(receipt, context)

    def _record_delivery(self, unit: UserMessage) -> None:
        if self.fault_name == "keeps-nothing" or (
            unit.service == f"{EB3}service" and self.fault_name != "delivers-pings"
        ):
            self._write_file("delivered", unit.message_id, "nothing\n")
            return
        if self.fault_name != "loses-properties":
            text = "".join(f"{prop.name} {prop.value}\n" for prop in unit.properties)
            self._write_file("properties", unit.message_id, text)
        contents = [payload.content for payload in unit.payloads]
        if self.fault_name == "delivers-compressed":
            contents = [gzip.compress(content, mtime=0) for content in contents]
        text = "".join(f"{hashlib.sha256(content).hexdigest()}\n" for content in contents)
        self._write_file("delivered", unit.message_id, text)

    def _write_file(self, folder_name: str, message_id: str, content: str) -> None:
        if self.fault_name == "tells-nobody" and folder_name != "delivered":
            content = "nothing\n"
        folder = self.folder / folder_name
        folder.mkdir(exist_ok=True)
        (folder / hashlib.sha256(message_id.encode()).hexdigest()).write_text(content, encoding="utf-8")

    # Sending.

    def _send_later(self, command: str, conversation: str, reference: str | None) -> None:
        threading.Thread(
            target=self._send_with_repeats, args=(command, conversation, reference), daemon=True
        ).start()

    def _send_with_repeats(self, command: str, conversation: str, reference: str | None) -> None:
        draft = self._make_draft(command, conversation, reference)
        parcel = draft.build_parcel()
        target = make_endpoint_target(draft.pmode.endpoint or "")
        headers = {"Content-Type": parcel.get_header("Content-Type")}
        attempts = {"never-repeats": 1, "never-stops": _ENDLESS}.get(self.fault_name, _ATTEMPTS)
        for _ in range(attempts):
            answer = target.send(HttpRequest("ebms2", headers, parcel.read_octets()))
            if answer.status == 200 and self.fault_name != "never-stops":
                return
            time.sleep(_INTERVAL)
        self._write_file("producer", draft.unit.message_id, "EBMS:0301 MissingReceipt\n")

    def _make_draft(
        self, command: str, conversation: str, reference: str | None, agreement: str = "main"
    ) -> DraftMessage:
        context = self.party.build_context()
        action = f"{EB3}test" if command == "ping" else "Result"
        pmode = self.party.get_sending_pmode(agreement, action)
        if self.fault_name == "uncompressed":
            pmode = replace(pmode, packaging=None)
        if self.fault_name == "unencrypted":
            pmode = replace(pmode, encryption=None)
        elif self.fault_name == "other-cipher" and pmode.encryption is not None:
            pmode = replace(pmode, encryption=replace(pmode.encryption, algorithms=_AES_256))
        signer = self.party.membership.identity.signer
        unit = UserMessage(
            message_id=context.make_message_id(),
            conversation_id=conversation,
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now.replace(microsecond=0),
            service=pmode.service,
            action=action,
            ref_to_message_id=reference,
            payloads=_make_payloads("one" if self.fault_name == "one-payload" else command),
        )
        return DraftMessage(
            unit,
            pmode,
            context,
            make_stranger(context.now.year, key_kind="rsa-2048").signer
            if self.fault_name == "stranger"
            else signer,
            (self.fault_name,) if self.fault_name in _SENT_CHANGES else (),
            unsigned_prefixes=frozenset({"parts"} if self.fault_name == "parts-unsigned" else ()),
            change_encryption_header=_change_mask if self.fault_name == "other-mask" else None,
        )


def _change_mask(encryption_header: str) -> str:
    return encryption_header.replace("mgf1sha256", "mgf1sha1")


def _change_error(signal: ErrorSignal, fault_name: str) -> ErrorSignal:
    """Return an error with another code, or one that names no message and is only a warning."""
    if fault_name == "other-code":
        return replace(signal, errors=tuple(replace(error, code="EBMS:0004") for error in signal.errors))
    errors = tuple(replace(error, category="", origin="", title="") for error in signal.errors)
    return replace(signal, errors=errors, ref_to_message_id=None)


def _make_payloads(command: str) -> tuple[Payload, ...]:
    encoding = "UTF-16" if command == "utf16" else "UTF-8"
    document = _XML.format(encoding, "1").encode(encoding)
    payloads = [Payload("p1@double.invalid", "application/xml", document, (("CharacterSet", encoding),))]
    if command == "several":
        payloads += [
            Payload(f"p{number}@double.invalid", "text/plain", f"part {number}".encode()) for number in (2, 3)
        ]
    return tuple(payloads)


def read_as4_double(
    folder: Path, key_path: Path, certificate_path: Path, output_folder: Path, fault_name: str
) -> As4Double:
    """Return the gateway of a partner folder, with the key of that gateway; raise GW808 for bad files.

    NAME.decryption.key.pem and its certificate are beside NAME.key.pem. `output_folder` is the folder of its
    files.
    """
    suite = read_as4_party(folder)
    name = key_path.name.removesuffix(".key.pem")
    decryption_key_path, decryption_certificate_path = (
        key_path.with_name(f"{name}.decryption.{suffix}.pem") for suffix in ("key", "cert")
    )
    suite_identity = suite.membership.identity
    identity: Any = replace(
        suite_identity,
        signer=load_signer(read_file(key_path), read_file(certificate_path)),
        hub_certificates=frozenset({suite_identity.signer.certificate.sha256}),
        encryption_certificate=read_certificate(read_file(folder / "suite.decryption.cert.pem")),
        decryption_key=load_decryption_key(
            read_file(decryption_key_path), read_file(decryption_certificate_path)
        ),
    )
    reversed_sides = Membership(
        identity, suite.membership.book, suite.membership.hub_identifiers, suite.membership.own_identifiers
    )
    return As4Double(replace(suite, membership=reversed_sides), output_folder, fault_name)
