"""The attacker's means: keys of two members and of strangers, agreements, a clock, an id source.

A kit makes honest messages and calls, and changes them by hooks at each stage. Its data are in
a partner folder, so that the suite can attack any gateway.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from lxml import etree

from gateway.client import OWN_PARTY, Membership, get_current_time, read_file, read_membership
from gateway.errors import MISUSE, GatewayError, describe_exception
from gateway.message_model import Payload, Ping, Receipt, Unit, UserMessage
from gateway.pki import Certificate, Signer, load_signer
from gateway.protocols import SOAP_ACTION, Parcel, ProtocolContext
from gateway.wire import SERVICE_AGENCY, SERVICE_CUSTOMS, AddressingHeaders, parse_xml
from gateway_conformance.hostile.exchange import FACES, FaceAddress, HttpRequest, NotOfferedError
from gateway_conformance.hostile.message_mutation import MutatedAs4Message, MutatedCall, MutatedMessage
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
)

SignalT = TypeVar("SignalT")

MEMBERS: Final = ("a", "b")
_PATHS: Final = {
    "ebms2": "/msh/ebms2",
    "as4": "/msh/as4",
    "soap": "/soap/agency",
    "customs": "/soap/customs",
}
#: Optional keys of a partner folder: certificates of member A that must not be accepted.
_OPTIONAL_KEYS: Final = ("expired", "revoked", "encryption")
_PAYLOADS: Final = (
    ("application/xml", "<신고><품목 번호='1'>튤립 구근</품목></신고>".encode()),
    ("application/octet-stream", bytes(range(256))),
)


@dataclass(frozen=True)
class AttackerKit:
    """The attacker's means; makes honest and hostile messages and calls.

    `signers` by name: members ``a`` and ``b``, ``agency``, ``customs``, ``stranger`` (another authority,
    A's subject), ``selfsigned`` (A's subject), and if the partner folder has them ``expired``, ``revoked``
    and ``encryption`` (registered for A).  `stranger_authority` is the stranger's authority, to issue more.
    `application_number` is a number about which the agency may make a call (Acknowledge) again and again,
    `receipt_number` the receipt number in that call.  `case_number` is the number of a case about which
    customs may make a call (ReportAnswer) again and again.  `features` are those that the gateway has
    according to the caller. `encryption_certificate` is the certificate for which payloads of the gateway are
    encrypted. `as4_members` are the members by their agreements of AS4, empty where the partner folder has
    none.
    """

    members: Mapping[str, Membership]
    signers: Mapping[str, Signer]
    stranger_authority: CertificationAuthority
    faces: Mapping[str, FaceAddress]
    application_number: str
    receipt_number: str
    features: frozenset[str] = frozenset()
    encryption_certificate: Certificate | None = None
    case_number: str = ""
    as4_members: Mapping[str, Membership] = field(default_factory=dict)
    clock: Callable[[], datetime] = get_current_time
    make_uuid: Callable[[], uuid.UUID] = field(default=uuid.uuid4)

    def get_current_time(self) -> datetime:
        """Return the time, to the millisecond."""
        at = self.clock().astimezone(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def write_issue_time(self) -> str:
        """Return the time of issue of a notice: the first instant of the day, so a repeat is the same."""
        return f"{self.clock().astimezone(UTC):%Y-%m-%d}T00:00:00Z"

    def make_message_id(self, member: str = "a") -> str:
        """Return a new message id of a member."""
        return f"{self.make_uuid()}@{member}.suite.invalid"

    def get_signer(self, name: str | Signer) -> Signer:
        """Return the signer of that name (or the given one); raises `NotOfferedError` when it is missing."""
        if not isinstance(name, str):
            return name
        if name not in self.signers:
            raise NotOfferedError(f"the partner folder has no key {name!r}")
        return self.signers[name]

    def build_context(self, member: str = "a") -> ProtocolContext:
        """Return the context of a member for the protocol core, to open answers of the gateway."""
        membership = self.members[member]
        return replace(
            membership.build_context(),
            now=self.get_current_time(),
            make_message_id=lambda: self.make_message_id(member),
        )

    def make_unit(self, member: str = "a", action: str = "Store", **changes: Any) -> UserMessage:
        """Return an honest business message of a member to the gateway, with two payloads; then `changes`."""
        message_id = changes.pop("message_id", None) or self.make_message_id(member)
        at = self.get_current_time()
        payloads = tuple(
            Payload(f"p{number}.{message_id}", media_type, content)
            for number, (media_type, content) in enumerate(_PAYLOADS, 1)
        )
        honest = {"expires_at": at + timedelta(hours=1), "payloads": payloads}
        return self.members[member].make_user_message(action, message_id, at, **honest | changes)

    def make_signal(self, kind: Callable[..., SignalT], member: str = "a", **fields: Any) -> SignalT:
        """Return a unit of any kind from a member to the gateway, with these further or other fields."""
        pmode = self.members[member].get_outgoing_pmode("Store", self.get_current_time())
        message_id = fields.pop("message_id", None) or self.make_message_id(member)
        agreed = {
            "message_id": message_id,
            "conversation_id": f"c-{message_id}",
            "sender": pmode.sender,
            "receiver": pmode.receiver,
            "agreement": pmode.agreement,
            "timestamp": self.get_current_time(),
        }
        return kind(**agreed | fields)

    def make_receipt(self, ref_to: str, member: str = "a", **changes: Any) -> Receipt:
        """Return an Acknowledgment by a member of the gateway's message `ref_to`."""
        honest = {"conversation_id": f"c-{ref_to}", "ref_to_message_id": ref_to}
        return self.make_signal(
            Receipt, member, **{**honest, "received_at": self.get_current_time(), **changes}
        )

    def make_ping(self, member: str = "a", **changes: Any) -> Ping:
        """Return a Ping of a member."""
        pmode = self.members[member].get_outgoing_pmode("Store", self.get_current_time())
        return self.make_signal(Ping, member, **{"sync_reply": pmode.sync_reply_mode != "none", **changes})

    def build_parcel(
        self,
        unit: Unit | None = None,
        member: str = "a",
        *,
        signer: str | Signer | None = None,
        signed: bool = True,
        **hooks: Any,
    ) -> Parcel:
        """Return a message as HTTP carries it; `hooks` are those of `MutatedMessage`.

        Without `unit` it is an honest message of `member`. Without `signer` the member signs,
        unless `signed` is false.
        """
        key = self.get_signer(signer or member) if signed else None
        return MutatedMessage(self.make_unit(member) if unit is None else unit, key, **hooks).build_parcel()

    def wrap_parcel(self, parcel: Parcel, headers: Mapping[str, str] | None = None) -> HttpRequest:
        """Return the request that carries `parcel`, with further or other `headers`."""
        return HttpRequest(
            "ebms2",
            {"SOAPAction": SOAP_ACTION, **parcel.headers, **(headers or {})},
            parcel.read_octets(),
        )

    def build_message(self, unit: Unit | None = None, member: str = "a", **hooks: Any) -> HttpRequest:
        """Return the request that `build_parcel` and `wrap_parcel` make together."""
        return self.wrap_parcel(self.build_parcel(unit, member, **hooks))

    def build_call(
        self,
        operation: str = "Acknowledge",
        content: etree._Element | str | None = None,
        *,
        signer: str | Signer = "agency",
        signed: bool = True,
        addressing: Mapping[str, Any] | None = None,
        **hooks: Any,
    ) -> HttpRequest:
        """Return a signed call of the gateway's service for agencies; `hooks` are those of `MutatedCall`.

        `content` is the element in the Body, or the content of the operation's element. Without
        it the call acknowledges an application that was sent to this agency.
        `addressing` changes fields of the WS-Addressing headers (``action``, ``message_id``,
        ``to``, ``relates_to``).
        """
        values = AddressingHeaders(f"{SERVICE_AGENCY}:{operation}", f"urn:uuid:{self.make_uuid()}")
        body = self._build_call_content(operation, content)
        key = self.get_signer(signer) if signed else None
        return self._wrap_call("soap", body, replace(values, **(addressing or {})), key, hooks)

    def build_customs_call(
        self,
        operation: str = "ReportAnswer",
        content: etree._Element | str | None = None,
        *,
        signer: str | Signer = "customs",
        signed: bool = True,
        addressing: Mapping[str, Any] | None = None,
        **hooks: Any,
    ) -> HttpRequest:
        """Return a signed call of the gateway's service for customs, with the parameters of `build_call`.

        Without `content` the call says that customs accepts (R24) the message about the suite's case.
        """
        if not self.case_number:
            raise NotOfferedError("the partner folder names no case for calls of customs")
        values = AddressingHeaders(f"{SERVICE_CUSTOMS}:{operation}", f"urn:uuid:{self.make_uuid()}")
        body = content
        if not isinstance(body, etree._Element):
            notice = self.build_customs_notice() if body is None else body
            body = parse_xml(f'<{operation} xmlns="{SERVICE_CUSTOMS}">{notice}</{operation}>'.encode())
        key = self.get_signer(signer) if signed else None
        return self._wrap_call("customs", body, replace(values, **(addressing or {})), key, hooks)

    def build_customs_notice(self, **changes: str) -> str:
        """Return the content of an answer of customs about the suite's case, with other or further fields."""
        issued = self.write_issue_time()
        defaults = {
            "CaseNumber": self.case_number,
            "NoticeNumber": f"SUITE-C1-{issued[:10]}",
            "IssuedAt": issued,
        }
        notice_fields = {**defaults, "ResultCode": "R24", **changes}
        return "".join(f"<{name}>{value}</{name}>" for name, value in notice_fields.items())

    def _wrap_call(
        self,
        face: str,
        content: etree._Element,
        values: AddressingHeaders,
        signer: Signer | None,
        hooks: dict[str, Any],
    ) -> HttpRequest:
        at = hooks.pop("now", None) or self.get_current_time()
        mutated_call = MutatedCall(content, values, signer, at, **hooks)
        return HttpRequest(face, mutated_call.http_headers, mutated_call.build_octets())

    def _build_call_content(self, operation: str, content: etree._Element | str | None) -> etree._Element:
        if isinstance(content, etree._Element):
            return content
        if content is None:
            if not self.application_number:
                raise NotOfferedError("the partner folder names no application for calls of the agency")
            content = (
                f"<ApplicationNumber>{self.application_number}</ApplicationNumber>"
                f"<ReceiptNumber>{self.receipt_number}</ReceiptNumber>"
            )
        return parse_xml(f'<{operation} xmlns="{SERVICE_AGENCY}">{content}</{operation}>'.encode())


