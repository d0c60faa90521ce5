"""Our schemas judge as the published ones do: on real messages, own ones, and mutations of all."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from gateway.share import get_data_folder
from gateway.wire import SchemaSet, parse_xml, read_multipart_related
from gateway.wire.header_fields import read_http_message
from tests.kit.schema_mutants import compare_schemas
from tests.wire.tree_mutations import mutate

HEADER = b"""<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:x="urn:other"
 xmlns:eb="http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd"
 xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
 <soap:Header>
  <eb:MessageHeader eb:id="h" eb:version="2.0" soap:mustUnderstand="1" x:any="1">
   <eb:From><eb:PartyId eb:type="T">a</eb:PartyId><eb:PartyId>urn:b</eb:PartyId><eb:Role>R</eb:Role>
    </eb:From>
   <eb:To><eb:PartyId>urn:c</eb:PartyId></eb:To><eb:CPAId>c</eb:CPAId>
    <eb:ConversationId>v</eb:ConversationId>
   <eb:Service eb:type="t">s</eb:Service><eb:Action>a</eb:Action>
   <eb:MessageData><eb:MessageId>m@h</eb:MessageId><eb:Timestamp>2026-01-01T00:00:00Z</eb:Timestamp>
    <eb:RefToMessageId>r</eb:RefToMessageId><eb:TimeToLive>2026-01-01T00:00:00.5+09:00</eb:TimeToLive>
    </eb:MessageData>
   <eb:DuplicateElimination/><eb:Description xml:lang="en">d</eb:Description><x:more/>
  </eb:MessageHeader>
  <eb:SyncReply eb:version="2.0" soap:mustUnderstand="1"
   soap:actor="http://schemas.xmlsoap.org/soap/actor/next"/>
  <eb:MessageOrder eb:version="2.0" soap:mustUnderstand="0">
    <eb:SequenceNumber eb:status="Reset">0</eb:SequenceNumber></eb:MessageOrder>
  <eb:AckRequested eb:version="2.0" soap:mustUnderstand="1" eb:signed="true" soap:actor="urn:n">
    <x:y>1</x:y></eb:AckRequested>
  <eb:ErrorList eb:id="e" eb:version="2.0" soap:mustUnderstand="1" eb:highestSeverity="Error">
   <eb:Error eb:errorCode="OtherXml" eb:severity="Error" eb:location="//x" eb:codeContext="urn:c">
    <eb:Description xml:lang="ko">d</eb:Description></eb:Error>
   <eb:Error eb:errorCode="Unknown" eb:severity="Warning" x:a="b"><x:z/></eb:Error></eb:ErrorList>
 </soap:Header>
 <soap:Body>
  <eb:Manifest eb:id="f" eb:version="2.0">
    <eb:Reference eb:id="g" xlink:type="simple" xlink:href="cid:p@h" xlink:role="urn:r">
    <eb:Schema eb:location="http://a/b.xsd" eb:version="1"/>
    <eb:Description xml:lang="en">d</eb:Description><x:w/></eb:Reference></eb:Manifest>
  <eb:StatusRequest eb:version="2.0"><eb:RefToMessageId>m</eb:RefToMessageId></eb:StatusRequest>
  <eb:StatusResponse eb:version="2.0" eb:messageStatus="Processed">
    <eb:RefToMessageId>m</eb:RefToMessageId>
   <eb:Timestamp>2026-01-01T00:00:00</eb:Timestamp></eb:StatusResponse>
 </soap:Body></soap:Envelope>"""

SIGNATURE = b"""<Signature xmlns="http://www.w3.org/2000/09/xmldsig#" xmlns:x="urn:other" Id="s">
    <SignedInfo Id="i">
 <CanonicalizationMethod Algorithm="urn:c"/>
 <SignatureMethod Algorithm="urn:s"><HMACOutputLength>80</HMACOutputLength></SignatureMethod>
 <Reference Id="r" URI="" Type="urn:t"><Transforms><Transform Algorithm="urn:x"><XPath>not(a)</XPath>
    <x:p/>t</Transform></Transforms>
  <DigestMethod Algorithm="urn:d"><x:q/></DigestMethod><DigestValue>QUJD</DigestValue></Reference>
    </SignedInfo>
 <SignatureValue Id="v">QUJD&#13; QUI=</SignatureValue>
 <KeyInfo Id="k"><KeyName>n</KeyName><KeyValue><RSAKeyValue><Modulus>QUJD</Modulus>
    <Exponent>AQAB</Exponent></RSAKeyValue></KeyValue>
  <KeyValue><DSAKeyValue><P>QUJD</P><Q>QUJD</Q><G>QUJD</G><Y>QUJD</Y><J>QUJD</J><Seed>QUJD</Seed>
    <PgenCounter>QUJD</PgenCounter></DSAKeyValue></KeyValue>
  <RetrievalMethod URI="#a" Type="urn:t"><Transforms><Transform Algorithm="urn:x"/></Transforms>
    </RetrievalMethod>
  <X509Data><X509IssuerSerial><X509IssuerName>CN=a</X509IssuerName>
    <X509SerialNumber>12</X509SerialNumber></X509IssuerSerial>
   <X509SKI>QUJD</X509SKI><X509SubjectName>CN=b</X509SubjectName>
    <X509Certificate>QUJD</X509Certificate><X509CRL>QUJD</X509CRL><x:t/></X509Data>
  <PGPData><PGPKeyID>QUJD</PGPKeyID><PGPKeyPacket>QUJD</PGPKeyPacket><x:t/></PGPData><PGPData>
    <PGPKeyPacket>QUJD</PGPKeyPacket></PGPData>
  <SPKIData><SPKISexp>QUJD</SPKISexp><x:t/></SPKIData><MgmtData>m</MgmtData><x:k/></KeyInfo>
 <Object Id="o" MimeType="a/b" Encoding="urn:e">text<x:a/><Manifest Id="m"><Reference>
    <DigestMethod Algorithm="urn:d"/><DigestValue/></Reference></Manifest>
  <SignatureProperties Id="ps"><SignatureProperty Id="p" Target="#s"><x:v/></SignatureProperty>
    </SignatureProperties></Object>
