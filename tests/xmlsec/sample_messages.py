"""Messages and documents to sign, in several styles of prefixes, and tools to change signed ones."""

from __future__ import annotations

import base64

from lxml import etree

from gateway.pki import KeySigner
from gateway.wire import DS, EB, SOAP11, WSA, WSSE, WSU, canonicalize_element, parse_xml, serialize_element

ATTACHMENTS = {
    "declaration@broker.example": b"<Declaration>100 kg</Declaration>",
    "certificate 1%@broker.example": b"%PDF-1.7 \x00\xff",
}
NEXT = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_MSH = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"

_MESSAGE = """<{s}Envelope xmlns{sp}="{SOAP11}"{top}><{s}Header>{line}
<eb:MessageHeader xmlns:eb="{EB}" eb:version="2.0" {sa}:mustUnderstand="1">
<eb:From><eb:PartyId eb:type="t">broker</eb:PartyId></eb:From>
<eb:To><eb:PartyId eb:type="t">hub</eb:PartyId></eb:To>
<eb:CPAId>a1</eb:CPAId><eb:ConversationId>c1</eb:ConversationId>
<eb:Service eb:type="t">declaration</eb:Service><eb:Action>Submit</eb:Action>
<eb:MessageData><eb:MessageId>m1@broker.example</eb:MessageId>
<eb:Timestamp>2026-11-20T09:00:00Z</eb:Timestamp></eb:MessageData></eb:MessageHeader>{line}{next}
</{s}Header>{line}<{s}Body><eb:Manifest xmlns:eb="{EB}" eb:version="2.0"/></{s}Body></{s}Envelope>"""

_NAMES = f'xmlns:eb="{EB}" xmlns:q="{SOAP11}" eb:version="2.0"'
SYNC_REPLY = f'<eb:SyncReply {_NAMES} q:mustUnderstand="1" q:actor="{NEXT}"/>'
ACK_NEXT = f'<eb:AckRequested {_NAMES} eb:signed="false" q:actor="{NEXT_MSH}"/>'
STYLES = {
    "usual": {"s": "soap:", "sp": ":soap", "sa": "soap", "top": "", "line": "\n"},
    "capitals": {"s": "SOAP:", "sp": ":SOAP", "sa": "SOAP", "top": "", "line": ""},
    "default": {"s": "", "sp": "", "sa": "S", "top": f' xmlns:S="{SOAP11}"', "line": "  "},
    "inherited": {
        "s": "e:",
        "sp": ":e",
        "sa": "e",
        "top": ' xmlns="urn:unused" xmlns:xsi="urn:also-unused" xml:lang="en" xml:space="preserve"',
        "line": "\n\t",
    },
}


def message(style: str = "usual", next_blocks: str = SYNC_REPLY + ACK_NEXT) -> etree._Element:
    """Return an unsigned ebMS 2.0 envelope."""
    text = _MESSAGE.format(SOAP11=SOAP11, EB=EB, next=next_blocks, **STYLES[style])
    return parse_xml(text.encode())


_REQUEST = """<soap:Envelope xmlns:soap="{SOAP11}" xmlns:wsu="{WSU}" xmlns:x="urn:agency"{top}><soap:Header>
<wsa:Action xmlns:wsa="{WSA}">urn:agency:Submit</wsa:Action>
<wsa:MessageID xmlns:wsa="{WSA}">urn:uuid:1</wsa:MessageID>
<wsa:To xmlns:wsa="{WSA}">https://agency.example/</wsa:To><x:Trace>7</x:Trace></soap:Header>
<soap:Body><x:Submit><x:Weight unit="kg">100</x:Weight></x:Submit></soap:Body></soap:Envelope>"""


def request(top: str = "") -> etree._Element:
    """Return an unsigned SOAP request with addressing headers."""
    return parse_xml(_REQUEST.format(SOAP11=SOAP11, WSA=WSA, WSU=WSU, top=top).encode())


def document(root_id: str = "") -> etree._Element:
    """Return an unsigned business document, with comments and a name in a value."""
    identifier = f' xml:id="{root_id}"' if root_id else ""
    text = (
        f'<s:Submission xmlns:s="urn:single-window:submission:1" xmlns:q="urn:q" version="1"{identifier}>\n'
        "  <s:Reference>R-1</s:Reference><!-- made by hand -->\n"
        '  <Fields xmlns="urn:fields"><Kind>q:name</Kind><Weight>100</Weight></Fields>\n</s:Submission>'
    )
    return parse_xml(text.encode())


def reread(root: etree._Element) -> etree._Element:
    """Send a tree through bytes, as the wire would."""
    return parse_xml(serialize_element(root))


def one(root: etree._Element, path: str) -> etree._Element:
    """Return the one element at a path in the usual prefixes."""
    names = {"soap": SOAP11, "eb": EB, "ds": DS, "wsse": WSSE, "wsu": WSU, "wsa": WSA, "x": "urn:agency"}
    names |= {"xades": "http://uri.etsi.org/01903/v1.3.2#", "s": "urn:single-window:submission:1"}
    found = root.xpath(path, namespaces=names)
    assert len(found) == 1, (path, len(found))
    return found[0]


def resign(root: etree._Element, signer: KeySigner, signature: etree._Element | None = None) -> None:
    """Make the signature value right again, so that only what was changed on purpose is wrong."""
    signature = one(root, "//ds:Signature") if signature is None else signature
    signed_info = signature.find(f"{{{DS}}}SignedInfo")
    method = signed_info[0].get("Algorithm")
    exclusive = method == "http://www.w3.org/2001/10/xml-exc-c14n#"
    data = canonicalize_element(signed_info, exclusive=exclusive)
    signature.find(f"{{{DS}}}SignatureValue").text = base64.b64encode(signer.sign(data)).decode()


def element(text: str) -> etree._Element:
    """Return an element written in the usual prefixes."""
    declarations = "".join(
        f' xmlns:{prefix}="{uri}"'
        for prefix, uri in {"soap": SOAP11, "eb": EB, "ds": DS, "wsse": WSSE, "wsu": WSU, "wsa": WSA}.items()
    )
    return etree.fromstring(f"<r{declarations}>{text}</r>")[0]