@dataclass(frozen=True)
class As4Kit(AttackerKit):
    """A kit whose messages and calls are messages of AS4.

    An attack on a message and one on a call are both an attack on a message here: its header is that of a
    message, its Security header that of a call.
    """

    def get_signer(self, name: str | Signer) -> Signer:
        """Return the signer of that name; a caller is member A here."""
        return super().get_signer("a" if name == "agency" else name)

    def build_parcel(
        self,
        unit: Unit | None = None,
        member: str = "a",
        *,
        signer: str | Signer | None = None,
        signed: bool = True,
        **hooks: Any,
    ) -> Parcel:
        """Return a message as HTTP carries it; `hooks` are those of `MutatedAs4Message`."""
        key = self.get_signer(signer or member)
        unit = self.make_unit(member) if unit is None else unit
        context = replace(self.build_context(member), signers={OWN_PARTY: key})
        pmode = None
        if isinstance(unit, UserMessage):
            pmode = self.members[member].get_outgoing_pmode(unit.action, self.get_current_time())
        try:
            mutated_message = MutatedAs4Message(unit, key if signed else None, pmode, context, **hooks)
        except TypeError as missing:
            raise NotOfferedError(f"a message of AS4 has no such stage: {missing}") from None
        return mutated_message.build_parcel()

    def wrap_parcel(self, parcel: Parcel, headers: Mapping[str, str] | None = None) -> HttpRequest:
        """Return the request that carries `parcel`, with further or other `headers`."""
        return HttpRequest("as4", {**parcel.headers, **(headers or {})}, parcel.read_octets())

    def build_call(
        self,
        operation: str = "",
        content: etree._Element | str | None = None,
        *,
        signer: str | Signer = "agency",
        signed: bool = True,
        addressing: Mapping[str, Any] | None = None,
        **hooks: Any,
    ) -> HttpRequest:
        """Return a message where an attack has a call without content of its own; raise `NotOfferedError`."""
        if operation or content is not None or addressing:
            raise NotOfferedError("a message of AS4 has no operation and no addressing")
        return self.build_message(signer=signer, signed=signed, **hooks)