</Signature>"""

FAULT11 = b"""<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:x="urn:other"
 x:a="b"><soap:Header x:b="c">
 <x:h soap:mustUnderstand="0" soap:actor="urn:a"/></soap:Header>
    <soap:Body soap:encodingStyle="urn:e urn:f"><soap:Fault><faultcode>soap:Client</faultcode>
 <faultstring>s</faultstring><faultactor>urn:a</faultactor><detail x:e="f"><x:d/></detail></soap:Fault>
    </soap:Body><x:after/></soap:Envelope>"""

FAULT12 = b"""<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" xmlns:x="urn:other" x:a="b">
 <env:Header>
 <env:NotUnderstood qname="x:h"/><env:Upgrade><env:SupportedEnvelope qname="env:Envelope"/></env:Upgrade>
 <x:h env:mustUnderstand="true" env:relay="0" env:role="urn:r"/></env:Header>
 <env:Body><env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>x:v</env:Value>
 <env:Subcode><env:Value>x:w</env:Value></env:Subcode></env:Subcode></env:Code><env:Reason>
    <env:Text xml:lang="en">s</env:Text>
 <env:Text xml:lang="ko">s</env:Text></env:Reason><env:Node>urn:n</env:Node><env:Role>urn:r</env:Role>
 <env:Detail x:e="f"><x:d/></env:Detail></env:Fault></env:Body></env:Envelope>"""


@pytest.fixture(scope="module")
def published(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published schemas, with the one import by http: pointed at the file beside it."""
    place = tmp_path_factory.mktemp("published")
    for file in (vectors / "outside/xsd").glob("*.xsd"):
        octets = file.read_bytes().replace(b"http://www.w3.org/2001/xml.xsd", b"xml.xsd")
        (place / file.name).write_bytes(octets)
    return place


def _messages(vectors: Path) -> list[etree._Element]:
    place = vectors / "outside/ebms2/ebms-core-live"
    roots = []
    for file in sorted([*place.glob("*.http"), *place.glob("*.raw")]):
        message = read_http_message(file.read_bytes())
        roots.append(
            parse_xml(read_multipart_related(message.headers["content-type"], message.body).root.content)
        )
    return roots


