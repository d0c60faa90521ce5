"""Makes the example of the broker's page: one signed message, written by a client of its own.

``python -m tests.kit.broker_example`` writes the folder `conformance/samples/exchange` anew. The
client below has nothing of the gateway but the demonstration key: it is what a broker's
programmer would write from the page alone. What the hub answers is made by the gateway.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lxml import etree

from gateway.agreements import PModeIndex, read_pmodes
from gateway.cases import (
    CaseHeader,
    CaseOutcome,
    DecidedRequest,
    Decision,
    DecisionCode,
    Notice,
    RankedDecision,
    RequestState,
    make_notice_document,
    make_result_document,
)
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, PartyId
from gateway.pki import (
    CertificateValidator,
    KeySigner,
    TrustPolicy,
    TrustStore,
    read_certificate,
    read_certificates,
)
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext
from gateway.wire import read_http_message, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.kit.paths import MANUAL, ROOT

FOLDER = ROOT / "conformance" / "samples" / "exchange"
AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
EBMS2 = PROTOCOLS["ebms2"]
DS = "http://www.w3.org/2000/09/xmldsig#"
PARTY_TYPE = "urn:example:party-type"
AGREEMENT = re.compile(r"^```yaml agreement\n(.*?)^```$", re.DOTALL | re.MULTILINE)

SUBMISSION = """\
<?xml version="1.0" encoding="UTF-8"?>
<Submission xmlns="urn:single-window:submission:1" version="1">
  <Reference>EXAMPLE-0001</Reference>
  <Function>9</Function>
  <Declaration xmlns="urn:wco:datamodel:WCO:DEC-DMS:2">
    <FunctionCode>9</FunctionCode>
    <FunctionalReferenceID>EXAMPLE-0001</FunctionalReferenceID>
    <TypeCode>IMA</TypeCode>
    <Declarant>
      <ID>6N001</ID>
    </Declarant>
  </Declaration>
  <ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="sig">
    <ds:SignedInfo>
      <ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
      <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>
      <ds:Reference URI="" Id="sig-document">
        <ds:Transforms>
          <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
          <ds:Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>
        </ds:Transforms>
        <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
        <ds:DigestValue>{document}</ds:DigestValue>
      </ds:Reference>
      <ds:Reference URI="#sig-properties" Type="http://uri.etsi.org/01903#SignedProperties">
        <ds:Transforms>
          <ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
        </ds:Transforms>
        <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
        <ds:DigestValue>{properties}</ds:DigestValue>
      </ds:Reference>
    </ds:SignedInfo>
    <ds:SignatureValue>
{signature}
    </ds:SignatureValue>
    <ds:KeyInfo>
      <ds:X509Data>
        <ds:X509Certificate>
{certificate}
        </ds:X509Certificate>
      </ds:X509Data>
    </ds:KeyInfo>
    <ds:Object>
      <xades:QualifyingProperties xmlns:xades="http://uri.etsi.org/01903/v1.3.2#" Target="#sig">
        <xades:SignedProperties Id="sig-properties">
          <xades:SignedSignatureProperties>
            <xades:SigningTime>{at}</xades:SigningTime>
            <xades:SigningCertificateV2>
              <xades:Cert>
                <xades:CertDigest>
                  <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
                  <ds:DigestValue>{certificate_digest}</ds:DigestValue>
                </xades:CertDigest>
              </xades:Cert>
            </xades:SigningCertificateV2>
          </xades:SignedSignatureProperties>
          <xades:SignedDataObjectProperties>
            <xades:DataObjectFormat ObjectReference="#sig-document">
              <xades:MimeType>application/xml</xades:MimeType>
            </xades:DataObjectFormat>
          </xades:SignedDataObjectProperties>
        </xades:SignedProperties>
      </xades:QualifyingProperties>
    </ds:Object>
  </ds:Signature>
