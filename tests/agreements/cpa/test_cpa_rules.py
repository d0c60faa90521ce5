"""Each rule on CPA documents finds what it is for: a document with that one fault, and nothing else wrong."""

# ruff: noqa: E501  # a table of changes is read by its lines

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from gateway.agreements import CPA_RULES, check_cpa
from gateway.wire import parse_xml, serialize_element
from tests.agreements.cpa.documents import list_real_files, mutate_agreement
from tests.agreements.cpa.written_cpa import ENDS, NOW, make_certificate, write_cpa, write_envelope

Changes = tuple[tuple[str, str], ...]

_SIGN = "digital_signature key_encipherment"
_CERT = make_certificate("a", usage=_SIGN)
_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"


def _certificate(changed: str) -> Changes:
    """Put another certificate in the place of the buyer's, also where the seller trusts it."""
    return ((_CERT, changed),)


_ACKS = 'tp:ackRequested="always" tp:ackSignatureRequested="always"'
_CONFIDENTIAL = ('tp:isConfidential="none"', 'tp:isConfidential="persistent"')
_SIGNED = 'tp:isNonRepudiationRequired="true" tp:isNonRepudiationReceiptRequired="true" tp:isConfidential="none" tp:isAuthenticated="persistent" tp:isTamperProof="persistent"'
_OPEN = 'tp:isNonRepudiationRequired="false" tp:isNonRepudiationReceiptRequired="true" tp:isConfidential="none" tp:isAuthenticated="none" tp:isTamperProof="none"'
_NO_TLS = (
    '<tp:TransportServerSecurity><tp:TransportSecurityProtocol tp:version="1.2">TLS</tp:TransportSecurityProtocol>\n'
    '<tp:ServerCertificateRef tp:certId="{me}-cert"/><tp:ClientSecurityDetailsRef tp:securityId="{me}-security"/></tp:TransportServerSecurity>'
)
_CLIENT = (
    '<tp:TransportClientSecurity><tp:TransportSecurityProtocol tp:version="1.2">TLS</tp:TransportSecurityProtocol>\n'
    '<tp:ClientCertificateRef tp:certId="a-cert"/><tp:ServerSecurityDetailsRef tp:securityId="a-security"/></tp:TransportClientSecurity>'
)
_SIGNAL = """<tp:DeliveryChannel tp:channelId="a-signals" tp:transportId="a-transport" tp:docExchangeId="a-signal-exchange">
<tp:MessagingCharacteristics tp:syncReplyMode="none" tp:ackRequested="never\""""
_VERIFIED = f"""<tp:ReceiverNonRepudiation>
<tp:NonRepudiationProtocol>http://www.w3.org/2000/09/xmldsig#</tp:NonRepudiationProtocol>
<tp:HashFunction>http://www.w3.org/2001/04/xmlenc#sha256</tp:HashFunction>
<tp:SignatureAlgorithm tp:w3c="{_SHA256}">RSA-SHA256</tp:SignatureAlgorithm>
<tp:SigningSecurityDetailsRef tp:securityId="b-security"/></tp:ReceiverNonRepudiation>"""
_SENT = f"""<tp:SenderNonRepudiation>
<tp:NonRepudiationProtocol>http://www.w3.org/2000/09/xmldsig#</tp:NonRepudiationProtocol>
<tp:HashFunction>http://www.w3.org/2001/04/xmlenc#sha256</tp:HashFunction>
<tp:SignatureAlgorithm tp:w3c="{_SHA256}">RSA-SHA256</tp:SignatureAlgorithm>
<tp:SigningCertificateRef tp:certId="b-cert"/></tp:SenderNonRepudiation>"""
_RELIABLE = "<tp:ReliableMessaging><tp:Retries>3</tp:Retries><tp:RetryInterval>PT5M</tp:RetryInterval>"
_ORDER = ("<!--a-order-->NotGuaranteed", "Guaranteed"), ("<!--b-order-->NotGuaranteed", "Guaranteed")
_RECEIVES = "<tp:OtherPartyActionBinding>a-send</tp:OtherPartyActionBinding></tp:CanReceive>"
_NEW_CHANNEL = """<tp:DeliveryChannel tp:channelId="a-new" tp:transportId="a-transport" tp:docExchangeId="a-exchange">
<tp:MessagingCharacteristics tp:syncReplyMode="none" tp:ackRequested="always" tp:ackSignatureRequested="always" tp:duplicateElimination="always"/></tp:DeliveryChannel>"""
_MORE_BINDING = (
    '<tp:CanSend><tp:ThisPartyActionBinding tp:id="{id}" tp:action="{action}" tp:packageId="message-package">'
    "<tp:BusinessTransactionCharacteristics " + _SIGNED + "/><tp:ChannelId>a-channel</tp:ChannelId>"
    "</tp:ThisPartyActionBinding>{other}</tp:CanSend><tp:CanReceive>"
)
_TO_B = "<tp:OtherPartyActionBinding>b-receive</tp:OtherPartyActionBinding>"
_FROM_B = '<tp:CanReceive><tp:ThisPartyActionBinding tp:id="a-receive"'
_MORE_RECEIVED = _FROM_B.replace("a-receive", "a-more").replace("<tp:CanReceive>", "") + (
    ' tp:action="More" tp:packageId="message-package"><tp:BusinessTransactionCharacteristics '
    + _SIGNED
    + "/><tp:ChannelId>a-channel</tp:ChannelId></tp:ThisPartyActionBinding></tp:CanReceive>"
)
_A_SERVICE = "<tp:Service>urn:example:service:order</tp:Service>"

