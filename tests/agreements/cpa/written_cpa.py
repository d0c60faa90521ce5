# ruff: noqa: E501 (elements of a document stand on a line each)
"""A good CPA between a buyer and a seller, to be spoilt in one place at a time.

Comments mark places where a test puts something in. Nothing is wrong with the document as it is:
`gateway agreement lint` finds nothing.
"""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

BEGINS, ENDS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<tp:CollaborationProtocolAgreement xmlns:tp="http://www.oasis-open.org/committees/ebxml-cppa/schema/cpp-cpa-2_0.xsd"
 xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xlink="http://www.w3.org/1999/xlink"
 tp:cpaid="urn:example:cpa:1" tp:version="2_0b">
<tp:Status tp:value="agreed"/>
<tp:Start>2026-01-01T00:00:00Z</tp:Start>
<tp:End>2029-01-01T00:00:00Z</tp:End>
"""
_TAIL = """<tp:SimplePart tp:id="header-part" tp:mimetype="text/xml">
<tp:NamespaceSupported tp:location="urn:example:schema" tp:version="2.0">http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd</tp:NamespaceSupported>
</tp:SimplePart>
<tp:SimplePart tp:id="payload-part" tp:mimetype="application/xml"/><!--parts-->
<tp:Packaging tp:id="signal-package">
<tp:ProcessingCapabilities tp:parse="true" tp:generate="true"/>
<tp:CompositeList><tp:Composite tp:id="signal" tp:mimetype="multipart/related" tp:mimeparameters="type=&quot;text/xml&quot;">
<tp:Constituent tp:idref="header-part"/></tp:Composite></tp:CompositeList></tp:Packaging>
<tp:Packaging tp:id="message-package">
<tp:ProcessingCapabilities tp:parse="true" tp:generate="true"/><!--message-->
<tp:CompositeList><tp:Composite tp:id="message" tp:mimetype="multipart/related" tp:mimeparameters="type=&quot;text/xml&quot;">
<tp:Constituent tp:idref="header-part"/><tp:Constituent tp:idref="payload-part"/><!--constituents-->
</tp:Composite></tp:CompositeList></tp:Packaging><!--packages-->
</tp:CollaborationProtocolAgreement>
"""
_PARTY = """<tp:PartyInfo tp:partyName="party-{me}" tp:defaultMshChannelId="{me}-signals" tp:defaultMshPackageId="signal-package">
<tp:PartyId tp:type="urn:example:party-type">party-{me}</tp:PartyId><!--{me}-id-->
<tp:PartyRef xlink:type="simple" xlink:href="https://{me}.example/about"/>
<tp:CollaborationRole>
<tp:ProcessSpecification tp:name="Ordering" tp:version="1.0" xlink:type="simple" xlink:href="urn:example:process:ordering"/>
<tp:Role tp:name="{role}" xlink:type="simple" xlink:href="urn:example:process:ordering#{role}"/>
<tp:ServiceBinding><tp:Service>urn:example:service:order</tp:Service><!--{me}-service-->
{bindings}
</tp:ServiceBinding></tp:CollaborationRole><!--{me}-role-->
<tp:Certificate tp:certId="{me}-cert"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></tp:Certificate>
<tp:Certificate tp:certId="{me}-anchor"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{anchor}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></tp:Certificate><!--{me}-certificates-->
<tp:SecurityDetails tp:securityId="{me}-security"><tp:TrustAnchors><tp:AnchorCertificateRef tp:certId="{me}-anchor"/></tp:TrustAnchors></tp:SecurityDetails>
<tp:DeliveryChannel tp:channelId="{me}-signals" tp:transportId="{me}-transport" tp:docExchangeId="{me}-signal-exchange">
<tp:MessagingCharacteristics tp:syncReplyMode="none" tp:ackRequested="never" tp:ackSignatureRequested="never" tp:duplicateElimination="never" tp:actor="urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"/>
</tp:DeliveryChannel>
<tp:DeliveryChannel tp:channelId="{me}-channel" tp:transportId="{me}-transport" tp:docExchangeId="{me}-exchange">
<tp:MessagingCharacteristics tp:syncReplyMode="none" tp:ackRequested="always" tp:ackSignatureRequested="always" tp:duplicateElimination="always" tp:actor="urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"/>
</tp:DeliveryChannel><!--{me}-channels-->
<tp:Transport tp:transportId="{me}-transport">
<tp:TransportSender><tp:TransportProtocol tp:version="1.1">HTTP</tp:TransportProtocol>
<tp:TransportClientSecurity><tp:TransportSecurityProtocol tp:version="1.2">TLS</tp:TransportSecurityProtocol>
<tp:ClientCertificateRef tp:certId="{me}-cert"/><tp:ServerSecurityDetailsRef tp:securityId="{me}-security"/></tp:TransportClientSecurity>
</tp:TransportSender>
<tp:TransportReceiver><tp:TransportProtocol tp:version="1.1">HTTP</tp:TransportProtocol>
<tp:Endpoint tp:uri="https://{me}.example/msh" tp:type="allPurpose"/><!--{me}-->
<tp:TransportServerSecurity><tp:TransportSecurityProtocol tp:version="1.2">TLS</tp:TransportSecurityProtocol>
<tp:ServerCertificateRef tp:certId="{me}-cert"/><tp:ClientSecurityDetailsRef tp:securityId="{me}-security"/></tp:TransportServerSecurity>
</tp:TransportReceiver></tp:Transport><!--{me}-transports-->
{signal_exchange}{exchange}<!--{me}-override-->
</tp:PartyInfo>
"""
_EXCHANGE = """<tp:DocExchange tp:docExchangeId="{me}-{name}exchange">
<tp:ebXMLSenderBinding tp:version="2.0">{reliable}<tp:SenderNonRepudiation>
<tp:NonRepudiationProtocol>http://www.w3.org/2000/09/xmldsig#</tp:NonRepudiationProtocol>
<tp:HashFunction>http://www.w3.org/2001/04/xmlenc#sha256</tp:HashFunction>
<tp:SignatureAlgorithm tp:w3c="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256">RSA-SHA256</tp:SignatureAlgorithm>
<tp:SigningCertificateRef tp:certId="{me}-cert"/></tp:SenderNonRepudiation><!--{me}-{name}encrypt-->
</tp:ebXMLSenderBinding>
<tp:ebXMLReceiverBinding tp:version="2.0">{reliable}<tp:ReceiverNonRepudiation>
<tp:NonRepudiationProtocol>http://www.w3.org/2000/09/xmldsig#</tp:NonRepudiationProtocol>
<tp:HashFunction>http://www.w3.org/2001/04/xmlenc#sha256</tp:HashFunction>
<tp:SignatureAlgorithm tp:w3c="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256">RSA-SHA256</tp:SignatureAlgorithm>
<tp:SigningSecurityDetailsRef tp:securityId="{me}-security"/></tp:ReceiverNonRepudiation><!--{me}-{name}decrypt-->
</tp:ebXMLReceiverBinding></tp:DocExchange>
"""
_RELIABLE = """<tp:ReliableMessaging><tp:Retries>3</tp:Retries><tp:RetryInterval>PT5M</tp:RetryInterval>
<tp:MessageOrderSemantics><!--{me}-order-->NotGuaranteed</tp:MessageOrderSemantics></tp:ReliableMessaging>
<tp:PersistDuration>P1D</tp:PersistDuration>"""
_BINDING = """<tp:Can{verb}><tp:ThisPartyActionBinding tp:id="{me}-{id}" tp:action="{action}" tp:packageId="message-package">
<tp:BusinessTransactionCharacteristics tp:isNonRepudiationRequired="true" tp:isNonRepudiationReceiptRequired="true" tp:isConfidential="none" tp:isAuthenticated="persistent" tp:isTamperProof="persistent" tp:isAuthorizationRequired="false" tp:timeToPerform="P1D"/>
<tp:ChannelId>{me}-channel</tp:ChannelId><!--{me}-{id}--></tp:ThisPartyActionBinding>
<tp:OtherPartyActionBinding>{other}</tp:OtherPartyActionBinding>{inside}</tp:Can{verb}>
"""


def _make_key(kind: str, bits: int) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, bits)
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


@functools.cache
def make_certificate(
    name: str,
    begins: datetime = BEGINS,
    ends: datetime = ENDS,
    *,
    bits: int = 2048,
    usage: str = "digital_signature",
    hosts: tuple[str, ...] = (),
    kind: str = "rsa",
) -> str:
    """Return a self-signed certificate in Base64; `bits` 0 is a key on P-256."""
    key = _make_key(kind if bits else "ec", bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    uses = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    for one in usage.split():
        uses[one] = True
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1000 + len(name), begins, ends)
        .add_extension(x509.KeyUsage(**uses), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts or (f"{name}.example",)]),
            critical=False,
        )
    )
    digest = None if kind == "ed25519" else hashes.SHA256()
    der = builder.sign(key, digest).public_bytes(serialization.Encoding.DER)
    return base64.b64encode(der).decode()


def write_cpa(*changes: tuple[str, str], nested: bool = False) -> bytes:
    """Return the document with texts replaced everywhere, each of which must be in it."""
    text = _HEAD + _write_party("a", "Buyer", nested) + _write_party("b", "Seller", nested) + _TAIL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text.encode()


def _write_party(me: str, role: str, nested: bool) -> str:
    usage, other = "digital_signature key_encipherment", "b" if me == "a" else "a"
    return _PARTY.format(
        me=me,
        role=role,
        bindings=_write_bindings(me, nested),
        certificate=make_certificate(me, usage=usage),
        anchor=make_certificate(other, usage=usage),
        signal_exchange=_EXCHANGE.format(me=me, name="signal-", reliable=""),
        exchange=_EXCHANGE.format(me=me, name="", reliable=_RELIABLE.format(me=me)),
    )


def _write_bindings(me: str, nested: bool) -> str:
    first, second = ("Send", "Receive") if me == "a" else ("Receive", "Send")
    other = "b" if me == "a" else "a"
    words = {"Send": ("send", "receive"), "Receive": ("receive", "send")}
    inner = _BINDING.format(
        me=me, verb=second, id=words[second][0], action="OrderResponse", other=f"{other}-{words[second][1]}", inside=""
    )  # fmt: skip
    outer = _BINDING.format(
        me=me,
        verb=first,
        id=words[first][0],
        action="Order",
        other=f"{other}-{words[first][1]}",
        inside=inner if nested else "",
    )
    # CanSend comes before CanReceive.
    if nested:
        return outer
    return outer + inner if first == "Send" else inner + outer


def write_envelope(side: str, algorithm: str, protocol: str = "XMLENC") -> str:
    end = '<tp:EncryptionCertificateRef tp:certId="b-cert"/>' if side == "Receiver" else ""
    return (
        f'<tp:{side}DigitalEnvelope><tp:DigitalEnvelopeProtocol tp:version="1.0">{protocol}</tp:DigitalEnvelopeProtocol>'
        f"<tp:EncryptionAlgorithm>{algorithm}</tp:EncryptionAlgorithm>{end}</tp:{side}DigitalEnvelope>"
    )