</Submission>
"""

ENVELOPE = """\
<?xml version="1.0" encoding="UTF-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"
    xmlns:eb="http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd"
    xmlns:xlink="http://www.w3.org/1999/xlink">
  <soap:Header>
    <eb:MessageHeader soap:mustUnderstand="1" eb:version="2.0">
      <eb:From>
        <eb:PartyId eb:type="urn:example:party-type">broker1</eb:PartyId>
        <eb:Role>Applicant</eb:Role>
      </eb:From>
      <eb:To>
        <eb:PartyId eb:type="urn:example:party-type">hub</eb:PartyId>
        <eb:Role>Hub</eb:Role>
      </eb:To>
      <eb:CPAId>urn:example:agreement:broker1-hub:2026</eb:CPAId>
      <eb:ConversationId>EXAMPLE-0001</eb:ConversationId>
      <eb:Service>urn:single-window:services:declaration</eb:Service>
      <eb:Action>Submit</eb:Action>
      <eb:MessageData>
        <eb:MessageId>20261120-0001@broker1.example.org</eb:MessageId>
        <eb:Timestamp>{at}</eb:Timestamp>
      </eb:MessageData>
      <eb:DuplicateElimination/>
    </eb:MessageHeader>
    <eb:SyncReply soap:actor="http://schemas.xmlsoap.org/soap/actor/next" soap:mustUnderstand="1"
        eb:version="2.0"/>
    <eb:AckRequested soap:actor="urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH" soap:mustUnderstand="1"
        eb:signed="true" eb:version="2.0"/>
    <ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
      <ds:SignedInfo>
        <ds:CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>
        <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>
        <ds:Reference URI="">
          <ds:Transforms>
            <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
            <ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">
              <ds:XPath>{xpath}</ds:XPath>
            </ds:Transform>
            <ds:Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>
          </ds:Transforms>
          <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
          <ds:DigestValue>{envelope}</ds:DigestValue>
        </ds:Reference>
        <ds:Reference URI="cid:submission@broker1.example.org">
          <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
          <ds:DigestValue>{payload}</ds:DigestValue>
        </ds:Reference>
      </ds:SignedInfo>
      <ds:SignatureValue>
{signature}
      </ds:SignatureValue>
      <ds:KeyInfo>
        <ds:X509Data>
          <ds:X509Certificate>
{certificate}
          </ds:X509Certificate>
        </ds:X509Data>
      </ds:KeyInfo>
    </ds:Signature>
  </soap:Header>
  <soap:Body>
    <eb:Manifest eb:version="2.0">
      <eb:Reference xlink:type="simple" xlink:href="cid:submission@broker1.example.org"/>
    </eb:Manifest>
  </soap:Body>
</soap:Envelope>
"""

XPATH = (
    'not(ancestor-or-self::node()[@soap:actor="urn:oasis:names:tc:ebxml-msg:actor:nextMSH"]'
    ' | ancestor-or-self::node()[@soap:actor="http://schemas.xmlsoap.org/soap/actor/next"])'
)

PARTS = """\
--example-boundary
Content-Type: text/xml; charset=UTF-8
Content-ID: <envelope@broker1.example.org>

{envelope}
--example-boundary
Content-Type: application/xml
Content-ID: <submission@broker1.example.org>

{submission}
--example-boundary--
"""

CONTENT_TYPE = (
    'multipart/related; type="text/xml"; start="<envelope@broker1.example.org>"; boundary="example-boundary"'
)
HEAD = """\
POST /msh/ebms2 HTTP/1.1
Host: hub.example.org
SOAPAction: "ebXML"
Content-Type: {content_type}
Content-Length: {length}

