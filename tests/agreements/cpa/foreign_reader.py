"""Reads a CPA as another product does: with the standard's schema and names, and no code of the gateway.

Each demand is one that all real agreements under `outside/ebms2/cpa` meet, or by which ebms-core refused
ours: it reads both halves of every channel, certificates by their octets, algorithms by URIs, and no element
of the gateway.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from lxml import etree

TP = "{http://www.oasis-open.org/committees/ebxml-cppa/schema/cpp-cpa-2_0.xsd}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
#: The signals of a message handler (ebMS 2.0 §4.2, §6.3, §7, §8).
SIGNALS = {"Acknowledgment", "MessageError", "StatusRequest", "StatusResponse", "Ping", "Pong"}
#: Attributes that are xs:ID and xs:IDREF, by the element that has them.
IDS = {
    **{"DeliveryChannel": "channelId", "Transport": "transportId", "DocExchange": "docExchangeId"},
    **{"Certificate": "certId", "SecurityDetails": "securityId", "ThisPartyActionBinding": "id"},
    **{"SimplePart": "id", "Packaging": "id", "Composite": "id", "Encapsulation": "id"},
}
#: What attributes and texts refer to, and whether it is a party's own.
REFERENCES = {
    "channelId": ("DeliveryChannel", True),
    "defaultMshChannelId": ("DeliveryChannel", True),
    "transportId": ("Transport", True),
    "docExchangeId": ("DocExchange", True),
    "certId": ("Certificate", True),
    "securityId": ("SecurityDetails", True),
    "packageId": ("Packaging", False),
    "defaultMshPackageId": ("Packaging", False),
    "idref": ("SimplePart Composite Encapsulation", False),
}
RELIABLE_TERMS = ("Retries", "RetryInterval", "MessageOrderSemantics", "PersistDuration")


def name_element(element: etree._Element) -> str:
    return str(etree.QName(element).localname)


def get(element: etree._Element, name: str) -> str:
    return str(element.get(TP + name, "")).strip()


def read_text(element: etree._Element) -> str:
    return (element.text or "").strip()


@functools.cache
def load_schema(vectors: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(vectors / "outside/xsd/cpp-cpa-2_0.xsd")))


def list_schema_errors(data: bytes, vectors: Path) -> list[str]:
    """Return what the schema of the standard refuses."""
    schema = load_schema(vectors)
    schema.validate(etree.fromstring(data))
    return [f"{one.line}: {one.message}" for one in schema.error_log]


def list_faults(data: bytes) -> list[str]:
    """Return why another product does not load a CPA, or not as it is meant."""
    return list(ForeignCpa(etree.fromstring(data)).list_faults())


class ForeignCpa:
    """A CPA with its elements by id."""

    def __init__(self, root: etree._Element) -> None:
        self.root = root
        self.parties = root.findall(TP + "PartyInfo")
        self.by_id = {
            get(one, IDS[name_element(one)]): one for one in root.iter(TP + "*") if name_element(one) in IDS
        }

    def list_faults(self) -> Iterator[str]:
        yield from self.check_head()
        faults = list(self.check_references())
        if faults:  # everything else follows references
            yield from faults
            return
        for party in self.parties:
            yield from self.check_certificates(party)
            yield from self.check_channels(party)
            yield from self.check_signals(party)
            for binding in party.iter(TP + "ThisPartyActionBinding"):
                yield from self.check_binding(party, binding)
        yield from self.check_algorithms()
        yield from self.check_packages()

    def check_head(self) -> Iterator[str]:
        if self.root.tag != TP + "CollaborationProtocolAgreement" or len(self.parties) != 2:
            yield "this is no agreement of two parties"
        if get(self.root.find(TP + "Status"), "value") not in ("agreed", "signed"):
            yield "the agreement is not agreed"
        ids = [
            get(one, IDS[name_element(one)]) for one in self.root.iter(TP + "*") if name_element(one) in IDS
        ]
        yield from (f"id {one} occurs twice" for one in sorted(set(ids)) if ids.count(one) > 1)

    def check_references(self) -> Iterator[str]:
        for element in self.root.iter(TP + "*"):
            for name, (kinds, own) in REFERENCES.items():
                if element.get(TP + name) is not None and IDS.get(name_element(element)) != name:
                    yield from self.check_reference(element, get(element, name), kinds, own)
            if name_element(element) == "ChannelId":
                yield from self.check_reference(element, read_text(element), "DeliveryChannel", True)
            if name_element(element) == "OtherPartyActionBinding":
                yield from self.check_reference(element, read_text(element), "ThisPartyActionBinding", False)

    def check_reference(self, element: etree._Element, name: str, kinds: str, own: bool) -> Iterator[str]:
        target = self.by_id.get(name)
        if target is None or name_element(target) not in kinds.split():
            yield f"{name_element(element)} refers to {name}, which is no {kinds}"
        elif own and self.get_party(element) is not self.get_party(target):
            yield f"{name_element(element)} refers to {name} of the other party"

    def get_party(self, element: etree._Element) -> etree._Element | None:
        if element.tag == TP + "PartyInfo":
            return element
        return next(element.iterancestors(TP + "PartyInfo"), None)

    def check_certificates(self, party: etree._Element) -> Iterator[str]:
        for holder in party.iterfind(TP + "Certificate"):
            name = get(holder, "certId")
            octets = holder.find(f"{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate")
            if octets is None:
                yield f"Certificate {name} has no X509Certificate"
            else:
                x509.load_der_x509_certificate(base64.b64decode(read_text(octets)))
        for kind, holder in self.list_used_certificates(party):
            usage = read_key_usage(holder)
            if (
                kind == "SigningCertificateRef"
                and usage
                and not usage & {"digital_signature", "content_commitment"}
            ):
                yield f"{get(holder, 'certId')} is not made for signing"
            encrypting = {"key_encipherment", "data_encipherment", "key_agreement"}
            if kind == "EncryptionCertificateRef" and usage and not usage & encrypting:
                yield f"{get(holder, 'certId')} is not made for encryption"

    def list_used_certificates(self, party: etree._Element) -> Iterator[tuple[str, etree._Element]]:
        for element in party.iter(TP + "SigningCertificateRef", TP + "EncryptionCertificateRef"):
            yield name_element(element), self.by_id[get(element, "certId")]

    def check_channels(self, party: etree._Element) -> Iterator[str]:
        for channel in party.iterfind(TP + "DeliveryChannel"):
            name = get(channel, "channelId")
            transport, exchange = (
                self.by_id[get(channel, "transportId")],
                self.by_id[get(channel, "docExchangeId")],
            )
            if not get(channel.find(TP + "MessagingCharacteristics"), "actor"):
                yield f"channel {name} has no actor"
            yield from (f"channel {name}: {one}" for one in self.check_transport(transport))
            yield from (f"channel {name}: {one}" for one in self.check_exchange(exchange))
            acknowledged = get(channel.find(TP + "MessagingCharacteristics"), "ackRequested") == "always"
            if acknowledged and exchange.find(f"*/{TP}ReliableMessaging") is None:
                yield f"channel {name} is acknowledged, and has no ReliableMessaging"

    def check_transport(self, transport: etree._Element) -> Iterator[str]:
        for half in ("TransportSender", "TransportReceiver"):
            if transport.find(TP + half) is None:
                yield f"no {half}"
        for protocol in transport.iter(TP + "TransportProtocol"):
            if (read_text(protocol), get(protocol, "version")) != ("HTTP", "1.1"):
                yield f"transport protocol {read_text(protocol)} {get(protocol, 'version')}"
        for endpoint in transport.iter(TP + "Endpoint"):
            described = transport.find(f"{TP}TransportReceiver/{TP}TransportServerSecurity") is not None
            if get(endpoint, "uri").startswith("https:") != described:
                yield f"endpoint {get(endpoint, 'uri')} and TransportServerSecurity do not fit"

    def check_exchange(self, exchange: etree._Element) -> Iterator[str]:
        halves = [exchange.find(TP + name) for name in ("ebXMLSenderBinding", "ebXMLReceiverBinding")]
        if any(half is None for half in halves):
            yield "one of ebXMLSenderBinding and ebXMLReceiverBinding is missing"
            return
        terms = [
            [[read_text(one) for one in half.iter(TP + name)] for name in RELIABLE_TERMS] for half in halves
        ]
        if terms[0] != terms[1]:
            yield f"the two halves repeat differently: {terms}"
        signs, verifies = (
            exchange.find(f"*/{TP}SenderNonRepudiation"),
            exchange.find(f"*/{TP}ReceiverNonRepudiation"),
        )
        if (signs is None) != (verifies is None):
            yield "one of SenderNonRepudiation and ReceiverNonRepudiation is missing"
        envelopes = [exchange.find(f"*/{TP}{side}DigitalEnvelope") for side in ("Sender", "Receiver")]
        if (envelopes[0] is None) != (envelopes[1] is None):
            yield "one of SenderDigitalEnvelope and ReceiverDigitalEnvelope is missing"
        if verifies is not None and verifies.find(TP + "SigningSecurityDetailsRef") is None:
            yield "ReceiverNonRepudiation has no SigningSecurityDetailsRef"
        for details in exchange.iter(TP + "SigningSecurityDetailsRef"):
            if (
                self.by_id[get(details, "securityId")].find(f"{TP}TrustAnchors/{TP}AnchorCertificateRef")
                is None
            ):
                yield "SigningSecurityDetailsRef leads to no trust anchor"

    def check_signals(self, party: etree._Element) -> Iterator[str]:
        for override in party.iterfind(TP + "OverrideMshActionBinding"):
            if get(override, "action") not in SIGNALS:
                yield f"{get(override, 'action')} is no signal"
        if self.sends_signed_status(party) and self.get_status_signature(party) is None:
            yield "StatusRequests must be signed by terms of the gateway alone"

    def sends_signed_status(self, party: etree._Element) -> bool:
        """Return whether a foreign element says that StatusRequests about signed messages are signed."""
        for binding in party.iter(TP + "ThisPartyActionBinding"):
            terms = binding.find(TP + "BusinessTransactionCharacteristics")
            texts = [value for one in binding.iterfind("*") for value in one.attrib.values()]
            if get(terms, "isNonRepudiationRequired") == "true" and '"sign_status": true' in " ".join(texts):
                return True
        return False

    def get_status_signature(self, party: etree._Element) -> etree._Element | None:
        """Return the signature of the channel that the party gives its StatusRequests."""
        for override in party.iterfind(TP + "OverrideMshActionBinding"):
            if get(override, "action") == "StatusRequest":
                return self.get_exchange(get(override, "channelId")).find(f"*/{TP}SenderNonRepudiation")
        return None

    def get_exchange(self, channel: str) -> etree._Element:
        return self.by_id[get(self.by_id[channel], "docExchangeId")]

    def check_binding(self, party: etree._Element, binding: etree._Element) -> Iterator[str]:
        name, holder = get(binding, "id"), binding.getparent()
        if get(binding, "packageId") == get(party, "defaultMshPackageId"):
            yield f"{name} is bound to the package of signals"
        other = holder.find(TP + "OtherPartyActionBinding")
        counterpart = self.by_id[read_text(other)] if other is not None else None
        if counterpart is None:
            yield f"{name} names no counterpart"
        else:
            yield from self.check_counterpart(party, binding, counterpart)
        exchange = self.get_exchange(read_text(binding.find(TP + "ChannelId")))
        terms = binding.find(TP + "BusinessTransactionCharacteristics")
        if (
            get(terms, "isNonRepudiationRequired") == "true"
            and exchange.find(f"*/{TP}SenderNonRepudiation") is None
        ):
            yield f"{name} is signed, and its channel describes no signature"
        if get(terms, "isConfidential") in ("persistent", "transient-and-persistent"):
            half = "SenderDigitalEnvelope" if name_element(holder) == "CanSend" else "ReceiverDigitalEnvelope"
            if exchange.find(f"*/{TP}{half}") is None:
                yield f"{name} is confidential, and its channel has no {half}"

    def check_counterpart(
        self, party: etree._Element, binding: etree._Element, counterpart: etree._Element
    ) -> Iterator[str]:
        name = get(binding, "id")
        back = counterpart.getparent().find(TP + "OtherPartyActionBinding")
        if back is None or read_text(back) != name:
            yield f"{name} is not named by its counterpart"
        if self.get_party(counterpart) is party:
            yield f"{name} has a counterpart of the same party"
        if name_element(binding.getparent()) == name_element(counterpart.getparent()):
            yield f"{name} and its counterpart have the same direction"
        if any(get(binding, term) != get(counterpart, term) for term in ("action", "packageId")):
            yield f"{name} and its counterpart differ in action or package"
        services = [
            next(one.iterancestors(TP + "ServiceBinding")).find(TP + "Service")
            for one in (binding, counterpart)
        ]
        if len({(read_text(one), get(one, "type")) for one in services}) != 1:
            yield f"{name} and its counterpart differ in their service"

    def check_algorithms(self) -> Iterator[str]:
        for element in self.root.iter(
            TP + "HashFunction", TP + "SignatureAlgorithm", TP + "EncryptionAlgorithm"
        ):
            if name_element(element.getparent()).startswith("Transport"):
                continue  # names of cipher suites
            for text in {read_text(element), get(element, "w3c") or read_text(element)}:
                if not text.startswith("http://www.w3.org/"):
                    yield f"{name_element(element)} {text} is no URI"
        for signed in self.root.iter(TP + "SenderNonRepudiation"):
            holder = self.by_id[get(signed.find(TP + "SigningCertificateRef"), "certId")]
            kind, named = (
                read_key_kind(holder),
                [read_text(one) for one in signed.iter(TP + "SignatureAlgorithm")],
            )
            if kind and not any(kind in one for one in named):
                yield f"{get(holder, 'certId')} has no key for {named}"

    def check_packages(self) -> Iterator[str]:
        for package in self.root.iterfind(TP + "Packaging"):
            whole = package.findall(f"{TP}CompositeList/{TP}Composite")[-1]
            first = self.by_id[get(whole.find(TP + "Constituent"), "idref")]
            if name_element(first) != "SimplePart" or get(first, "mimetype") != "text/xml":
                yield f"package {get(package, 'id')} does not begin with the message header"
            elif not any(get(one, "version") == "2.0" for one in first.iterfind(TP + "NamespaceSupported")):
                yield f"the header of package {get(package, 'id')} has no namespace of version 2.0"
            if get(whole, "mimetype") != "multipart/related":
                yield f"package {get(package, 'id')} is no multipart/related"


def read_certificate(holder: etree._Element) -> x509.Certificate | None:
    octets = holder.find(f".//{DS}X509Certificate")
    return None if octets is None else x509.load_der_x509_certificate(base64.b64decode(read_text(octets)))


def read_key_usage(holder: etree._Element) -> set[str]:
    """Return what a certificate is made for; nothing where it does not say."""
    certificate = read_certificate(holder)
    if certificate is None:
        return set()
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return set()
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
    )
    return {name for name in names if getattr(usage, name)}


def read_key_kind(holder: etree._Element) -> str:
    """Return the word for the kind of a key that the URIs of its signature algorithms have."""
    certificate = read_certificate(holder)
    if certificate is None:
        return ""
    return {"RSA": "rsa", "EllipticCurve": "ecdsa"}.get(
        type(certificate.public_key()).__name__.lstrip("_").removesuffix("PublicKey"), ""
    )