def make_as4_kit(kit: AttackerKit) -> As4Kit:
    """Return the kit for AS4; raise `NotOfferedError` when its partner folder has no agreement by AS4."""
    if not kit.as4_members:
        raise NotOfferedError("the partner folder has no agreement by AS4")
    values = {field.name: getattr(kit, field.name) for field in fields(kit)}
    return As4Kit(**values | {"members": kit.as4_members})


def read_attacker_kit(
    folder: Path,
    clock: Callable[[], datetime] = get_current_time,
    make_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
) -> AttackerKit:
    """Return the kit of a partner folder; strangers, which no gateway knows, get new keys."""
    members = {
        name: read_membership(folder, name, folder / f"{name}.agreement.yaml", sent_action="Store")
        for name in MEMBERS
    }
    as4_members = {
        name: read_membership(folder, name, folder / f"{name}.as4.agreement.yaml", sent_action="Store")
        for name in MEMBERS
        if (folder / f"{name}.as4.agreement.yaml").is_file()
    }
    if not members["a"].identity.hub_certificates:
        detail = "the folder has no certificate of the gateway, by which its receipts are verified"
        raise GatewayError(MISUSE, detail, str(folder / "hub.cert.pem"))
    signers: dict[str, Signer] = {name: member.identity.signer for name, member in members.items()}
    for name in ("agency", "customs", *_OPTIONAL_KEYS):
        if (folder / f"{name}.key.pem").is_file():
            signers[name] = load_signer(
                read_file(folder / f"{name}.key.pem"), read_file(folder / f"{name}.cert.pem")
            )
    subject = signers["a"].certificate.subject
    authority_and_signer, self_signed = _make_strangers(subject, clock())
    signers["stranger"], signers["selfsigned"] = authority_and_signer[1], self_signed
    settings = _load_suite_settings(folder)
    soap = settings.get("soap", {})
    return AttackerKit(
        members=members,
        signers=signers,
        stranger_authority=authority_and_signer[0],
        faces={name: _read_face_address(settings.get(name, {}), _PATHS[name]) for name in FACES},
        application_number=str(soap.get("application", "")),
        receipt_number=str(soap.get("receipt", "SUITE-R1")),
        case_number=str(settings.get("customs", {}).get("case", "")),
        features=frozenset(str(feature) for feature in settings.get("features", ())),
        encryption_certificate=members["a"].identity.encryption_certificate,
        as4_members=as4_members,
        clock=clock,
        make_uuid=make_uuid,
    )