"""


def to_wire(text: str) -> bytes:
    """Return text with the line ends of MIME."""
    return text.replace("\n", "\r\n").encode()


def from_wire(octets: bytes) -> str:
    """Return what the page shows of octets that `to_wire` made."""
    return octets.decode().replace("\r\n", "\n")


def base64_lines(octets: bytes) -> str:
    return base64.encodebytes(octets).decode().rstrip("\n")


def digest(octets: bytes) -> str:
    return base64.b64encode(hashlib.sha256(octets).digest()).decode()


def c14n(element: etree._Element, *, exclusive: bool = False) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=exclusive, with_comments=False)


def find_first(root: etree._Element, name: str) -> etree._Element:
    return next(root.iter(f"{{*}}{name}"))


def drop(element: etree._Element) -> None:
    """Remove an element from its tree; the text after it stays."""
    parent, before = element.getparent(), element.getprevious()
    assert parent is not None
    if before is not None:
        before.tail = (before.tail or "") + (element.tail or "")
    parent.remove(element)


def sign_template(template: str, values: dict[str, str], key: KeySigner, *, exclusive: bool) -> str:
    """Fill the digests of a template, then its signature over SignedInfo."""
    empty = dict.fromkeys(re.findall(r"{(\w+)}", template), "")
    filled = template.format(**empty | values)
    info = find_first(etree.fromstring(to_wire(filled)), "SignedInfo")
    signature = base64_lines(key.sign(c14n(info, exclusive=exclusive)))
    return template.format(**values | {"signature": signature})


def make_submission(key: KeySigner) -> str:
    """Return the submission, signed as XAdES-B."""
    der = key.certificate.der
    values = {
        "certificate": base64_lines(der),
        "certificate_digest": digest(der),
        "at": AT.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    empty = dict.fromkeys(re.findall(r"{(\w+)}", SUBMISSION), "")
    properties = find_first(
        etree.fromstring(to_wire(SUBMISSION.format(**empty | values))), "SignedProperties"
    )
    document = etree.fromstring(to_wire(SUBMISSION.format(**empty | values)))
    drop(find_first(document, "Signature"))
    values |= {"properties": digest(c14n(properties, exclusive=True)), "document": digest(c14n(document))}
    return sign_template(SUBMISSION, values, key, exclusive=True)


def make_request(key: KeySigner, submission: str) -> bytes:
    """Return the whole HTTP request."""
    values = {
        "certificate": base64_lines(key.certificate.der),
        "at": AT.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "xpath": XPATH,
        # The line end before the boundary belongs to the boundary.
        "payload": digest(to_wire(submission.rstrip("\n"))),
    }
    empty = dict.fromkeys(re.findall(r"{(\w+)}", ENVELOPE), "")
    root = etree.fromstring(to_wire(ENVELOPE.format(**empty | values)))
    drop(find_first(root, "Signature"))
    drop(find_first(root, "SyncReply"))  # for the next node: the XPath leaves it out
    values["envelope"] = digest(c14n(root))
    envelope = sign_template(ENVELOPE, values, key, exclusive=False)
    body = to_wire(PARTS.format(envelope=envelope.rstrip("\n"), submission=submission.rstrip("\n")))
    return to_wire(HEAD.format(content_type=CONTENT_TYPE, length=len(body))) + body


def open_context(**more: Any) -> ProtocolContext:
    """Return the context of the hub: the agreement of the page, and the two certificates of the folder."""
    found = AGREEMENT.search((MANUAL / "broker.md").read_text(encoding="utf-8"))
    assert found is not None
    known = {
        read_certificate((FOLDER / f"{name}.cert.pem").read_bytes()).sha256: name
        for name in ("broker1", "hub")
    }
    anchors = read_certificates((FOLDER / "ca.pem").read_bytes())
    context = ProtocolContext(
        agreements=PModeIndex(read_pmodes(found[1].encode(), "broker.md")),
        validate_certificate=CertificateValidator(TrustStore(anchors, policy=TrustPolicy("if_present"))),
        signers={},
        now=AT + timedelta(seconds=1),
        make_message_id=lambda: "20261120-0001@hub.example.org",
        find_certificate_party=known.get,
        find_party_name={PartyId(name, PARTY_TYPE): name for name in ("broker1", "hub")}.get,
    )
    return replace(context, **more)


def read_parcel(name: str) -> Parcel:
    """Return a stored HTTP message as a parcel."""
    message = read_http_message((FOLDER / name).read_bytes())
    names = {"content-type": "Content-Type", "soapaction": "SOAPAction"}
    return Parcel(
        {names[key]: message.headers[key] for key in names if key in message.headers},
        MemoryBody(message.body),
    )


def make_receipt(hub: KeySigner) -> bytes:
    """Return the answer of the hub: HTTP head, and the signed Acknowledgment."""
    context = open_context(signers={"hub": hub})
    opened = EBMS2.open_units(read_parcel("request.http"), context)
    return make_answer(EBMS2.seal((EBMS2.make_receipt(opened, context),), opened.pmode, context))


def make_error_list(hub: KeySigner) -> bytes:
    """Return the answer to the request with another payload than was signed."""
    context = open_context(signers={"hub": hub})
    parcel = read_parcel("request.http")
    with parcel.body.open_stream() as stream:
        changed = stream.read().replace(b"<TypeCode>IMA", b"<TypeCode>IMB")
    spoiled = Parcel(parcel.headers, MemoryBody(changed))
    try:
        EBMS2.open_units(spoiled, context)
    except GatewayError as problem:
        refusal = EBMS2.reject_parcel(problem, spoiled, context)
        assert refusal.parcel is not None
        return make_answer(refusal.parcel)
    raise AssertionError("the changed payload was accepted")


def make_answer(sealed: Parcel) -> bytes:
    """Return a parcel as the HTTP answer that carries it."""
    with sealed.body.open_stream() as stream:
        body = stream.read()
    head = (
        f"HTTP/1.1 200 OK\nContent-Type: {sealed.get_header('Content-Type')}\nContent-Length: {len(body)}\n\n"
    )
    return to_wire(head) + body


def make_documents(hub: KeySigner) -> dict[str, bytes]:
    """Return a Notice and a Result about another submission, signed by the hub."""
    header = CaseHeader("SW260000001X", "EXAMPLE-0002", AT)
    state = RequestState("A1", "KFDA-FOOD-IMP", "KFDA", "INFORMATION_REQUIRED")
    asked = Notice(
        "KFDA-1", AT, "D01", (), "Which ingredients?", ("42A/67A[1]/68A[2]/23A/138",), AT + timedelta(days=7)
    )
    decision = Decision(
        2, "05", DecisionCode.APPROVED_WITH_CONDITIONS, "F-77", AT.date(), conditions=("Keep below 5 °C.",)
    )
    told = RankedDecision("A26000001001N", decision, AT, "KFDA-2")
    request = DecidedRequest("A26000001001N", "KFDA-FOOD-IMP", "KFDA")
    documents = {
        "notice.xml": make_notice_document(header, state, asked),
        "result.xml": make_result_document(header, CaseOutcome.APPROVED, ((request, told),), ()),
    }
    return {name: serialize_element(sign_document(root, hub, now=AT)) for name, root in documents.items()}


#: The blocks of the page, by their kind, and the files they are drawn from.
BLOCKS = {
    "request": "request.http",
    "receipt": "receipt.http",
    "error-list": "error-list.http",
    "notice": "notice.xml",
    "result": "result.xml",
}


def draw_block(kind: str) -> str:
    """Return a block of the page: the request as it is, the rest indented and without long values."""
    octets = (FOLDER / BLOCKS[kind]).read_bytes()
    if kind == "request":
        return from_wire(octets)
    root = etree.fromstring(read_http_message(octets).body if octets.startswith(b"HTTP/") else octets)
    if BLOCKS[kind].endswith(".xml"):
        signature = find_first(root, "Signature")
        signature.getparent().replace(signature, etree.Comment(" ds:Signature: XAdES-B of the hub "))
    for name in ("SignatureValue", "X509Certificate"):
        for element in root.iter(f"{{*}}{name}"):
            element.text = "…"
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def redraw_page(text: str) -> str:
    """Return the page with its blocks drawn again."""
    for kind in BLOCKS:
        fence = re.compile(rf"^(```\w+ {kind}\n).*?(^```$)", re.DOTALL | re.MULTILINE)
        text, count = fence.subn(lambda found: found[1] + draw_block(kind) + found[2], text)  # noqa: B023
        assert count == 1, kind
    return text


def write_folder() -> None:
    """Write keys' certificates, request and receipt; the keys themselves are forgotten."""
    FOLDER.mkdir(exist_ok=True)
    early = AT - timedelta(days=1)
    authority = make_authority("CN=Example Authority", early, "p-256")
    order = CertificateOrder(key_kind="rsa-2048", days=3650)
    keys = {name: issue_certificate(authority, f"CN={name}", early, order) for name in ("broker1", "hub")}
    (FOLDER / "ca.pem").write_bytes(authority.certificate.pem)
    for name, issued in keys.items():
        (FOLDER / f"{name}.cert.pem").write_bytes(issued.signer.certificate.pem)
    submission = make_submission(keys["broker1"].signer)
    (FOLDER / "submission.xml").write_bytes(to_wire(submission.rstrip("\n")))
    (FOLDER / "request.http").write_bytes(make_request(keys["broker1"].signer, submission))
    hub = keys["hub"].signer
    (FOLDER / "receipt.http").write_bytes(make_receipt(hub))
    (FOLDER / "error-list.http").write_bytes(make_error_list(hub))
    for name, content in make_documents(hub).items():
        (FOLDER / name).write_bytes(content)
    page = MANUAL / "broker.md"
    page.write_text(redraw_page(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_folder()
    sys.stdout.write(f"{FOLDER}\n")