def _disagreements(
    ours: SchemaSet, theirs: SchemaSet, documents: list[etree._Element], count: int, seed: int
) -> tuple[list[str], int]:
    return compare_schemas(ours, theirs, mutate, documents, count, seed)


@pytest.mark.vectors
def test_real_messages_are_accepted_by_both(vectors: Path, published: Path) -> None:
    ours = SchemaSet.load_cached(get_data_folder("xsd"), "ebms2/msg-header-2_0.xsd")
    theirs = SchemaSet.load_cached(published, "msg-header-2_0.xsd")
    roots = _messages(vectors)
    assert len(roots) == 19
    for root in [*roots, parse_xml(HEADER)]:
        theirs.validate_document(root)
        ours.validate_document(root)


@pytest.mark.night
@pytest.mark.vectors
@pytest.mark.parametrize(
    ("entry", "original", "document", "count"),
    [
        ("ebms2/msg-header-2_0.xsd", "msg-header-2_0.xsd", HEADER, 4000),
        ("xmldsig/xmldsig.xsd", "xmldsig-core-schema.xsd", SIGNATURE, 4000),
        ("soap/envelope-1.1.xsd", "soap11-envelope.xsd", FAULT11, 1500),
        ("soap/envelope-1.1.xsd", "envelope.xsd", FAULT11, 500),
        ("soap/envelope-1.2.xsd", "soap12-envelope.xsd", FAULT12, 1500),
    ],
)
def test_mutations_are_judged_alike(
    published: Path, entry: str, original: str, document: bytes, count: int
) -> None:
    ours, theirs = (
        SchemaSet.load_cached(get_data_folder("xsd"), entry),
        SchemaSet.load_cached(published, original),
    )
    root = parse_xml(document)
    theirs.validate_document(root)
    ours.validate_document(root)
    found, accepted = _disagreements(ours, theirs, [root], count, seed=20260101)
    assert found == []
    assert count * 0.05 < accepted < count * 0.75


@pytest.mark.vectors
def test_mutations_of_real_messages_are_judged_alike(vectors: Path, published: Path) -> None:
    ours = SchemaSet.load_cached(get_data_folder("xsd"), "ebms2/msg-header-2_0.xsd")
    theirs = SchemaSet.load_cached(published, "msg-header-2_0.xsd")
    found, accepted = _disagreements(ours, theirs, _messages(vectors), 4000, seed=7)
    assert found == []
    assert 400 < accepted < 3000


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["xlink", "xml"])
def test_attribute_schemas_are_judged_alike_by_value(published: Path, name: str) -> None:
    """Lax wildcards reach these attributes on any element."""
    wrapper = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
      <xs:import namespace="{uri}" schemaLocation="{name}"/>
      <xs:element name="r"><xs:complexType>
      <xs:anyAttribute namespace="##any" processContents="lax"/></xs:complexType></xs:element></xs:schema>"""
    uri = {"xlink": "http://www.w3.org/1999/xlink", "xml": "http://www.w3.org/XML/1998/namespace"}[name]
    own = published.parent / "own"
    own.mkdir(exist_ok=True)
    (own / f"{name}.xsd").write_bytes(get_data_folder("xsd").joinpath(name, f"{name}.xsd").read_bytes())
    for place in (published, own):
        (place / f"wrap-{name}.xsd").write_text(wrapper.format(uri=uri, name=f"{name}.xsd"))
    ours, theirs = (SchemaSet.load_cached(place, f"wrap-{name}.xsd") for place in (own, published))
    verdicts = set()
    for attribute in (
        "type",
        "href",
        "role",
        "arcrole",
        "title",
        "label",
        "show",
        "lang",
        "space",
        "base",
        "id",
        "actuate",
    ):
        for value in (
            "",
            "simple",
            "arc",
            "new",
            "en",
            "en-GB",
            "preserve",
            "default",
            "a b",
            "urn:x",
            "http://[",
            "1",
        ):
            root = etree.Element("r", {f"{{{uri}}}{attribute}": value})
            assert ours.is_valid(root) == theirs.is_valid(root), (attribute, value)
            verdicts.add((attribute, ours.is_valid(root)))
    assert len(verdicts) >= 15