_A_CHANNEL = """tp:channelId="a-channel" tp:transportId="a-transport" tp:docExchangeId="a-exchange">
<tp:MessagingCharacteristics tp:syncReplyMode="none" tp:ackRequested="always" tp:ackSignatureRequested="always" tp:duplicateElimination="always\""""
_A_RECEIVE = f"""tp:id="a-receive" tp:action="OrderResponse" tp:packageId="message-package">
<tp:BusinessTransactionCharacteristics {_SIGNED}"""

#: The changes that make a good document break one rule alone; True where a response is nested in it.
FAULTS: dict[str, tuple[Changes, bool]] = {
    name: (changes, nested)
    for name, changes, nested in (
        ("xml", (("</tp:End>", "</tp:Ende>"),), False),
        ("schema", (("<tp:Retries>3", "<tp:Retries>many"),), False),
        ("reference-unresolved", (('tp:Constituent tp:idref="payload-part"/><!--constituents-->', 'tp:Constituent tp:idref="payload-part"/><tp:Constituent tp:idref="nothing"/>'),), False),
        ("reference-mistyped", (('tp:Constituent tp:idref="payload-part"/><!--constituents-->', 'tp:Constituent tp:idref="payload-part"/><tp:Constituent tp:idref="a-cert"/>'),), False),
        ("reference-foreign", (("<!--a-override-->", '<tp:OverrideMshActionBinding tp:action="Ping" tp:channelId="b-signals"/>'),), False),
        ("channel-unused", (("<!--a-channels-->", _NEW_CHANNEL),), False),
        ("transport-unused", (("<!--a-transports-->", '<tp:Transport tp:transportId="spare"/>'),), False),
        ("exchange-unused", (("<!--a-override-->", '<tp:DocExchange tp:docExchangeId="spare"/>'),), False),
        ("certificate-unused", (("<!--a-certificates-->", f'<tp:Certificate tp:certId="spare"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{_CERT}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></tp:Certificate>'),), False),
        ("security-unused", (("<!--a-certificates-->", '<tp:SecurityDetails tp:securityId="spare"/>'),), False),
        ("package-unused", (("<!--packages-->", '<tp:Packaging tp:id="spare"><tp:ProcessingCapabilities tp:parse="true" tp:generate="true"/><tp:CompositeList><tp:Composite tp:id="s" tp:mimetype="multipart/related"><tp:Constituent tp:idref="header-part"/></tp:Composite></tp:CompositeList></tp:Packaging>'),), False),
        ("part-unused", (("<!--parts-->", '<tp:SimplePart tp:id="spare" tp:mimetype="a/b"/>'),), False),
        ("terms-foreign", (("<!--a-send-->", '<x:y xmlns:x="urn:other"/>'),), False),
        ("terms-wrong", (('tp:timeToPerform="P1D"', 'tp:timeToPerform="P999Y"'),), False),
        ("filing-in-mailbox", (('tp:action="Order"', 'tp:action="Submit"'), ("urn:example:service:order", "urn:single-window:services:declaration")), False),
        ("status-proposed", (('tp:value="agreed"', 'tp:value="proposed"'),), False),
        ("status-unsigned", (('tp:value="agreed"', 'tp:value="signed"'),), False),
        ("status-signatures", (("</tp:CollaborationProtocolAgreement>", "<tp:Signature><ds:Signature><ds:SignedInfo><ds:CanonicalizationMethod Algorithm='urn:c'/><ds:SignatureMethod Algorithm='urn:s'/><ds:Reference URI=''><ds:DigestMethod Algorithm='urn:d'/><ds:DigestValue>QUJD</ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue>QUJD</ds:SignatureValue></ds:Signature></tp:Signature></tp:CollaborationProtocolAgreement>"),), False),
        ("period-reversed", (("<tp:End>2029", "<tp:End>2025"),), False),
        ("period-ended", (("<tp:Start>2026", "<tp:Start>2025"), ("<tp:End>2029", "<tp:End>2026")), False),
        ("period-later", (("<tp:Start>2026", "<tp:Start>2028"),), False),
        ("period-unzoned", (("<tp:Start>2026-01-01T00:00:00Z", "<tp:Start>2026-01-01T00:00:00"),), False),
        ("period-unreadable", (("<tp:End>2029", "<tp:End>12029"),), False),
        ("conversation-limit", (("</tp:End>", '</tp:End><tp:ConversationConstraints tp:invocationLimit="9"/>'),), False),
        ("conversation-negative", (("</tp:End>", '</tp:End><tp:ConversationConstraints tp:concurrentConversations="-1"/>'),), False),
        ("party-id-untyped", (('<tp:PartyId tp:type="urn:example:party-type">party-a<', "<tp:PartyId>party-a<"),), False),
        ("party-id-repeated", (("<!--a-id-->", '<tp:PartyId tp:type="urn:example:party-type">a2</tp:PartyId>'),), False),
        ("party-id-shared", (("<!--a-id-->", "<tp:PartyId>urn:x</tp:PartyId>"), ("<!--b-id-->", "<tp:PartyId>urn:x</tp:PartyId>")), False),
        ("name-white-space", (('tp:action="Order"', 'tp:action="Order "'),), False),
        ("service-untyped", ((_A_SERVICE, "<tp:Service>order</tp:Service>"),), False),
        ("service-reserved", ((_A_SERVICE, "<tp:Service>urn:oasis:names:tc:ebxml-msg:service</tp:Service>"),), False),
        ("role-same", (('tp:Role tp:name="Seller"', 'tp:Role tp:name="Buyer"'),), False),
        ("binding-version", (('<tp:ebXMLSenderBinding tp:version="2.0">', '<tp:ebXMLSenderBinding tp:version="1.0">'),), False),
        ("send-unmatched", ((_FROM_B, _MORE_BINDING.format(id="more", action="More", other="") + _FROM_B.replace("<tp:CanReceive>", "")),), False),
        ("receive-unmatched", ((_FROM_B, "<tp:CanReceive>" + _MORE_RECEIVED + _FROM_B),), False),
        ("binding-contradictory", ((_FROM_B, _MORE_BINDING.format(id="more", action="More", other=_TO_B) + _FROM_B.replace("<tp:CanReceive>", "")),), False),
        ("binding-one-sided", (("<tp:OtherPartyActionBinding>a-send</tp:OtherPartyActionBinding>", ""),), False),
        ("action-repeated", ((_FROM_B, _MORE_BINDING.format(id="more", action="Order", other="") + _FROM_B.replace("<tp:CanReceive>", "")), (_TO_B, ""), ("<tp:OtherPartyActionBinding>a-send</tp:OtherPartyActionBinding>", "")), False),
        ("process-different", (('urn:example:process:ordering"/>\n<tp:Role tp:name="Seller"', 'urn:example:process:other"/>\n<tp:Role tp:name="Seller"'),), False),
        ("response-asynchronous", (), True),
        ("response-unbound", ((f'tp:syncReplyMode="none" {_ACKS}', f'tp:syncReplyMode="signalsAndResponse" {_ACKS}'),), False),
        ("time-to-acknowledge", (('tp:timeToPerform="P1D"', 'tp:timeToAcknowledgeReceipt="PT1M"'),), False),
        ("channels-several", (("<tp:ChannelId>a-channel</tp:ChannelId><!--a-send-->", "<tp:ChannelId>a-channel</tp:ChannelId><tp:ChannelId>a-signals</tp:ChannelId>"),), False),
        ("sync-against-acks", ((f'tp:syncReplyMode="none" {_ACKS}', f'tp:syncReplyMode="responseOnly" {_ACKS}'),), True),
        ("ack-signature-alone", ((_ACKS, 'tp:ackRequested="never" tp:ackSignatureRequested="always"'), (_RELIABLE, "<tp:ReliableMessaging>"), ('tp:isNonRepudiationReceiptRequired="true"', "")), False),
        ("receipt-unrequested", ((_ACKS, 'tp:ackRequested="always" tp:ackSignatureRequested="never"'),), False),
        ("signals-acknowledged", ((_SIGNAL, _SIGNAL.replace("never", "always")),), False),
        ("override-unknown", (("<!--a-override-->", '<tp:OverrideMshActionBinding tp:action="Order" tp:channelId="a-signals"/>'),), False),
        ("override-repeated", (("<!--a-override-->", '<tp:OverrideMshActionBinding tp:action="Ping" tp:channelId="a-signals"/>' * 2),), False),
        ("actor-next", (('tp:duplicateElimination="always" tp:actor="urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"', 'tp:duplicateElimination="always" tp:actor="urn:oasis:names:tc:ebxml-msg:actor:nextMSH"'),), False),
        ("persist-short", (("P1D</tp:PersistDuration>", "PT19M</tp:PersistDuration>"),), False),
        ("retries-unacknowledged", ((_ACKS, 'tp:ackRequested="never" tp:ackSignatureRequested="never"'), ('tp:isNonRepudiationReceiptRequired="true"', "")), False),
        ("retries-uneliminated", (('tp:duplicateElimination="always"', 'tp:duplicateElimination="never"'),), False),
        ("retries-untimed", (("<tp:RetryInterval>PT5M</tp:RetryInterval>", ""),), False),
        ("retries-range", (("<tp:Retries>3", "<tp:Retries>-3"),), False),
        ("order-uneliminated", (*_ORDER, ('tp:duplicateElimination="always"', 'tp:duplicateElimination="perMessage"')), False),
        ("order-unacknowledged", (*_ORDER, (_ACKS, 'tp:ackRequested="perMessage" tp:ackSignatureRequested="always"')), False),
        ("order-synchronous", (*_ORDER, (f'tp:syncReplyMode="none" {_ACKS}', f'tp:syncReplyMode="mshSignalsOnly" {_ACKS}')), False),
        ("signature-unwanted", ((_SIGNED, _OPEN),), False),
        ("hash-weak", (("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"),), False),
        ("signature-weak", ((_SHA256, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),), False),
        ("signature-unknown", ((_SHA256, "urn:example:rsa-whirlpool"),), False),
        ("algorithms-disjoint", ((_VERIFIED, _VERIFIED.replace("rsa-sha256", "rsa-sha512")),), False),
        ("hash-different", ((_VERIFIED, _VERIFIED.replace("xmlenc#sha256", "xmlenc#sha512")),), False),
        ("verification-undescribed", ((_VERIFIED, ""), ("<!--b-decrypt-->", "")), False),
        ("anchors-missing", (('<tp:SigningSecurityDetailsRef tp:securityId="b-security"/>', ""),), False),
        ("anchors-unrelated", ((f'tp:certId="b-anchor"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{_CERT}', f'tp:certId="b-anchor"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{make_certificate("c")}'),), False),
        ("encryption-undescribed", (_CONFIDENTIAL,), False),
        ("encryption-unwanted", (("<!--b-decrypt-->", write_envelope("Receiver", _GCM)),), False),
        ("encryption-different", (_CONFIDENTIAL, ("<!--b-decrypt-->", write_envelope("Receiver", _GCM)), ("<!--a-decrypt-->", write_envelope("Receiver", _GCM).replace("b-cert", "a-cert")), ("<!--a-encrypt-->", write_envelope("Sender", "urn:other")), ("<!--b-encrypt-->", write_envelope("Sender", "urn:other"))), False),
        ("certificate-unreadable", _certificate("QUJD"), False),
        ("certificate-ends-early", _certificate(make_certificate("a", ends=datetime(2028, 1, 1, tzinfo=UTC), usage=_SIGN)), False),
        ("certificate-ended", _certificate(make_certificate("a", ends=datetime(2026, 2, 1, tzinfo=UTC), usage=_SIGN)), False),
        ("certificate-begins-late", _certificate(make_certificate("a", datetime(2027, 1, 1, tzinfo=UTC), ENDS, usage=_SIGN)), False),
        ("certificate-named", ((f"<ds:X509Data><ds:X509Certificate>{_CERT}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></tp:Certificate>\n<tp:Certificate tp:certId=\"a-anchor\">", f"<ds:KeyName>sha-256:{'0' * 64}</ds:KeyName></ds:KeyInfo></tp:Certificate>\n<tp:Certificate tp:certId=\"a-anchor\">"),), False),
        ("key-usage-signing", _certificate(make_certificate("a", usage="key_encipherment")), False),
        ("key-short", _certificate(make_certificate("a", bits=1024, usage=_SIGN)), False),
        ("key-algorithm", _certificate(make_certificate("a", bits=0, usage=_SIGN)), False),
        ("host-different", _certificate(make_certificate("a", usage=_SIGN, hosts=("elsewhere.example",))), False),
        ("endpoint-scheme", (("https://a.example/msh", "mailto:a@a.example"),), False),
        ("endpoint-purpose", (('tp:type="allPurpose"/><!--a-->', 'tp:type="response"/>'),), False),
        ("endpoint-repeated", (("<!--a-->", '<tp:Endpoint tp:uri="https://a.example/again"/>'),), False),
        ("endpoint-same", (("https://b.example/msh", "https://a.example/msh"), (make_certificate("b", usage=_SIGN), make_certificate("b", usage=_SIGN, hosts=("a.example",)))), False),
        ("transport-protocol", (('<tp:TransportProtocol tp:version="1.1">HTTP', '<tp:TransportProtocol tp:version="1.1">SMTP'),), False),
        ("transport-login", (('HTTP</tp:TransportProtocol>\n<tp:Endpoint', 'HTTP</tp:TransportProtocol><tp:AccessAuthentication>basic</tp:AccessAuthentication>\n<tp:Endpoint'),), False),
        ("tls-undescribed", ((_NO_TLS.format(me="a"), ""),), False),
        ("tls-unused", (("https://a.example/msh", "http://a.example/msh"),), False),
        ("tls-old", (('tp:version="1.2">TLS', 'tp:version="3.0">SSL'),), False),
        ("transient-open", ((_NO_TLS.format(me="a"), ""), ("https://a.example/msh", "http://a.example/msh"), ('tp:isConfidential="none"', 'tp:isConfidential="transient"')), False),
        ("client-certificate-missing", ((_CLIENT, ""),), False),
        ("package-root", (('tp:id="header-part" tp:mimetype="text/xml"', 'tp:id="header-part" tp:mimetype="text/plain"'),), False),
        ("package-type", (('tp:id="message" tp:mimetype="multipart/related"', 'tp:id="message" tp:mimetype="multipart/mixed"'),), False),
        ("package-circular", (("<!--constituents-->", '<tp:Constituent tp:idref="message"/>'),), False),
        ("package-incapable", (('tp:parse="true" tp:generate="true"/><!--message-->', 'tp:parse="false" tp:generate="true"/>'),), False),
        ("part-unsigned", (('"payload-part"/><!--constituents-->', '"payload-part" tp:excludedFromSignature="true"/>'),), False),
        ("part-occurs", (('"payload-part"/><!--constituents-->', '"payload-part" tp:minOccurs="2" tp:maxOccurs="1"/>'),), False),
        ("part-transformed", (('"payload-part"/><!--constituents-->', '"payload-part"><tp:SignatureTransforms><ds:Transform Algorithm="urn:x"/></tp:SignatureTransforms></tp:Constituent>'),), False),
        ("encryption-weak", (("<!--b-signal-decrypt-->", write_envelope("Receiver", "http://www.w3.org/2001/04/xmlenc#tripledes-cbc")),), False),
        ("encryption-cbc", (("<!--b-signal-decrypt-->", write_envelope("Receiver", "http://www.w3.org/2001/04/xmlenc#aes256-cbc")),), False),
        ("encryption-rsa15", (("<!--b-signal-decrypt-->", write_envelope("Receiver", "http://www.w3.org/2001/04/xmlenc#rsa-1_5")),), False),
        ("ack-different", ((_A_CHANNEL, _A_CHANNEL.replace('ackRequested="always"', 'ackRequested="perMessage"')),), False),
        ("elimination-different", ((_A_CHANNEL, _A_CHANNEL.replace('duplicateElimination="always"', 'duplicateElimination="perMessage"')),), False),
        ("sync-different", ((_A_CHANNEL, _A_CHANNEL.replace('syncReplyMode="none"', 'syncReplyMode="mshSignalsOnly"')),), False),
        ("ack-signature-impossible", ((f'<tp:DocExchange tp:docExchangeId="b-signal-exchange">\n<tp:ebXMLSenderBinding tp:version="2.0">{_SENT}', '<tp:DocExchange tp:docExchangeId="b-signal-exchange">\n<tp:ebXMLSenderBinding tp:version="2.0">'), ("<tp:ChannelId>b-channel</tp:ChannelId><!--b-receive-->", "<tp:ChannelId>b-in</tp:ChannelId>"), ("<!--b-channels-->", _NEW_CHANNEL.replace("a-new", "b-in").replace("a-transport", "b-transport").replace("a-exchange", "b-signal-exchange"))), False),
        ("ack-unrepeated", tuple((f"{_RELIABLE}\n<tp:MessageOrderSemantics><!--{me}-order-->NotGuaranteed</tp:MessageOrderSemantics></tp:ReliableMessaging>", "") for me in "ab"), False),
        ("characteristics-different", ((_A_RECEIVE, _A_RECEIVE.replace('ReceiptRequired="true"', 'ReceiptRequired="false"')),), False),
        ("package-different", ((_A_RECEIVE, _A_RECEIVE.replace("message-package", "signal-package")),), False),
        ("endpoint-missing", ((f'<tp:TransportReceiver><tp:TransportProtocol tp:version="1.1">HTTP</tp:TransportProtocol>\n<tp:Endpoint tp:uri="https://b.example/msh" tp:type="allPurpose"/><!--b-->\n{_NO_TLS.format(me="b")}\n</tp:TransportReceiver>', ""),), False),
        ("sender-missing", ((f'<tp:TransportSender><tp:TransportProtocol tp:version="1.1">HTTP</tp:TransportProtocol>\n{_CLIENT}\n</tp:TransportSender>', ""),), False),
        ("key-usage-encryption", (("<!--a-signal-decrypt-->", write_envelope("Receiver", _GCM).replace("b-cert", "a-cert")), *_certificate(make_certificate("a", usage="digital_signature"))), False),
        ("reliability-different", ((f"{_RELIABLE}\n<tp:MessageOrderSemantics><!--a-order-->", f"{_RELIABLE.replace('>3<', '>4<')}\n<tp:MessageOrderSemantics>"),), False),
        ("signing-undescribed", ((f"<tp:PersistDuration>P1D</tp:PersistDuration>{_SENT}", "<tp:PersistDuration>P1D</tp:PersistDuration>"),), False),
        ("unsigned", ((_SIGNED, _OPEN), *((f"<tp:PersistDuration>P1D</tp:PersistDuration>{_SENT.replace('b-cert', me + '-cert')}", "<tp:PersistDuration>P1D</tp:PersistDuration>") for me in "ab")), False),
    )
}  # fmt: skip
#: Judged where an agreement is loaded: the document alone does not tell.
ELSEWHERE = {"signature-wrong", "signature-missing"}


