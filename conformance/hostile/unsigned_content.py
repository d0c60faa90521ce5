"""Content that the signature of an ebMS 2.0 envelope does not cover (SIG-22, 23), and repeated ids (SIG-09).

The mandated XPath transform removes all elements that are addressed to the next node. An
attacker on the way can insert anything there. A sender with a changed XPath can remove
content from the signature and repudiate it later.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway_conformance.hostile.attack_cases import (
    BODY,
    HEADER,
    TRANSFORMS,
    AttackCase,
    AttackTable,
    RequestMaker,
    change_on_the_way,
    make_attack_case,
    make_table_cases,
    sign_again,
    sign_as_written,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    ACTOR,
    NEXT,
    NEXT_MSH,
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    insert_element,
    mutate_tree,
    parse_element,
    remove_element,
    rename_element,
    replace_text,
    set_attribute,
    set_text,
)
from gateway_conformance.hostile.exchange import ACCEPTED, HttpRequest

_NEW: Final = "ebMS 2.0 §4.1.3: what its XPath transform leaves out; no published test"
_WRITTEN: Final = "ebMS 2.0 §4.1.3 gives the expression word for word; no published test"
_POLLUTION: Final = "PortSwigger, The Fragile Lock, 2025 (attribute pollution)"
_SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
_XPATH: Final = "//ds:XPath"
_UNDERSTOOD: Final = 'soap:mustUnderstand="1" eb:version="2.0"'
_PARTY: Final = "<eb:From><eb:PartyId>urn:example:forged</eb:PartyId></eb:From>"
_ACK: Final = (
    f"<eb:Timestamp>2026-11-20T09:00:00Z</eb:Timestamp><eb:RefToMessageId>m@hub</eb:RefToMessageId>{_PARTY}"
)
_ERROR: Final = '<eb:Error eb:errorCode="Unknown" eb:severity="Error"/>'


def _insert_hidden_block(block_xml: str, actor: str = NEXT, *, inserts_first: bool = False) -> TreeMutation:
    """Return the insertion of a header block for the next node, which no digest covers."""

    def alter_tree(root: etree._Element) -> None:
        block = parse_element(block_xml)
        block.set(ACTOR, actor)
        header = get_element(root, HEADER)
        header.insert(0 if inserts_first else len(header) - 1, block)

    return alter_tree


def _insert_block_for_next_node(block_xml: str) -> RequestMaker:
    """Return the step that inserts, after signing, a header block for the next SOAP node."""
    return change_on_the_way(_insert_hidden_block(block_xml))


def _insert_block_for_next_msh(block_xml: str) -> RequestMaker:
    """Return the step that inserts, after signing, a header block for the next message handler."""
    return change_on_the_way(_insert_hidden_block(block_xml, NEXT_MSH))


def _hide_inside(path: str, element_xml: str) -> RequestMaker:
    """Return the step that appends an element for the next node to the element at `path` after signing."""

    def alter_tree(root: etree._Element) -> None:
        block = parse_element(element_xml)
        block.set(ACTOR, NEXT)
        get_element(root, path).append(block)

    return change_on_the_way(alter_tree)


def _address_to_next(path: str) -> TreeMutation:
    """Return the change that addresses the element at `path` to the next node."""
    return set_attribute(path, "soap:actor", NEXT)


def _set_same_id(path: str, name: str, second_path: str, second_name: str) -> TreeMutation:
    """Return the change that gives two elements one value, in an attribute each."""
    return combine_mutations(set_attribute(path, name, "h"), set_attribute(second_path, second_name, "h"))


def _append_role_block(root: etree._Element) -> None:
    role = {f"{{{_SOAP12}}}role": f"{_SOAP12}/role/next"}
    get_element(root, HEADER).append(etree.Element(expand_name("x:Trace"), role))


# fmt: off
#: Header blocks for the next node.
_BLOCKS: Final[AttackTable[str]] = (
    ("manifest", "a Manifest for the next node",
     '<eb:Manifest eb:version="2.0"><eb:Reference xlink:href="cid:x"/></eb:Manifest>', "GW107"),
    ("error-list", "an ErrorList for the next node",
     f'<eb:ErrorList {_UNDERSTOOD} eb:highestSeverity="Error">{_ERROR}</eb:ErrorList>', "GW203"),
    ("acknowledgment-next", "an Acknowledgment for the next node",
     f"<eb:Acknowledgment {_UNDERSTOOD}>{_ACK}</eb:Acknowledgment>", "GW304"),
    ("acknowledgment-manifest", "a Manifest inside an Acknowledgment for the next node",
     f"<eb:Acknowledgment {_UNDERSTOOD}><eb:Manifest/></eb:Acknowledgment>", "GW203"),
    ("message-order", "MessageOrder for the next node",
     f'<eb:MessageOrder {_UNDERSTOOD}><eb:SequenceNumber eb:status="Reset">1</eb:SequenceNumber>'
     "</eb:MessageOrder>", "GW107"),
    ("via", "a block of ebMS 1.0 for the next node", '<eb:Via eb:version="1.0"/>', "GW107"),
    ("status-request", "a StatusRequest in the Header, for the next node",
     '<eb:StatusRequest eb:version="2.0"><eb:RefToMessageId>m@hub</eb:RefToMessageId></eb:StatusRequest>',
     "GW107"),
    ("sync-reply-twice", "a second SyncReply", f"<eb:SyncReply {_UNDERSTOOD}/>", "GW107"),
    ("security", "a wsse:Security with another token, for the next node",
     "<wsse:Security><wsse:UsernameToken><wsse:Username>hub</wsse:Username></wsse:UsernameToken>"
     "</wsse:Security>", "GW203"),
    ("addressing", "a wsa:ReplyTo for the next node",
     "<wsa:ReplyTo><wsa:Address>http://attacker.invalid/</wsa:Address></wsa:ReplyTo>", "GW203"),
    ("unknown", "an unknown block for the next node", "<x:Trace>forged</x:Trace>", "GW203"),
    ("unknown-demanding", "an unknown block for the next node that must be understood",
     '<x:Trace soap:mustUnderstand="1"/>', "GW106"),
    ("unknown-empty", "an unknown, empty block for the next node", "<x:Trace/>", "GW203"),
    ("signature-property", "a signature of somebody for the next node", "<ds:Signature/>", "GW107"),
)

#: Header blocks for the next message handler.
_HANDLER_BLOCKS: Final[AttackTable[str]] = (
    ("error-list-next-handler", "an ErrorList for the next handler",
     f'<eb:ErrorList {_UNDERSTOOD} eb:highestSeverity="Error">{_ERROR}</eb:ErrorList>', "GW203"),
    ("acknowledgment", "an Acknowledgment for the next handler",
     f"<eb:Acknowledgment {_UNDERSTOOD}>{_ACK}</eb:Acknowledgment>", "GW311"),
    ("ack-requested", "a second AckRequested, for the next handler",
     f'<eb:AckRequested {_UNDERSTOOD} eb:signed="false"/>', ACCEPTED),
)

#: Elements for the next node elsewhere: in what, and the element.
_NESTED_BLOCKS: Final[AttackTable[RequestMaker]] = (
    ("nested", "a block that is for the next node inside one that is for nobody",
     _hide_inside("//eb:MessageHeader", "<x:Trace/>"), "GW311"),
    ("in-body", "SyncReply in the Body", _hide_inside(BODY, f"<eb:SyncReply {_UNDERSTOOD}/>"), "GW107"),
    ("body-second-manifest", "a second Manifest in the Body, for the next node",
     _hide_inside(BODY, f'<eb:Manifest {_UNDERSTOOD}><eb:Reference xlink:href="cid:x"/></eb:Manifest>'),
     "GW107"),
    ("in-manifest", "a further eb:Reference in the Manifest, for the next node",
     _hide_inside("//eb:Manifest", '<eb:Reference xlink:href="cid:x"/>'), "GW107"),
    ("in-message-data", "a TimeToLive for the next node",
     _hide_inside("//eb:MessageData", "<eb:TimeToLive>2000-01-01T00:00:00Z</eb:TimeToLive>"), "GW107"),
    ("in-party", "a second PartyId for the next node",
     _hide_inside("//eb:From", '<eb:PartyId eb:type="urn:example:other">hub</eb:PartyId>'), "GW107"),
    ("description", "a Description of MessageHeader for the next node",
     _hide_inside("//eb:MessageHeader", '<eb:Description xml:lang="en">forged</eb:Description>'), "GW203"),
    ("behind-body", "a block behind the Body, for the next node",
     _hide_inside("/soap:Envelope", "<x:Trace/>"), "GW107"),
    ("second-header", "a second SOAP Header, for the next node",
     _hide_inside("/soap:Envelope", "<soap:Header/>"),
     "GW107"),
)

#: Further forms: two blocks, other places, actors that look similar.
_FURTHER_BLOCKS: Final[AttackTable[TreeMutation]] = (
    ("sync-reply-header", "a MessageHeader inside SyncReply",
     append_element("//eb:SyncReply", "<eb:MessageHeader/>"), "GW107"),
    ("sync-reply-unknown", "an unknown element inside SyncReply, whose schema allows it",
     append_element("//eb:SyncReply", "<x:Trace>forged</x:Trace>"), "GW311"),
    ("two-unknown", "two unknown blocks for the next node",
     combine_mutations(_insert_hidden_block("<x:Trace/>"), _insert_hidden_block("<x:Other/>")), "GW203"),
    ("first", "an unknown block for the next node before MessageHeader",
     _insert_hidden_block("<x:Trace/>", inserts_first=True), "GW203"),
    ("sync-reply-text", "text inside SyncReply", set_text("//eb:SyncReply", "forged"), "GW107"),
    ("sync-reply-url", "an address as attribute of SyncReply",
     set_attribute("//eb:SyncReply", "x:ReplyTo", "http://attacker.invalid/"), ACCEPTED),
    ("actor-on-ack-requested", "AckRequested is addressed to the next handler",
     set_attribute("//eb:AckRequested", "soap:actor", NEXT_MSH), "GW304", False),
    ("actor-with-space", "an unknown block whose actor has a space behind",
     _insert_hidden_block("<x:Trace/>", NEXT + " "), "GW202", False),
    ("actor-upper-case", "an unknown block whose actor is in capitals",
     _insert_hidden_block("<x:Trace/>", NEXT.upper()), "GW202", False),
    ("actor-soap-1.2", "an unknown block with the role of SOAP 1.2", _append_role_block, "GW202", False),
    ("actor-without-namespace", "an unknown block with an actor attribute without namespace",
     insert_element(HEADER, f'<x:Trace actor="{NEXT}"/>'), "GW202", False),
)

#: Elements that are addressed to the next node after signing, so that their digest differs.
_ADDRESSED: Final[AttackTable[str]] = (
    ("actor-on-manifest", "the Manifest is addressed to the next node", "//eb:Manifest", "GW107"),
    ("actor-on-header", "the SOAP Header is addressed to the next node", HEADER, "GW203"),
    ("actor-on-body", "the SOAP Body is addressed to the next node", BODY, "GW203"),
    ("actor-on-envelope", "the Envelope is addressed to the next node", "/soap:Envelope", "GW203"),
    ("actor-on-message-header", "MessageHeader is addressed to the next node", "//eb:MessageHeader", "GW107"),
)

#: Content that the sender hides and signs.
_DENIED: Final[AttackTable[str]] = (
    ("signed-manifest", "the sender himself hides the Manifest: he can exchange it later", "//eb:Manifest",
     "GW107"),
    ("signed-message-header", "the sender himself hides MessageHeader", "//eb:MessageHeader", "GW107"),
    ("signed-body", "the sender himself hides the Body", BODY, "GW203"),
    ("signed-header", "the sender himself hides the whole Header", HEADER, "GW203"),
    ("signed-conversation", "the sender himself hides one element of MessageHeader", "//eb:ConversationId",
     "GW107"),
)

#: One value as two identifiers: the elements and the attributes.
_IDENTIFIERS: Final[AttackTable[TreeMutation]] = (
    ("ebxml-and-xml", "one value as eb:id of MessageHeader and xml:id of the Body",
     _set_same_id("//eb:MessageHeader", "eb:id", BODY, "xml:id")),
    ("ebxml-twice", "one value as eb:id of two elements",
     _set_same_id("//eb:MessageHeader", "eb:id", "//eb:Manifest", "eb:id")),
    ("foreign", "one value as Id and x:Id of the signature",
     _set_same_id("//ds:Signature", "Id", "//ds:Signature", "x:Id")),
    ("ebxml-and-signature", "one value as eb:id of MessageHeader and Id of the signature",
     _set_same_id("//eb:MessageHeader", "eb:id", "//ds:Signature", "Id")),
)
# fmt: on


def _make_sync_reply_id_request(kit: AttackerKit) -> HttpRequest:
    set_header_id = mutate_tree(set_attribute("//eb:MessageHeader", "eb:id", "h"))
    return kit.build_message(
        envelope=set_header_id, tampered=mutate_tree(set_attribute("//eb:SyncReply", "eb:id", "h"))
    )


def _write_xpath(template: str) -> RequestMaker:
    """Return the step that signs with another expression; ``{}`` is replaced by the mandated one."""
    return sign_as_written(replace_text(_XPATH, lambda text: template.replace("{}", text)))


def _swap_in_xpath(former: str, latter: str) -> RequestMaker:
    """Return the step that signs with the mandated expression in which one part is replaced."""
    return sign_as_written(replace_text(_XPATH, lambda text: text.replace(former, latter)))


_SECOND_XPATH: Final = combine_mutations(
    duplicate_element(_XPATH), set_text(f"({_XPATH})[2]", "not(ancestor-or-self::soap:Body)")
)
# fmt: off
#: The XPath in equivalent forms.
_XPATHS: Final[AttackTable[str]] = (
    ("no-manifest", "the XPath leaves out the Manifest", "not(ancestor-or-self::eb:Manifest) and {}"),
    ("no-header", "the XPath leaves out the Header", "not(ancestor-or-self::soap:Header) and {}"),
    ("no-body", "the XPath leaves out the Body", "{} and not(ancestor-or-self::soap:Body)"),
    ("twice-negated", "the XPath is negated twice", "not(not({}))"),
    ("parentheses", "the XPath stands in parentheses", "({})"),
    ("always", "the XPath with 'or true()' behind it", "{} or true()"),
    ("megabyte", "the XPath is followed by half a megabyte of spaces", "{}" + " " * 2**19),
    ("nothing", "the XPath leaves out everything", "false()"),
    ("everything", "the XPath leaves out nothing", "true()"),
    ("one-actor", "the XPath leaves out one of the two actors only",
     f'not(ancestor-or-self::node()[@soap:actor="{NEXT}"])'),
    ("union-swapped", "the two actors in the other order",
     f'not(ancestor-or-self::node()[@soap:actor="{NEXT}"]'
     f' | ancestor-or-self::node()[@soap:actor="{NEXT_MSH}"])'),
    ("costly", "the XPath counts all nodes for each node", "count(//node()[count(//node()) > 0]) > 0"),
    ("deep", "the XPath stands in a thousand parentheses", "(" * 1000 + "{}" + ")" * 1000, "GW202", False),
    ("document", "the XPath asks for a file", "document('file:///etc/passwd')", "GW202", False),
    ("here", "the XPath uses here()", "here()/ancestor::soap:Envelope", "GW202", False),
    ("variable", "the XPath has a variable", "$x", "GW202", False),
    ("no-expression", "the XPath is none", "not(§)", "GW202", False),
    ("empty", "the XPath is empty", "", "GW202", False),
)

#: Parts of the XPath, and replacements for them.
_XPATH_WORDS: Final[AttackTable[RequestMaker]] = (
    ("another-actor", "the XPath leaves out what is for the To party",
     _swap_in_xpath("nextMSH", "toPartyMSH")),
    ("self", "the XPath looks at the element alone, not at those around it",
     _swap_in_xpath("ancestor-or-self", "self")),
    ("prefix-elsewhere", "the prefix of the XPath is bound to another namespace",
     _swap_in_xpath("soap:", "ds:")),
    ("prefix-unbound", "the prefix of the XPath is not bound",
     _swap_in_xpath("soap:", "nobody:"), "GW202", False),
)

#: The transform of the XPath in another structure.
_XPATH_ELEMENTS: Final[AttackTable[TreeMutation]] = (
    ("twice", "the XPath transform stands twice", duplicate_element(f"{TRANSFORMS}/ds:Transform[ds:XPath]")),
    ("two-expressions", "two XPath elements in one transform, the second leaves out the Body", _SECOND_XPATH),
    ("other-namespace", "the XPath element is of another namespace",
     rename_element(_XPATH, expand_name("x:XPath"))),
    ("missing", "the XPath transform has no XPath", remove_element(_XPATH), "GW202", False),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *make_table_cases("SIG-23.", _BLOCKS, _insert_block_for_next_node, _NEW, naive=True),
    *make_table_cases("SIG-23.", _HANDLER_BLOCKS, _insert_block_for_next_msh, _NEW, naive=True),
    *make_table_cases("SIG-23.", _NESTED_BLOCKS, use_request_maker, _NEW, naive=True),
    *make_table_cases("SIG-23.", _FURTHER_BLOCKS, change_on_the_way, _NEW, naive=True),
    *make_table_cases("SIG-23.", _ADDRESSED, lambda path: change_on_the_way(_address_to_next(path)), _NEW),
    *make_table_cases("SIG-23.", _DENIED, lambda path: sign_again(_address_to_next(path)), _NEW, naive=True),
    *make_table_cases("SIG-09.", _IDENTIFIERS, sign_again, _POLLUTION, "GW202", naive=True),
    make_attack_case("SIG-09.signature-ids", "one value as Id of the signature and of its value",
     change_on_the_way(_set_same_id("//ds:Signature", "Id", "//ds:SignatureValue", "Id")), "GW202",
     _POLLUTION, naive=True),
    make_attack_case("SIG-09.sync-reply", "the eb:id of MessageHeader put on SyncReply, which no digest sees",
     _make_sync_reply_id_request, "GW202", _POLLUTION, naive=True),
    *make_table_cases("SIG-22.", _XPATHS, _write_xpath, _WRITTEN, "GW202", naive=True),
    *make_table_cases("SIG-22.", _XPATH_WORDS, use_request_maker, _WRITTEN, "GW202", naive=True),
    *make_table_cases("SIG-22.", _XPATH_ELEMENTS, sign_as_written, _WRITTEN, "GW202", naive=True),
)
# fmt: on
"""Hidden content, the XPath in other words, doubled identifiers."""
