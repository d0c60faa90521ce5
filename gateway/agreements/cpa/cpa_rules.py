"""The rules by which a CPA is judged: severity, what breaks the rule, and the clause that states it.

An error means that messages would be refused, cannot be sent, or that the document contradicts
itself. A warning means that something is probably not meant, or that the hub cannot do it. A note
needs no consent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.agreements.cpa.cpa_model import Place

__all__ = ["CPA_RULES", "CpaFinding", "CpaRule"]


class CpaRule(NamedTuple):
    """A rule: its severity (error, warning or note), what breaks it, and where it is stated."""

    severity: str
    meaning: str
    clause: str


def _make_rule(severity: str, meaning: str, element: str) -> CpaRule:
    """Return a rule that the specification of an element states."""
    return CpaRule(severity, meaning, f"CPPA 2.0, {element}")


_ERROR, _WARNING, _NOTE = "error", "warning", "note"

_REFERENCES: Final = {
    "xml": CpaRule(_ERROR, "the file is not well-formed XML, or has what is never read", "XML 1.0"),
    "schema": _make_rule(_ERROR, "the document violates the schema", "schema 2_0b"),
    "reference-unresolved": _make_rule(_ERROR, "a reference names no id of the document", "schema, IDREF"),
    "reference-mistyped": _make_rule(_ERROR, "a reference names an element of another kind", "schema, IDREF"),
    "reference-foreign": _make_rule(_ERROR, "a party refers to what belongs to the other party", "PartyInfo"),
    "channel-unused": _make_rule(_WARNING, "nobody uses a delivery channel", "DeliveryChannel"),
    "transport-unused": _make_rule(_NOTE, "no channel uses a transport", "Transport"),
    "exchange-unused": _make_rule(_NOTE, "no channel uses a document exchange", "DocExchange"),
    "certificate-unused": _make_rule(_NOTE, "nothing refers to a certificate", "Certificate"),
    "security-unused": _make_rule(_NOTE, "nothing refers to trust anchors", "SecurityDetails"),
    "package-unused": _make_rule(_NOTE, "no action uses a package", "Packaging"),
    "part-unused": _make_rule(_NOTE, "no package contains a part", "SimplePart"),
    "terms-foreign": _make_rule(
        _NOTE, "a binding has an element of another namespace, which is not read", "ThisPartyActionBinding"
    ),
    "terms-wrong": _make_rule(
        _ERROR, "an action cannot become a P-Mode: a value is out of range", "ThisPartyActionBinding"
    ),
}
_AGREEMENT: Final = {
    "status-proposed": _make_rule(_ERROR, "the agreement is only proposed", "Status"),
    "status-unsigned": _make_rule(_ERROR, "the status is signed, and there is no signature", "Status"),
    "status-signatures": _make_rule(_NOTE, "there are signatures, and the status is not signed", "Status"),
    "signature-wrong": CpaRule(
        _ERROR, "a signature of the document is not good", "XML Signature; CPPA 2.0, Signature"
    ),
    "signature-missing": _make_rule(
        _ERROR, "the settings require a signed agreement, and it is not signed", "Signature"
    ),
    "period-reversed": _make_rule(_ERROR, "the agreement ends before it begins", "Start, End"),
    "period-ended": _make_rule(_ERROR, "the agreement has ended", "End"),
    "period-later": _make_rule(_NOTE, "the agreement is not in force yet", "Start"),
    "period-unzoned": _make_rule(_NOTE, "a time has no time zone; UTC is taken", "Start, End"),
    "period-unreadable": _make_rule(_ERROR, "a time does not exist or cannot be computed", "Start, End"),
    "conversation-limit": _make_rule(
        _NOTE, "conversations are limited: one more is refused", "ConversationConstraints"
    ),
    "conversation-negative": _make_rule(_ERROR, "a limit is negative", "ConversationConstraints"),
    "party-id-untyped": CpaRule(_ERROR, "a PartyId without type is not a URI", "ebMS 2.0 §3.1.1.1"),
    "party-id-repeated": CpaRule(
        _ERROR, "two identifiers of one party have the same type", "ebMS 2.0 §3.1.1.1"
    ),
    "party-id-shared": _make_rule(_ERROR, "both parties have the same identifier", "PartyId"),
    "name-white-space": CpaRule(
        _ERROR, "a name begins or ends with white space, or is only that", "ebMS 2.0 §3.1.4, §3.1.5"
    ),
    "service-untyped": CpaRule(_ERROR, "a Service without type is not a URI", "ebMS 2.0 §3.1.4.1"),
    "service-reserved": CpaRule(_ERROR, "the Service of MSH signals is used for business", "ebMS 2.0 §3.1.4"),
    "role-same": _make_rule(_WARNING, "both parties have the same role in an action", "Role"),
    "binding-version": _make_rule(
        _WARNING, "a document exchange is for another version of ebMS", "ebXMLSenderBinding"
    ),
}
_BINDINGS: Final = {
    "send-unmatched": _make_rule(
        _ERROR, "a party can send what the other cannot receive", "CanSend, CanReceive"
    ),
    "receive-unmatched": _make_rule(
        _ERROR, "a party can receive what the other cannot send", "CanSend, CanReceive"
    ),
    "binding-contradictory": _make_rule(
        _ERROR,
        "OtherPartyActionBinding names a binding of another service, action or direction",
        "OtherPartyActionBinding",
    ),
    "binding-one-sided": _make_rule(
        _WARNING, "two bindings that belong together do not name each other", "OtherPartyActionBinding"
    ),
    "action-repeated": _make_rule(_ERROR, "a party sends one action of a service twice", "CanSend"),
    "process-different": _make_rule(
        _WARNING, "the two sides of an action are in different processes", "ProcessSpecification"
    ),
    "characteristics-different": _make_rule(
        _WARNING,
        "the two sides of an action want different protection",
        "BusinessTransactionCharacteristics",
    ),
    "response-asynchronous": _make_rule(
        _WARNING, "a synchronous response is bound, and the channel has none", "CanSend, syncReplyMode"
    ),
    "response-unbound": _make_rule(
        _WARNING, "a channel promises a synchronous response, and none is bound", "syncReplyMode"
    ),
    "package-different": _make_rule(
        _WARNING, "the two sides of an action have different packages", "ThisPartyActionBinding"
    ),
    "time-to-acknowledge": _make_rule(
        _WARNING,
        "the time to acknowledge ends before the first repeat",
        "BusinessTransactionCharacteristics",
    ),
}
_CHANNELS: Final = {
    "channels-several": _make_rule(
        _NOTE, "an action has several channels; the first over HTTP is used", "ChannelId"
    ),
    "sync-different": _make_rule(
        _WARNING, "the two channels of an action answer in different ways", "syncReplyMode"
    ),
    "ack-different": _make_rule(
        _WARNING, "the two channels of an action differ on acknowledgments", "MessagingCharacteristics"
    ),
    "elimination-different": _make_rule(
        _WARNING, "the two channels of an action differ on duplicates", "MessagingCharacteristics"
    ),
    "sync-against-acks": CpaRule(
        _ERROR,
        "acknowledgments are always requested, and the answer has no room for signals",
        "ebMS 2.0 §4.3; CPPA 2.0, syncReplyMode",
    ),
    "ack-signature-alone": _make_rule(
        _WARNING, "signed acknowledgments without acknowledgments", "MessagingCharacteristics"
    ),
    "ack-signature-impossible": _make_rule(
        _ERROR,
        "signed acknowledgments are requested of a party without a certificate for them",
        "MessagingCharacteristics",
    ),
    "receipt-unrequested": _make_rule(
        _WARNING,
        "non-repudiation of receipt without a signed acknowledgment",
        "BusinessTransactionCharacteristics",
    ),
    "signals-acknowledged": CpaRule(
        _WARNING, "the channel of signals wants acknowledgments of signals", "ebMS 2.0 §6.3.1"
    ),
    "override-unknown": _make_rule(
        _WARNING, "a channel is given for an action that is no MSH signal", "OverrideMshActionBinding"
    ),
    "override-repeated": _make_rule(
        _ERROR, "two channels are given for one signal", "OverrideMshActionBinding"
    ),
    "actor-next": CpaRule(
        _WARNING,
        "the next MSH acknowledges: nothing proves that the To party has the message",
        "ebMS 2.0 §10",
    ),
    "persist-short": CpaRule(
        _WARNING, "the receiver forgets a message before its last repeat", "ebMS 2.0 §6.4.6"
    ),
    "retries-unacknowledged": CpaRule(
        _WARNING, "repeats are agreed without acknowledgments: nothing is repeated", "ebMS 2.0 §6.4.2"
    ),
    "retries-uneliminated": CpaRule(
        _WARNING, "repeats are agreed without elimination of duplicates", "ebMS 2.0 §6.6"
    ),
    "retries-untimed": _make_rule(
        _WARNING,
        "the number of repeats is agreed without their interval, or the reverse",
        "ReliableMessaging",
    ),
    "ack-unrepeated": _make_rule(
        _NOTE, "acknowledgments are always requested, and nothing is repeated", "ReliableMessaging"
    ),
    "retries-range": _make_rule(
        _ERROR, "repeats, interval or duration are negative or beyond reason", "ReliableMessaging"
    ),
    "reliability-different": _make_rule(
        _WARNING, "the two sides of an action repeat differently", "ReliableMessaging"
    ),
    "order-uneliminated": CpaRule(
        _ERROR, "order is guaranteed without elimination of duplicates", "ebMS 2.0 §9.1"
    ),
    "order-unacknowledged": CpaRule(_ERROR, "order is guaranteed without acknowledgments", "ebMS 2.0 §9.1"),
    "order-synchronous": CpaRule(_ERROR, "order is guaranteed with a synchronous answer", "ebMS 2.0 §9.1"),
}
_SECURITY: Final = {
    "signing-undescribed": _make_rule(
        _ERROR, "messages must be signed, and no signature is described", "SenderNonRepudiation"
    ),
    "verification-undescribed": _make_rule(
        _WARNING, "messages are signed, and the receiver describes no verification", "ReceiverNonRepudiation"
    ),
    "signature-unwanted": _make_rule(
        _NOTE, "a signature is described, and the business wants none", "SenderNonRepudiation"
    ),
    "unsigned": _make_rule(_WARNING, "messages need no signature", "BusinessTransactionCharacteristics"),
    "hash-weak": CpaRule(
        _WARNING,
        "the hash function is broken; the strict policy refuses it",
        "RFC 9155; CPPA 2.0, HashFunction",
    ),
    "signature-weak": CpaRule(
        _WARNING,
        "the signature algorithm is broken; the strict policy refuses it",
        "RFC 9155; CPPA 2.0, SignatureAlgorithm",
    ),
    "signature-unknown": _make_rule(
        _WARNING, "the hub does not know a signature algorithm", "SignatureAlgorithm"
    ),
    "algorithms-disjoint": _make_rule(
        _ERROR, "sender and receiver have no signature algorithm in common", "SignatureAlgorithm"
    ),
    "hash-different": _make_rule(_WARNING, "sender and receiver hash differently", "HashFunction"),
    "anchors-missing": _make_rule(
        _NOTE, "the receiver of signatures names no trust anchors", "SigningSecurityDetailsRef"
    ),
    "anchors-unrelated": _make_rule(
        _NOTE, "the certificate of the signer leads to no trust anchor of the receiver", "TrustAnchors"
    ),
    "encryption-undescribed": _make_rule(
        _ERROR,
        "payloads must be encrypted, and the receiver describes no envelope",
        "ReceiverDigitalEnvelope",
    ),
    "encryption-unwanted": _make_rule(
        _NOTE, "an envelope is described, and the business wants none", "ReceiverDigitalEnvelope"
    ),
    "encryption-different": _make_rule(
        _ERROR, "sender and receiver have no way of encryption in common", "DigitalEnvelope"
    ),
    "encryption-weak": CpaRule(
        _WARNING, "an encryption algorithm is broken", "CPPA 2.0, EncryptionAlgorithm"
    ),
    "encryption-cbc": CpaRule(
        _WARNING,
        "an encryption algorithm does not authenticate: its padding can be probed",
        "XML Encryption 1.1 §5.2",
    ),
    "encryption-rsa15": CpaRule(
        _WARNING, "RSA 1.5 transports keys: its padding can be probed", "XML Encryption 1.1 §5.5.1"
    ),
}
_CERTIFICATES: Final = {
    "certificate-unreadable": _make_rule(_ERROR, "a certificate cannot be read", "Certificate"),
    "certificate-ended": CpaRule(_ERROR, "a certificate in use has ended", "RFC 5280 §4.1.2.5"),
    "certificate-ends-early": CpaRule(
        _WARNING, "a certificate ends before the agreement", "RFC 5280 §4.1.2.5; CPPA 2.0, End"
    ),
    "certificate-begins-late": CpaRule(
        _WARNING, "a certificate begins after the agreement", "RFC 5280 §4.1.2.5; CPPA 2.0, Start"
    ),
    "certificate-named": _make_rule(
        _NOTE, "a certificate is only named, by its digest or as a registered one", "Certificate"
    ),
    "key-usage-signing": CpaRule(
        _WARNING, "a certificate that signs is not made for signatures", "RFC 5280 §4.2.1.3"
    ),
    "key-usage-encryption": CpaRule(
        _WARNING, "a certificate that is encrypted for is not made for it", "RFC 5280 §4.2.1.3"
    ),
    "key-short": CpaRule(_WARNING, "an RSA key is shorter than 2048 bits", "NIST SP 800-131A §3"),
    "key-algorithm": _make_rule(
        _ERROR, "the signature algorithm does not fit the key of the signer", "SignatureAlgorithm"
    ),
    "host-different": CpaRule(
        _WARNING, "the certificate of a server is not for the host of its endpoint", "RFC 9525 §6"
    ),
}
_TRANSPORT: Final = {
    "endpoint-missing": _make_rule(_ERROR, "a party that receives has no endpoint", "Endpoint"),
    "endpoint-scheme": _make_rule(_ERROR, "an endpoint is not an http(s) URL", "Endpoint"),
    "endpoint-purpose": _make_rule(_WARNING, "no endpoint is for requests or all purposes", "Endpoint"),
    "endpoint-repeated": _make_rule(
        _WARNING, "a receiver has two endpoints of one kind; the first is used", "Endpoint"
    ),
    "endpoint-same": _make_rule(_WARNING, "both parties have the same endpoint", "Endpoint"),
    "transport-protocol": _make_rule(
        _ERROR, "the transport of messages or signals is not HTTP", "TransportProtocol"
    ),
    "transport-login": _make_rule(
        _NOTE, "the receiver wants a name and a password of whoever connects", "AccessAuthentication"
    ),
    "sender-missing": _make_rule(_NOTE, "a party that sends describes no sending", "TransportSender"),
    "tls-undescribed": _make_rule(
        _WARNING, "an https endpoint without TransportServerSecurity", "TransportServerSecurity"
    ),
    "tls-unused": _make_rule(
        _WARNING, "TransportServerSecurity at an http endpoint", "TransportServerSecurity"
    ),
    "tls-old": CpaRule(_WARNING, "the protocol of the connection is older than TLS 1.2", "RFC 8996"),
    "transient-open": _make_rule(
        _WARNING,
        "the connection shall be protected, and the endpoint is http",
        "isConfidential, isAuthenticated",
    ),
    "client-certificate-missing": _make_rule(
        _ERROR, "the receiver wants to know the client, which has no certificate", "ClientCertificateRef"
    ),
}
_PACKAGING: Final = {
    "package-circular": _make_rule(_ERROR, "a composite contains itself", "CompositeList"),
    "package-root": CpaRule(_WARNING, "the first part of a package is not text/xml", "ebMS 2.0 §2.1.3"),
    "package-type": CpaRule(
        _WARNING, "a package of several parts is not multipart/related", "ebMS 2.0 §2.1.2"
    ),
    "package-incapable": _make_rule(
        _WARNING,
        "a party sends or receives a package that cannot be made or parsed",
        "ProcessingCapabilities",
    ),
    "part-unsigned": _make_rule(
        _WARNING, "a part is excluded from the signature; the hub signs and wants all", "Constituent"
    ),
    "part-occurs": _make_rule(_ERROR, "a part occurs at least more often than at most", "Constituent"),
    "part-transformed": _make_rule(
        _WARNING, "a part is transformed for the signature; the hub does not do that", "SignatureTransforms"
    ),
}

#: Every rule by its id.
CPA_RULES: Final[Mapping[str, CpaRule]] = {
    **_REFERENCES,
    **_AGREEMENT,
    **_BINDINGS,
    **_CHANNELS,
    **_SECURITY,
    **_CERTIFICATES,
    **_TRANSPORT,
    **_PACKAGING,
}


@dataclass(frozen=True, slots=True)
class CpaFinding:
    """A rule that a document breaks, the place, and a sentence about it."""

    rule: str
    place: Place
    message: str

    @property
    def severity(self) -> str:
        """Return error, warning or note."""
        return CPA_RULES[self.rule].severity

    @property
    def clause(self) -> str:
        """Return where the rule is stated."""
        return CPA_RULES[self.rule].clause