@pytest.mark.parametrize("wrong", ["https://a.example:70000/msh", "https://name:word@a.example/msh"])
def test_an_endpoint_that_nobody_can_post_to_is_an_error(wrong: str) -> None:
    assert "endpoint-scheme" in found_by((("https://a.example/msh", wrong),), nested=False)


@pytest.mark.parametrize(
    ("start", "end", "rules"),
    [
        ("2026<!-- x -->-01-01T00:00:00Z", "2029-01-01T00:00:00Z", []),
        ("2026-01-01T00:00:00<!-- x -->Z", "2029-01-01T00:00:00Z", []),
        ("2026-01-01T00:00:00<!-- x -->", "2029-01-01T00:00:00Z", ["period-unzoned"]),
        ("2026-01-01T00:00:00+09:00", "2028-12-31T24:00:00Z", []),
        ("2025-12-31T24:00:00", "2028-12-31T24:00:00.00Z", ["period-unzoned"]),
        ("2026-01-01T00:00:00Z", "2028-12-31T24:00:01Z", ["schema"]),
        ("2026-01-01T00:00:00Z", "9999-12-31T24:00:00Z", ["period-unreadable"]),
        ("12026-01-01T00:00:00Z", "2029-01-01T00:00:00Z", ["period-unreadable"]),
        ("2026-01-01T00:00:00Z", "2029-01-01T00:00:00", ["period-unzoned"]),
    ],
)
def test_a_period_is_read_as_the_schema_permits_it(start: str, end: str, rules: list[str]) -> None:
    changes = (("2026-01-01T00:00:00Z</tp:Start>", f"{start}</tp:Start>"), ("2029-01-01T00:00:00Z</tp:End>", f"{end}</tp:End>"))  # fmt: skip
    assert found_by(changes, nested=False) == rules