def _make_strangers(subject: str, at: datetime) -> tuple[tuple[CertificationAuthority, Signer], Signer]:
    """Return another authority with a signer of A's subject, and a self-signed signer."""
    authority = make_authority("CN=Somebody else", at - timedelta(days=1))
    signer = issue_certificate(authority, subject, at, CertificateOrder()).signer
    self_signed = make_authority(subject, at - timedelta(days=1))
    return (authority, signer), issue_certificate(
        self_signed, subject, at, CertificateOrder(), key=self_signed.key
    ).signer


def _load_suite_settings(folder: Path) -> dict[str, Any]:
    path = folder / "suite.toml"
    try:
        settings = tomllib.loads(read_file(path).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GatewayError(MISUSE, f"not TOML: {describe_exception(error)}", str(path)) from None
    if not all(isinstance(settings.get(name, {}), dict) for name in FACES):
        raise GatewayError(MISUSE, f"{' and '.join(FACES)} are tables", str(path))
    if not isinstance(settings.get("features", []), list):
        raise GatewayError(MISUSE, "features is a list of names", str(path))
    return settings


def _read_face_address(row: Mapping[str, Any], path: str) -> FaceAddress:
    face = FaceAddress(str(row.get("path", path)), str(row.get("url", "")))
    if not face.path.startswith("/"):
        raise GatewayError(MISUSE, f"a path begins with /, not as {face.path[:80]!r}", "suite.toml")
    return face
