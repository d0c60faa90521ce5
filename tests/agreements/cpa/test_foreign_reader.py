"""What the gateway writes as a CPA is read by a reader that has nothing of the gateway."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from gateway.agreements import (
    Encryption,
    PMode,
    RegisteredParty,
    Reliability,
    check_cpa,
    convert_cpa,
    read_cpa,
    read_pmodes,
    write_cpa,
)
from gateway.message_model import PartyId
from gateway_conformance import DATA_FOLDER
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from gateway_conformance.standard import InvitedGateway, make_invitation
from tests.agreements.cpa.documents import list_real_files
from tests.agreements.cpa.foreign_reader import TP, ForeignCpa, get, list_faults, list_schema_errors
from tests.agreements.cpa.written_cpa import make_certificate
from tests.agreements.cpa.written_cpa import write_cpa as write_good_cpa

#: The only real agreement that binds its actions to the package of signals.
BOUND_TO_SIGNALS = "cpaStubEBF.be.https.signed.sync.xml"
SHIPPED = sorted(
    path for path in Path(str(DATA_FOLDER)).rglob("*.yaml") if b"\nprotocol: ebms2" in path.read_bytes()
)
EXAMPLE = next(path for path in SHIPPED if path.name == "example.yaml")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ENVELOPE = "<tp:SenderDigitalEnvelope><tp:DigitalEnvelopeProtocol>XMLENC</tp:DigitalEnvelopeProtocol>"
ENVELOPE += "</tp:SenderDigitalEnvelope>"
OVERRIDE = '<tp:OverrideMshActionBinding tp:action="Order" tp:channelId="a-channel"/>'


def compute_pin(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def decode_certificate(name: str, usage: str = "digital_signature", bits: int = 2048) -> bytes:
    return base64.b64decode(make_certificate(name, usage=usage, bits=bits))


def register_parties(
    pmodes: Sequence[PMode], bits: int = 2048
) -> tuple[dict[PartyId, RegisteredParty], dict[str, bytes]]:
    """Return the parties of P-Modes, each with certificates of its own for each use, and these by SHA-256."""
    parties, certificates = {}, {}
    for number, ids in enumerate(
        dict.fromkeys(ids for one in pmodes for ids in (one.from_party, one.to_party))
    ):
        made = [
            decode_certificate(f"signs{number}", bits=bits),
            decode_certificate(f"decrypts{number}", "key_encipherment"),
            decode_certificate(f"calls{number}"),
            decode_certificate(f"serves{number}"),
        ]
        signing, encryption, client, server = map(compute_pin, made)
        certificates |= {compute_pin(der): der for der in made}
        parties[ids[0]] = RegisteredParty(f"Party {number}", (signing,), (encryption,), client, server)
    return parties, certificates


def read_shipped(path: Path) -> tuple[PMode, ...]:
    """Return the P-Modes of a shipped file; what is put in when a folder is made is put in here."""
    values = {
        **dict.fromkeys(("suite_pins", "gateway_pins", "suite_envelope", "gateway_envelope"), ""),
        **{"before": "2026-01-01T00:00:00Z", "begun": "2026-02-01T00:00:00Z", "from": "2026-02-01T00:00:00Z"},
        **{"ends": "2028-01-01T00:00:00Z", "after": "2029-01-01T00:00:00Z", "until": "2028-01-01T00:00:00Z"},
        "gateway_ids": '[{"value": "urn:example:hub"}]',
        "url": "http://hub.example/msh/ebms2",
        "callback": "http://partner.example",
        "member": "a",
        "broker": "8901",
    }
    text = path.read_text(encoding="utf-8")
    text = text.replace("ids: {hub}", f"ids: {values['gateway_ids']}").replace("{hub}", "8900")
    text = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text)
    return read_pmodes(text.encode(), path.name)


def read_again(data: bytes) -> dict[str, PMode]:
    return {one.id: one for one in convert_cpa(read_cpa(data, "again.xml"))}


def set_https(pmodes: Sequence[PMode]) -> tuple[PMode, ...]:
    return tuple(
        replace(
            one,
            endpoint=(one.endpoint or "").replace("http:", "https:") or None,
            reply_endpoint=(one.reply_endpoint or "").replace("http:", "https:") or None,
            security=replace(one.security, mutual_tls=True),
        )
        for one in pmodes
    )


@pytest.mark.vectors
def test_the_real_agreements_meet_each_demand(vectors: Path) -> None:
    files = list_real_files(vectors)
    assert len(files) == 22
    for file in files:
        data = file.read_bytes()
        faults = list_faults(data)
        if file.name == BOUND_TO_SIGNALS:
            faults = [one for one in faults if not one.endswith("is bound to the package of signals")]
        assert (file.name, faults, list_schema_errors(data, vectors)) == (file.name, [], [])


_GOOD_CHANGES = (("RSA-SHA256<", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256<"),)


def cut(name: str) -> tuple[str, str]:
    """Return the pattern of all elements of a name, and nothing in their place."""
    return rf"<tp:{name}[ >].*?</tp:{name}>", ""


@pytest.mark.night
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('tp:value="agreed"', 'tp:value="proposed"'), "the agreement is not agreed"),
        (('tp:id="payload-part"', 'tp:id="header-part"'), "id header-part occurs twice"),
        (("<tp:ChannelId>a-", "<tp:ChannelId>b-"), "ChannelId refers to b-channel of the other party"),
        (('tp:transportId="a-transport" tp:d', 'tp:transportId="no" tp:d'), "to no, which is no Transport"),
        (("<ds:X509Data>.*?</ds:X509Data>", "<ds:KeyName>a</ds:KeyName>"), "has no X509Certificate"),
        (cut("ebXMLReceiverBinding"), "ebXMLReceiverBinding is missing"),
        (cut("ebXMLSenderBinding"), "ebXMLReceiverBinding is missing"),
        (cut("TransportReceiver"), "no TransportReceiver"),
        (cut("TransportSender"), "no TransportSender"),
        (cut("TransportServerSecurity"), "TransportServerSecurity do not fit"),
        (cut("ReceiverNonRepudiation"), "ReceiverNonRepudiation is missing"),
        (cut("SenderNonRepudiation"), "its channel describes no signature"),
        (('<tp:SigningSecurityDetailsRef tp:securityId="a-security"/>', ""), "no SigningSecurityDetailsRef"),
        (cut("TrustAnchors"), "leads to no trust anchor"),
        (("(<tp:ebXMLReceiverBinding[^>]*>)<tp:Reli.*?</tp:PersistDuration>", r"\1"), "repeat differently"),
        (cut("ReliableMessaging"), "has no ReliableMessaging"),
        (('packageId="message-package"', 'packageId="signal-package"'), "bound to the package of signals"),
        (cut("OtherPartyActionBinding"), "a-send names no counterpart"),
        (("(BinaryBinding>|ActionBinding>)b-receive", r"\1b-send"), "is not named by its counterpart"),
        (('(tp:id="b-receive" tp:action)="Order"', r'\1="Ordering"'), "differ in action or package"),
        (('(tp:id="b-receive".{,30} tp:packageId)="m', r'\1="signal-package" x="m'), "differ in action or"),
        (
            ("<tp:Service>(.*?Buyer|urn:example:service:order</tp:Service><!--a)", r"<tp:Service>urn:x\1"),
            "service",
        ),
        (("#rsa-sha256<", "#ecdsa-sha256<"), "has no key for"),
        (("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256<", "RSA-SHA256<"), "RSA-SHA256 is no URI"),
        (("http://www.w3.org/2001/04/xmlenc#sha256", "SHA256"), "HashFunction SHA256 is no URI"),
        (
            (
                '(<tp:Composite [^>]*>\\s*)<tp:Constituent tp:idref="header-part"',
                r'\1<tp:Constituent tp:idref="payload-part"',
            ),
            "does not begin with the message header",
        ),
        (('(urn:example:schema") tp:version="2.0"', r"\1"), "has no namespace of version 2.0"),
        (("<!--a-encrypt-->", ENVELOPE), "ReceiverDigitalEnvelope is missing"),
        (('isConfidential="none"', 'isConfidential="persistent"'), "has no SenderDigitalEnvelope"),
        (("<!--a-send-->", """<x terms='{"sign_status": true}'/>"""), "by terms of the gateway alone"),
        (("<!--a-override-->", OVERRIDE), "Order is no signal"),
        ((r'tp:actor="[^"]*"', ""), "has no actor"),
    ],
)
def test_each_demand_is_noticed(change: tuple[str, str], fault: str) -> None:
    """A reader that finds nothing wrong would be no test of the writer."""
    good = write_good_cpa(("RSA-SHA256<", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256<")).decode()
    assert list_faults(good.encode()) == []
    broken = re.sub(change[0], change[1], good, flags=re.DOTALL)
    assert broken != good
    faults = list_faults(broken.encode())
    assert any(fault in one for one in faults), faults


@pytest.mark.night
@pytest.mark.parametrize("bits", [2048, 0], ids=["rsa", "p-256"])
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_a_shipped_agreement_is_written_for_others(path: Path, bits: int) -> None:
    plain = read_shipped(path)
    for pmodes in (plain, set_https(plain)):
        parties, certificates = register_parties(pmodes, bits)
        data = write_cpa(pmodes, parties, certificates)
        assert list_faults(data) == []
        assert read_again(data) == {one.id: one for one in pmodes}


@pytest.mark.vectors
def test_what_is_written_is_valid_by_the_schema_of_the_standard(vectors: Path) -> None:
    for path in SHIPPED:
        pmodes = set_https(read_shipped(path))
        assert list_schema_errors(write_cpa(pmodes, *register_parties(pmodes)), vectors) == []


@pytest.mark.vectors
def test_a_real_agreement_that_is_loaded_and_written_is_read_where_it_came_from(vectors: Path) -> None:
    """It keeps its terms in the words of the standard alone."""
    for file in list_real_files(vectors):
        document = read_cpa(file.read_bytes(), file.name)
        pmodes = convert_cpa(document)
        holders = [one for party in document.parties for one in party.certificates.values()]
        known = {compute_pin(one.chain[0]): one.chain[0] for one in holders}
        names = {
            PartyId(one.value, one.type): RegisteredParty(party.name)
            for party in document.parties
            for one in party.ids
        }
        data = write_cpa(pmodes, names, known)
        assert (file.name, list_faults(data), list_schema_errors(data, vectors)) == (file.name, [], [])
        assert b":Terms" not in data, file.name
        assert read_again(data) == {one.id: one for one in pmodes}, file.name
        assert summarize(data) == summarize(file.read_bytes()), file.name


def summarize(data: bytes) -> dict[tuple[str, str], list[object]]:
    """Return what a handler looks up for each action of each party: its channel with both halves."""
    cpa = ForeignCpa(etree.fromstring(data))
    found = {}
    for party in cpa.parties:
        for binding in party.iter(TP + "ThisPartyActionBinding"):
            channel = cpa.by_id[(binding.findtext(TP + "ChannelId") or "").strip()]
            transport = cpa.by_id[get(channel, "transportId")]
            exchange = cpa.by_id[get(channel, "docExchangeId")]
            service = next(binding.iterancestors(TP + "ServiceBinding")).find(TP + "Service")
            key = (
                str(binding.getparent().tag),
                f"{get(service, 'type')} {service.text} {get(binding, 'action')}",
            )
            found[key] = [
                dict(binding.find(TP + "BusinessTransactionCharacteristics").attrib),
                dict(channel.find(TP + "MessagingCharacteristics").attrib),
                [get(one, "uri") for one in transport.iter(TP + "Endpoint")],
                *([(one.text or "").strip() for one in exchange.iter(TP + name)] for name in DESCRIBED),
                [
                    compute_octets(cpa, one)
                    for one in (*exchange.iter(), *transport.iter())
                    if one.get(TP + "certId")
                ],
            ]
    return found


DESCRIBED = (
    *("Retries", "RetryInterval", "MessageOrderSemantics", "PersistDuration", "HashFunction"),
    *("SignatureAlgorithm", "DigitalEnvelopeProtocol", "EncryptionAlgorithm"),
)


def compute_octets(cpa: ForeignCpa, reference: etree._Element) -> tuple[str, str]:
    """Return what a reference is and the digest of the certificate that it leads to."""
    octets = cpa.by_id[get(reference, "certId")].find(".//{*}X509Certificate")
    assert octets is not None
    return str(etree.QName(reference).localname), compute_pin(base64.b64decode(octets.text or ""))


@pytest.mark.night
def test_the_agreements_of_an_invitation_are_for_others() -> None:
    authority = make_authority("CN=Authority,O=Example", NOW)
    made = [
        issue_certificate(
            authority, f"CN={name},O=Example", NOW, CertificateOrder(profile=profile, key_kind=kind)
        )
        for name, profile, kind in (("signs", "signing", "p-256"), ("decrypts", "encryption", "rsa-2048"))
    ]
    hub = InvitedGateway(
        [made[0].certificate], [PartyId("urn:example:hub")], "http://hub.example/msh", made[1].certificate
    )
    invitation = make_invitation(authority, hub, "http://suite.example", NOW)
    written = {name: data for name, data in invitation.files.items() if name.startswith("cpa/")}
    assert len(written) > 9
    for name, data in written.items():
        assert (name, list_faults(data)) == (name, [])


def export_example(**changes: object) -> tuple[tuple[PMode, ...], bytes]:
    """Return the example between a broker and the hub with other terms, and its CPA."""
    pmodes = read_shipped(EXAMPLE)
    pmodes = tuple(replace(one, **changes) for one in pmodes)  # type: ignore[arg-type]
    data = write_cpa(pmodes, *register_parties(pmodes))
    assert read_again(data) == {one.id: one for one in pmodes}
    return pmodes, data


def test_who_encrypts_uses_another_certificate_than_who_verifies() -> None:
    _, data = export_example(encryption=Encryption("XMLENC", ("rsa-oaep", "aes256-gcm", "AES-128-GCM")))
    assert list_faults(data) == []
    cpa = ForeignCpa(etree.fromstring(data))
    for party in cpa.parties:
        used = {
            name: {compute_octets(cpa, one)[1] for one in party.iter(TP + name)}
            for name in ("SigningCertificateRef", "EncryptionCertificateRef")
        }
        assert len(used["SigningCertificateRef"]) == len(used["EncryptionCertificateRef"]) == 1
        assert used["SigningCertificateRef"].isdisjoint(used["EncryptionCertificateRef"])
    algorithms = [(one.text, get(one, "w3c")) for one in cpa.parties[0].iter(TP + "EncryptionAlgorithm")][:3]
    xmlenc = "http://www.w3.org/2009/xmlenc11#"
    uris = [f"{xmlenc}{name}" for name in ("aes256-gcm", "aes128-gcm", "rsa-oaep")]
    assert algorithms == [(one, one) for one in uris]


@pytest.mark.night
@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("RSA-SHA256", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        ("rsa_sha_512", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"),
        ("http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
    ],
)
def test_a_short_name_of_a_signature_becomes_its_uri(name: str, uri: str) -> None:
    pmodes = read_shipped(EXAMPLE)
    security = replace(pmodes[0].security, signature_algorithms=(name,), hash_function="SHA-512")
    _, data = export_example(security=security)
    root = etree.fromstring(data)
    assert list_faults(data) == []
    assert {(one.text, get(one, "w3c")) for one in root.iter(TP + "SignatureAlgorithm")} == {(uri, uri)}
    assert "http://www.w3.org/2001/04/xmlenc#sha512" in {one.text for one in root.iter(TP + "HashFunction")}


@pytest.mark.night
@pytest.mark.parametrize("signed", [True, False])
def test_signed_status_requests_are_agreed_in_words_of_the_standard(signed: bool) -> None:
    pmodes = read_shipped(EXAMPLE)
    _, data = export_example(security=replace(pmodes[0].security, sign_status=signed))
    assert b"sign_status" not in data
    assert b"signals&quot;:" not in data
    cpa = ForeignCpa(etree.fromstring(data))
    assert [cpa.get_status_signature(party) is not None for party in cpa.parties] == [signed, signed]


def test_only_the_party_that_must_sign_status_requests_has_a_channel_for_them() -> None:
    pmodes = read_shipped(EXAMPLE)
    pmodes = tuple(
        replace(one, security=replace(one.security, sign_status=one.from_role == "Hub")) for one in pmodes
    )
    data = write_cpa(pmodes, *register_parties(pmodes))
    assert b"sign_status" not in data
    cpa = ForeignCpa(etree.fromstring(data))
    assert [cpa.get_status_signature(party) is not None for party in cpa.parties] == [False, True]
    assert read_again(data) == {one.id: one for one in pmodes}


@pytest.mark.night
def test_a_channel_has_the_signer_of_what_is_sent_and_of_what_is_acknowledged_by_it() -> None:
    """Two certificates of one party: a channel that receives is signed by the one that its signals have."""
    first, second = (compute_pin(decode_certificate(f"broker{number}")) for number in (1, 2))
    held = {first: decode_certificate("broker1"), second: decode_certificate("broker2")}
    pins = {"Submit": first, "Amend": second, "Result": first, "Notice": second}
    pmodes = [one for one in read_shipped(EXAMPLE) if one.action in pins]
    for number, one in enumerate(pmodes):
        name = "certificates" if one.from_role == "Applicant" else "reply_certificates"
        security = replace(one.security, **{name: (pins[one.action],)})  # type: ignore[arg-type]
        pmodes[number] = replace(one, security=security)
    parties, certificates = register_parties(pmodes)
    data = write_cpa(pmodes, parties, certificates | held)
    assert list_faults(data) == []
    assert read_again(data) == {one.id: one for one in pmodes}
    cpa = ForeignCpa(etree.fromstring(data))
    for binding in cpa.parties[0].iter(TP + "ThisPartyActionBinding"):
        exchange = cpa.get_exchange((binding.findtext(TP + "ChannelId") or "").strip())
        (signing,) = exchange.iter(TP + "SigningCertificateRef")
        assert compute_octets(cpa, signing)[1] == pins[get(binding, "action")], get(binding, "action")
    # Nothing but what is sent and what comes by these channels.
    assert len(cpa.parties[0].findall(TP + "DeliveryChannel")) == 3


def test_a_party_that_only_sends_has_both_halves() -> None:
    pmodes = read_shipped(EXAMPLE)
    sent = tuple(one for one in pmodes if one.from_role == "Applicant")
    data = write_cpa(sent, *register_parties(sent))
    assert list_faults(data) == []


def test_a_package_of_compressed_payloads_has_the_message_header() -> None:
    text = EXAMPLE.read_bytes().replace(b"defaults:", b"defaults:\n  compression: gzip\n", 1)
    pmodes = read_pmodes(text, "compressed.yaml")
    assert pmodes[0].compresses_payloads
    data = write_cpa(pmodes, *register_parties(pmodes))
    assert list_faults(data) == []
    assert read_again(data) == {one.id: one for one in pmodes}


def test_each_way_of_a_message_has_both_halves() -> None:
    """Messages of one party with different terms, signed and not, encrypted and not."""
    pmodes = list(read_shipped(EXAMPLE))
    pmodes[0] = replace(pmodes[0], security=replace(pmodes[0].security, sign=False))
    pmodes[1] = replace(pmodes[1], encryption=Encryption("S/MIME", ("aes256-gcm",)))
    pmodes[2] = replace(pmodes[2], reliability=Reliability("never", "never", "never", 0))
    data = write_cpa(pmodes, *register_parties(pmodes))
    assert list_faults(data) == []
    assert read_again(data) == {one.id: one for one in pmodes}


@pytest.mark.night
def test_what_the_gateway_says_of_its_own_document() -> None:
    """Its own rules find nothing in it that another product would mind."""
    for path in SHIPPED:
        pmodes = set_https(read_shipped(path))
        found = check_cpa(
            write_cpa(pmodes, *register_parties(pmodes)), path.name, pmodes[0].valid_from
        ).findings
        minded = {one.rule for one in found if one.severity != "note"}
        # The certificates of this test are for no host, and for a shorter time than some agreements.
        own = {"host-different", "certificate-begins-late", "certificate-ends-early"}
        # What some of the agreements say.
        agreed = {"unsigned", "filing-in-mailbox", "response-unbound", "retries-unacknowledged"}
        agreed |= {"sync-against-acks", "encryption-cbc"}
        assert minded <= own | agreed, (path.name, minded)


def test_the_agreement_says_what_the_register_knows() -> None:
    pmodes, data = export_example()
    root = etree.fromstring(data)
    assert [get(one, "partyName") for one in root.iterfind(TP + "PartyInfo")] == ["Party 0", "Party 1"]
    terms = [json.loads(one.get("values", "")) for one in root.iter("{*}Terms")]
    assert len(terms) == len(pmodes)