def test_the_hour_24_is_the_end_of_the_day() -> None:
    document = check_cpa(write_cpa(("2029-01-01T00:00:00Z", "2028-12-31T24:00:00Z")), "a.xml", NOW).document
    assert document is not None
    assert document.end == datetime(2029, 1, 1, tzinfo=UTC)


def found_by(changes: Changes, nested: bool) -> list[str]:
    return [one.rule for one in check_cpa(write_cpa(*changes, nested=nested), "a.xml", NOW).findings]


def test_nothing_is_wrong_with_the_good_document() -> None:
    assert found_by((), False) == []


@pytest.mark.night
@pytest.mark.parametrize("rule", sorted(set(CPA_RULES) - ELSEWHERE))
def test_a_rule_finds_its_fault_and_no_other_rule_does(rule: str) -> None:
    assert set(found_by(*FAULTS[rule])) == {rule}


@pytest.mark.parametrize("rule", sorted(set(CPA_RULES) - ELSEWHERE))
def test_a_rule_finds_its_fault_in_whichever_party_comes_first(rule: str) -> None:
    changes, nested = FAULTS[rule]
    data = write_cpa(*changes, nested=nested)
    first, second = re.findall(rb"<tp:PartyInfo .*?</tp:PartyInfo>\n", data, re.DOTALL)
    assert first + second in data
    findings = check_cpa(data.replace(first + second, second + first), "a.xml", NOW).findings
    assert {one.rule for one in findings} == {rule}


