"""What the suite makes wrong in a message, or right in an unusual way: changes by the names of the tables.

A change of the header is made before the message is signed, so that the signature is right. A change of a
part says at which of three moments it is made: before it is signed, after that, or after it is encrypted.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from typing import Final

from lxml import etree

from gateway.wire import EB3, SOAP12

__all__ = ["CIPHER_CHANGES", "HEADER_CHANGES", "OCTET_CHANGES", "SENT_CHANGES", "SIGNED_CHANGES"]

_CORNERS: Final = {
    "originalSender": "urn:example:corner:1",
    "finalRecipient": "urn:example:corner:4",
    "trackingIdentifier": "tracking-7",
}
TreeChange = Callable[[etree._Element], None]
_NAMES: Final = {"eb3": EB3, "soap12": SOAP12}


def _find(root: etree._Element, path: str) -> etree._Element:
    found = root.find(path, _NAMES)
    if found is None:
        raise LookupError(f"the message has no {path}")
    return found


def _refer_elsewhere(root: etree._Element) -> None:
    _find(root, ".//eb3:PartInfo").set("href", "https://suite.invalid/payload.xml")


def _remove_property(name: str) -> TreeChange:
    def change_tree(root: etree._Element) -> None:
        for one in list(root.iter(f"{{{EB3}}}Property")):
            parent = one.getparent()
            if one.get("name") == name and parent is not None:
                parent.remove(one)

    return change_tree


def _set_text(path: str, text: str) -> TreeChange:
    def change_tree(root: etree._Element) -> None:
        _find(root, path).text = text

    return change_tree


def _add_typed_property(root: etree._Element) -> None:
    info = _find(root, ".//eb3:CollaborationInfo")
    properties = etree.Element(f"{{{EB3}}}MessageProperties")
    one = etree.SubElement(properties, f"{{{EB3}}}Property", name="originalSender", type="urn:example:id")
    one.text = "urn:example:c1"
    info.addnext(properties)


def _add_four_corners(root: etree._Element) -> None:
    """Name sender and receiver behind the gateways, and the exchange (eDelivery AS4 1.15, 1.5.1)."""
    properties = etree.Element(f"{{{EB3}}}MessageProperties")
    for name, value in _CORNERS.items():
        etree.SubElement(properties, f"{{{EB3}}}Property", name=name).text = value
    _find(root, ".//eb3:CollaborationInfo").addnext(properties)


def _name_channel(root: etree._Element) -> None:
    _find(root, ".//eb3:UserMessage").set("mpc", "urn:example:no-channel")


def _fill_body(root: etree._Element) -> None:
    etree.SubElement(_find(root, "soap12:Body"), "{urn:example:payload}order").text = "in the Body"


def _name_party_twice(root: etree._Element) -> None:
    first = _find(root, ".//eb3:From/eb3:PartyId")
    second = etree.Element(f"{{{EB3}}}PartyId", type="urn:example:other")
    second.text = "another"
    first.addnext(second)


def _swap_part_infos(root: etree._Element) -> None:
    infos = list(root.iter(f"{{{EB3}}}PartInfo"))
    if len(infos) > 1:
        infos[0].addprevious(infos[-1])


#: Changes of the envelope before it is signed.
HEADER_CHANGES: Final[Mapping[str, TreeChange]] = {
    "external-payload": _refer_elsewhere,
    "no-mime-type": _remove_property("MimeType"),
    "no-compression-type": _remove_property("CompressionType"),
    "no-charset": _remove_property("CharacterSet"),
    "other-agreement": _set_text(".//eb3:AgreementRef", "urn:example:no-agreement"),
    "other-service": _set_text(".//eb3:Service", "urn:example:no-service"),
    "other-conversation": _set_text(".//eb3:ConversationId", "another"),
    "other-reference": _set_text(".//eb3:RefToMessageId", "another@suite.invalid"),
    "bad-message-id": _set_text(".//eb3:MessageId", "<in brackets>"),
    "other-role": _set_text(".//eb3:From/eb3:Role", "Nobody"),
    "typed-property": _add_typed_property,
    "four-corners": _add_four_corners,
    "other-channel": _name_channel,
    "payload-in-body": _fill_body,
    "two-party-ids": _name_party_twice,
    "swapped-parts": _swap_part_infos,
}


def _damage_gzip(content: bytes) -> bytes:
    return content[:12] + bytes(one ^ 0x5A for one in content[12:24]) + content[24:-4]


def _flip_last(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,)) if content else b"x"


#: Changes of the parts before they are signed.
SIGNED_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {"damaged-gzip": _damage_gzip}
#: Changes of the parts after they are signed, before they are encrypted.
SENT_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "tampered": _flip_last,
    "sign-then-compress": lambda content: gzip.compress(content, mtime=0),
}
#: Changes of the parts after they are encrypted.
CIPHER_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "encrypt-then-compress": lambda content: gzip.compress(content, mtime=0),
    "damaged-ciphertext": _flip_last,
}
#: Changes of the octets of the signed envelope.
OCTET_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "byte-order-mark": lambda octets: b"\xef\xbb\xbf" + octets,
    "broken-xml": lambda octets: octets.replace(b"</", b"<", 1),
}
