"""What a partner may sign in the Body of a call or an answer in place of the element that belongs there."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

from lxml import etree

from gateway.wire import DS, SOAP11, WSSE, WSU, AddressingHeaders, canonicalize_element
from tests.kit.soap import NOW, envelope, signed, signer

#: The contents of a Body that are read as the element alone.
HARMLESS = ("a comment", "a section")


def list_bodies(element: str, child: str, text: str) -> dict[str, str]:
    """Return contents of a Body that differ from a good element, by what is odd about them.

    `child` is the start tag of a child of the element, `text` a text in it.
    """
    below = {
        "an attribute": "a='b'",
        "an identifier of xml": 'xml:id="a"',
        "an identifier with a prefix": "xmlns:i='urn:i' i:id='s-9'",
        "an identifier with white space": "a='b'\n\tiD\n= 's-9'",
    }
    children = {
        "a Timestamp": f'<u:Timestamp xmlns:u="{WSU}"/>',
        "a Security": f'<u:Security xmlns:u="{WSSE}"/>',
        "a token": f'<u:BinarySecurityToken xmlns:u="{WSSE}"/>',
        "a Signature": f'<u:Signature xmlns:u="{DS}"/>',
        "a Body": f'<u:Body xmlns:u="{SOAP11}"/>',
        "an Envelope": f'<u:Envelope xmlns:u="{SOAP11}"/>',
        "a deep tree": "<a>" * 200 + "</a>" * 200,
    }
    other = "</soap:Body><soap:Body xmlns:soap='urn:other'>"
    return {
        "a comment": element.replace(text, f"{text[0]}<!-- a -->{text[1:]}"),
        "a section": element.replace(text, f"<![CDATA[{text}]]>"),
        "an instruction": element.replace(text, f"<?a b?>{text}"),
        "an unknown entity": element.replace(text, "&unknown;"),
        "a long text": element.replace(text, "x" * 3000),
        "the element twice": element + element,
        "nothing": "",
        "text": "text",
        **{name: element.replace(child, f"{child[:-1]} {one}>", 1) for name, one in below.items()},
        **{name: element.replace(child, child + one, 1) for name, one in children.items()},
        "a second Body": f"{element}</soap:Body><soap:Body>{element}",
        "an element between two": f"{element}</soap:Body><x/><soap:Body>",
        "an unsigned Body of another name": f"{element}{other}<soap:unsigned/>",
        "an empty Body of another name": f"{element}{other}",
        "a second Envelope": f"</soap:Body></soap:Envelope><soap:Envelope><soap:Body>{element}",
    }


def sign_body(values: AddressingHeaders, content: str, by: str = "agency", at: datetime = NOW) -> bytes:
    """Return an envelope with this text between the tags of its Body; its first Body is rightly signed.

    Where the whole is not well-formed, what is signed is an empty Body.
    """
    empty, end = signed(envelope(None, values), by, at), b"/></soap:Envelope>"
    assert empty.endswith(end)
    octets = b"%s>%s</soap:Body></soap:Envelope>" % (empty.removesuffix(end), content.encode())
    try:
        root = etree.fromstring(octets)
    except etree.XMLSyntaxError:
        return octets
    signed_info, value = root[0].find(f".//{{{DS}}}SignedInfo"), root[0].find(f".//{{{DS}}}SignatureValue")
    digest = signed_info.find(f"{{{DS}}}Reference/{{{DS}}}DigestValue")  # that of the Body is the first
    body = canonicalize_element(root.find(f"{{{SOAP11}}}Body"), exclusive=True)
    texts = [digest.text, value.text]
    digest.text = base64.b64encode(hashlib.sha256(body).digest()).decode()
    signature = signer(by).sign(canonicalize_element(signed_info, exclusive=True))
    for old, new in zip(texts, (digest.text, base64.b64encode(signature).decode()), strict=True):
        octets = octets.replace(old.encode(), new.encode())
    return octets