@pytest.mark.parametrize(
    ("attribute", "other_value"),
    [
        ("isNonRepudiationRequired", "false"),
        ("isNonRepudiationReceiptRequired", "false"),
        ("isConfidential", "persistent"),
        ("isAuthenticated", "none"),
        ("isTamperProof", "none"),
    ],
)
def test_each_characteristic_is_compared_between_the_sides(attribute: str, other_value: str) -> None:
    changed = re.sub(f'tp:{attribute}="[a-z]+"', f'tp:{attribute}="{other_value}"', _A_RECEIVE)
    findings = check_cpa(write_cpa((_A_RECEIVE, changed)), "a.xml", NOW).findings
    (text,) = (one.text for one in findings if one.rule == "characteristics-different")
    assert text == f"the sides of OrderResponse differ in {attribute}"


@pytest.mark.parametrize(
    "change",
    [
        ('tp:cpaid="urn:example:cpa:1"', 'tp:cpaid="urn:example:cpa:1 "'),
        (">party-a</tp:PartyId>", ">party-a </tp:PartyId>"),
        ('tp:Role tp:name="Buyer"', 'tp:Role tp:name="Buyer "'),
        (_A_SERVICE, "<tp:Service>urn:example:service:order </tp:Service>"),
        ('tp:action="OrderResponse"', 'tp:action="OrderResponse "'),
    ],
    ids=["agreement", "party", "role", "service", "action"],
)
def test_each_name_has_no_white_space_around_it(change: tuple[str, str]) -> None:
    assert "name-white-space" in found_by((change,), nested=False)


@pytest.mark.parametrize("attribute", ["invocationLimit", "concurrentConversations"])
@pytest.mark.parametrize(("limit", "rule"), [("9", "conversation-limit"), ("-1", "conversation-negative")])
def test_each_limit_of_conversations_is_judged(attribute: str, limit: str, rule: str) -> None:
    constraints = f'</tp:End><tp:ConversationConstraints tp:{attribute}="{limit}"/>'
    assert found_by((("</tp:End>", constraints),), nested=False) == [rule]


def test_a_package_of_one_part_need_not_be_multipart() -> None:
    single = ('tp:id="message" tp:mimetype="multipart/related"', 'tp:id="message" tp:mimetype="text/xml"')
    assert found_by((single,), False) == ["package-type"]
    without_payload = (
        ('<tp:Constituent tp:idref="payload-part"/>', ""),
        ('<tp:SimplePart tp:id="payload-part" tp:mimetype="application/xml"/>', ""),
    )
    assert found_by((single, *without_payload), False) == []


def test_the_repeats_of_each_binding_are_judged() -> None:
    """Each party has them where it sends and where it receives; the last is as wrong as the first."""
    data = write_cpa()
    repeats = [found.span() for found in re.finditer(b"<tp:Retries>3</tp:Retries>", data)]
    assert len(repeats) > 2
    for start, end in repeats:
        changed = data[:start] + b"<tp:Retries>-3</tp:Retries>" + data[end:]
        (wrong,) = (one for one in check_cpa(changed, "a.xml", NOW).findings if one.rule == "retries-range")
        assert "Retries -3" in wrong.text


@pytest.mark.parametrize(
    ("left_out", "known", "missing"),
    [
        ("<tp:Retries>3</tp:Retries>", "RetryInterval", "Retries"),
        ("<tp:RetryInterval>PT5M</tp:RetryInterval>", "Retries", "RetryInterval"),
    ],
)
def test_repeats_have_a_number_and_an_interval(left_out: str, known: str, missing: str) -> None:
    findings = check_cpa(write_cpa((left_out, "")), "a.xml", NOW).findings
    assert {one.text for one in findings if one.rule == "retries-untimed"} == {
        f"{known} is agreed, {missing} is not: the hub has its own"
    }


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519", "dsa"])
@pytest.mark.parametrize(
    ("algorithm", "fitting"),
    [
        (_SHA256, "rsa"),
        ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", "ec"),
        ("http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519", "ed25519"),
        ("http://www.w3.org/2009/xmldsig11#dsa-sha256", "dsa"),
    ],
)
def test_a_key_fits_the_signatures_of_its_kind(kind: str, algorithm: str, fitting: str) -> None:
    changes = (*_certificate(make_certificate("a", usage=_SIGN, kind=kind)), (_SHA256, algorithm))
    findings = check_cpa(write_cpa(*changes), "a.xml", NOW).findings
    # The key of the other party is an RSA key; each party signs messages, and signals.
    wrong = [one.text for one in findings if one.rule == "key-algorithm"]
    assert sum("a-cert" in one for one in wrong) == (0 if kind == fitting else 2)
    assert sum("b-cert" in one for one in wrong) == (0 if fitting == "rsa" else 2)


@pytest.mark.parametrize("level", ["none", "transient", "persistent", "transient-and-persistent"])
@pytest.mark.parametrize("attribute", ["isConfidential", "isAuthenticated", "isTamperProof"])
def test_a_connection_is_open_for_each_level_that_protects_it(attribute: str, level: str) -> None:
    characteristics = _OPEN.replace(f'tp:{attribute}="none"', f'tp:{attribute}="{level}"')
    changes = (
        (_NO_TLS.format(me="a"), ""),
        ("https://a.example/msh", "http://a.example/msh"),
        (_SIGNED, characteristics),
    )
    assert ("transient-open" in found_by(changes, False)) == level.startswith("transient")


@pytest.mark.night
def test_every_finding_tells_where_and_why_and_by_which_clause() -> None:
    assert set(FAULTS) | ELSEWHERE == set(CPA_RULES)
    assert len(CPA_RULES) >= 40
    for rule, (changes, nested) in FAULTS.items():
        data = write_cpa(*changes, nested=nested)
        for one in check_cpa(data, "a.xml", NOW).findings:
            assert (one.severity, one.clause) == (CPA_RULES[rule].severity, CPA_RULES[rule].clause)
            assert re.fullmatch(r"a\.xml:[1-9]\d* /.*", one.location)
            assert one.text
            assert not any(part in one.text for part in ("['", "{'", "()", "None", "Traceback")), one.text


@pytest.mark.night
def test_the_path_of_a_finding_leads_to_its_element() -> None:
    names = {
        "tp": "http://www.oasis-open.org/committees/ebxml-cppa/schema/cpp-cpa-2_0.xsd",
        "ds": "http://www.w3.org/2000/09/xmldsig#",
    }
    for rule, (changes, nested) in FAULTS.items():
        if rule == "xml":
            continue
        data = write_cpa(*changes, nested=nested)
        root = parse_xml(data)
        for one in check_cpa(data, "a.xml", NOW).findings:
            path = one.xpath
            # An attribute that the document leaves to its default has the path it would have.
            found = root.xpath(path.partition("/@")[0], namespaces=names)
            assert len(found) == 1, (rule, path)  # type: ignore[arg-type]
            assert one.location == f"a.xml:{found[0].sourceline} {path}", rule  # type: ignore[index, union-attr]


@pytest.mark.vectors
def test_the_real_agreements_are_judged_without_an_error(vectors: Path) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    for file in list_real_files(vectors):
        judged = check_cpa(file.read_bytes(), file.name, at)
        assert judged.document is not None
        assert [one for one in judged.findings if one.severity == "error"] == [], file.name
        assert judged.findings, file.name


def _judge_mutants(documents: list[etree._Element], count: int, seed: int) -> tuple[int, int]:
    rng = random.Random(seed)
    read = refused = 0
    for _ in range(count):
        root, done = mutate_agreement(rng, rng.choice(documents))
        data = serialize_element(root)
        if rng.random() < 0.1:
            at = rng.randrange(len(data))
            data = data[:at] + rng.randbytes(3) + data[at + rng.randrange(4) :]
        judged = check_cpa(data, "mutant.xml", NOW)
        read += judged.document is not None
        refused += any(one.severity == "error" for one in judged.findings)
        assert judged.document is not None or judged.findings, done
    return read, refused


@pytest.mark.night
def test_no_spoilt_document_makes_the_rules_fail() -> None:
    documents = [parse_xml(write_cpa(nested=nested)) for nested in (False, True)]
    read, refused = _judge_mutants(documents, 60, seed=3)
    assert read > 5
    assert refused > 10


@pytest.mark.night
@pytest.mark.vectors
def test_no_spoilt_real_document_makes_the_rules_fail(vectors: Path) -> None:
    documents = [parse_xml(file.read_bytes()) for file in list_real_files(vectors)]
    drawn = 150
    read, refused = _judge_mutants(documents, drawn, seed=4)
    assert read > drawn // 10
    assert refused > drawn // 5
