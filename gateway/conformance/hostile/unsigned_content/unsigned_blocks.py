"""What the signature of an ebMS 2.0 envelope does not see (SIG-23), and doubled identifiers (SIG-09).

The mandated XPath transform takes out whatever is addressed to the next node.  Anybody on
the way can put anything there; and a sender whose XPath says a little more takes out
whatever he wants to deny later.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    make_attack_case,
    make_sender_attack,
    make_transit_attack,
)
from gateway.conformance.hostile.exchange import ACCEPTED, HttpRequest
from gateway.conformance.hostile.tree_mutations import (
    ACTOR,
    NEXT,
    NEXT_MSH,
    TreeMutation,
    append_element,
    combine_mutations,
    get_element,
    insert_element,
    mutate_tree,
    parse_element,
    set_attribute,
    set_text,
)

__all__ = ["CASES"]

_HEADER: Final = "/soap:Envelope/soap:Header"
_BODY: Final = "/soap:Envelope/soap:Body"
_NEW: Final = "ebMS 2.0 §4.1.3: what its XPath transform leaves out; no published test"
_POLLUTION: Final = "PortSwigger, The Fragile Lock, 2025 (attribute pollution)"
_SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"


def _insert_hidden_block(text: str, actor: str = NEXT, *, first: bool = False) -> TreeMutation:
    """Return: a header block that is addressed to the next node, so that no digest sees it."""

    def alter_tree(root: etree._Element) -> None:
        block = parse_element(text)
        block.set(ACTOR, actor)
        header = get_element(root, _HEADER)
        header.insert(0 if first else len(header) - 1, block)

    return alter_tree


def _append_hidden_block(path: str, text: str) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        block = parse_element(text)
        block.set(ACTOR, NEXT)
        get_element(root, path).append(block)

    return alter_tree


def _append_to_sync_reply(inside: str) -> TreeMutation:
    """Return: something put into the SyncReply that the sender himself wrote."""
    return append_element("//eb:SyncReply", inside)


_UNDERSTOOD: Final = 'soap:mustUnderstand="1" eb:version="2.0"'
_PARTY: Final = "<eb:From><eb:PartyId>urn:example:forged</eb:PartyId></eb:From>"
_ACK: Final = (
    f"<eb:Timestamp>2026-11-20T09:00:00Z</eb:Timestamp><eb:RefToMessageId>m@hub</eb:RefToMessageId>{_PARTY}"
)
_ERROR: Final = '<eb:Error eb:errorCode="Unknown" eb:severity="Error"/>'

_BLOCKS: Final = tuple(
    make_transit_attack(f"SIG-23.{name}", title, change, problem, _NEW, naive=naive_takes)
    for name, title, change, problem, naive_takes in (
        (
            "manifest",
            "a Manifest for the next node",
            _insert_hidden_block(
                '<eb:Manifest eb:version="2.0"><eb:Reference xlink:href="cid:x"/></eb:Manifest>'
            ),
            "GW107",
            True,
        ),
        (
            "error-list",
            "an ErrorList for the next node",
            _insert_hidden_block(
                f'<eb:ErrorList {_UNDERSTOOD} eb:highestSeverity="Error">{_ERROR}</eb:ErrorList>'
            ),
            "GW203",
            True,
        ),
        (
            "error-list-next-handler",
            "an ErrorList for the next handler",
            _insert_hidden_block(
                f'<eb:ErrorList {_UNDERSTOOD} eb:highestSeverity="Error">{_ERROR}</eb:ErrorList>', NEXT_MSH
            ),
            "GW203",
            True,
        ),
        (
            "acknowledgment",
            "an Acknowledgment for the next handler",
            _insert_hidden_block(f"<eb:Acknowledgment {_UNDERSTOOD}>{_ACK}</eb:Acknowledgment>", NEXT_MSH),
            "GW311",
            True,
        ),
        (
            "acknowledgment-next",
            "an Acknowledgment for the next node",
            _insert_hidden_block(f"<eb:Acknowledgment {_UNDERSTOOD}>{_ACK}</eb:Acknowledgment>"),
            "GW304",
            True,
        ),
        (
            "acknowledgment-manifest",
            "a Manifest inside an Acknowledgment for the next node",
            _insert_hidden_block(f"<eb:Acknowledgment {_UNDERSTOOD}><eb:Manifest/></eb:Acknowledgment>"),
            "GW203",
            True,
        ),
        (
            "message-order",
            "MessageOrder for the next node",
            _insert_hidden_block(
                f'<eb:MessageOrder {_UNDERSTOOD}><eb:SequenceNumber eb:status="Reset">1</eb:SequenceNumber>'
                "</eb:MessageOrder>"
            ),
            "GW311",
            True,
        ),
        (
            "via",
            "a block of ebMS 1.0 for the next node",
            _insert_hidden_block('<eb:Via eb:version="1.0"/>'),
            "GW107",
            True,
        ),
        (
            "status-request",
            "a StatusRequest in the Header, for the next node",
            _insert_hidden_block(
                '<eb:StatusRequest eb:version="2.0"><eb:RefToMessageId>m@hub</eb:RefToMessageId>'
                "</eb:StatusRequest>"
            ),
            "GW107",
            True,
        ),
        (
            "ack-requested",
            "a second AckRequested, for the next handler",
            _insert_hidden_block(f'<eb:AckRequested {_UNDERSTOOD} eb:signed="false"/>', NEXT_MSH),
            "GW107",
            True,
        ),
        (
            "sync-reply-twice",
            "a second SyncReply",
            _insert_hidden_block(f"<eb:SyncReply {_UNDERSTOOD}/>"),
            "GW107",
            True,
        ),
        (
            "security",
            "a wsse:Security with another token, for the next node",
            _insert_hidden_block(
                "<wsse:Security><wsse:UsernameToken><wsse:Username>hub</wsse:Username></wsse:UsernameToken></wsse:Security>"
            ),
            "GW203",
            True,
        ),
        (
            "addressing",
            "a wsa:ReplyTo for the next node",
            _insert_hidden_block(
                "<wsa:ReplyTo><wsa:Address>http://attacker.invalid/</wsa:Address></wsa:ReplyTo>"
            ),
            "GW203",
            True,
        ),
        (
            "unknown",
            "an unknown block for the next node",
            _insert_hidden_block("<x:Trace>forged</x:Trace>"),
            "GW203",
            True,
        ),
        (
            "unknown-demanding",
            "an unknown block for the next node that must be understood",
            _insert_hidden_block('<x:Trace soap:mustUnderstand="1"/>'),
            "GW106",
            True,
        ),
        (
            "unknown-empty",
            "an unknown, empty block for the next node",
            _insert_hidden_block("<x:Trace/>"),
            "GW203",
            True,
        ),
        (
            "two-unknown",
            "two unknown blocks for the next node",
            combine_mutations(_insert_hidden_block("<x:Trace/>"), _insert_hidden_block("<x:Other/>")),
            "GW203",
            True,
        ),
        (
            "first",
            "an unknown block for the next node before MessageHeader",
            _insert_hidden_block("<x:Trace/>", first=True),
            "GW203",
            True,
        ),
        (
            "signature-property",
            "a signature of somebody for the next node",
            _insert_hidden_block("<ds:Signature/>"),
            "GW107",
            True,
        ),
        (
            "nested",
            "a block that is for the next node inside one that is for nobody",
            _append_hidden_block("//eb:MessageHeader", "<x:Trace/>"),
            "GW311",
            True,
        ),
        (
            "in-body",
            "SyncReply in the Body",
            _append_hidden_block(_BODY, f"<eb:SyncReply {_UNDERSTOOD}/>"),
            "GW107",
            True,
        ),
        (
            "body-second-manifest",
            "a second Manifest in the Body, for the next node",
            _append_hidden_block(
                _BODY, f'<eb:Manifest {_UNDERSTOOD}><eb:Reference xlink:href="cid:x"/></eb:Manifest>'
            ),
            "GW107",
            True,
        ),
        (
            "in-manifest",
            "a further eb:Reference in the Manifest, for the next node",
            _append_hidden_block("//eb:Manifest", '<eb:Reference xlink:href="cid:x"/>'),
            "GW107",
            True,
        ),
        (
            "in-message-data",
            "a TimeToLive for the next node",
            _append_hidden_block("//eb:MessageData", "<eb:TimeToLive>2000-01-01T00:00:00Z</eb:TimeToLive>"),
            "GW107",
            True,
        ),
        (
            "in-party",
            "a second PartyId for the next node",
            _append_hidden_block("//eb:From", '<eb:PartyId eb:type="urn:example:other">hub</eb:PartyId>'),
            "GW107",
            True,
        ),
        (
            "description",
            "a Description of MessageHeader for the next node",
            _append_hidden_block(
                "//eb:MessageHeader", '<eb:Description xml:lang="en">forged</eb:Description>'
            ),
            "GW107",
            True,
        ),
        (
            "behind-body",
            "a block behind the Body, for the next node",
            _append_hidden_block("/soap:Envelope", "<x:Trace/>"),
            "GW107",
            True,
        ),
        (
            "second-header",
            "a second SOAP Header, for the next node",
            _append_hidden_block("/soap:Envelope", "<soap:Header/>"),
            "GW107",
            True,
        ),
        (
            "sync-reply-header",
            "a MessageHeader inside SyncReply",
            _append_to_sync_reply("<eb:MessageHeader/>"),
            "GW107",
            True,
        ),
        (
            "sync-reply-unknown",
            "an unknown element inside SyncReply, whose schema allows it",
            _append_to_sync_reply("<x:Trace>forged</x:Trace>"),
            "GW311",
            True,
        ),
        ("sync-reply-text", "text inside SyncReply", set_text("//eb:SyncReply", "forged"), "GW107", True),
        (
            "sync-reply-url",
            "an address as attribute of SyncReply",
            set_attribute("//eb:SyncReply", "x:ReplyTo", "http://attacker.invalid/"),
            ACCEPTED,
            True,
        ),
        (
            "actor-on-manifest",
            "the Manifest is addressed to the next node",
            set_attribute("//eb:Manifest", "soap:actor", NEXT),
            "GW107",
            False,
        ),
        (
            "actor-on-header",
            "the SOAP Header is addressed to the next node",
            set_attribute(_HEADER, "soap:actor", NEXT),
            "GW203",
            False,
        ),
        (
            "actor-on-body",
            "the SOAP Body is addressed to the next node",
            set_attribute(_BODY, "soap:actor", NEXT),
            "GW203",
            False,
        ),
        (
            "actor-on-envelope",
            "the Envelope is addressed to the next node",
            set_attribute("/soap:Envelope", "soap:actor", NEXT),
            "GW203",
            False,
        ),
        (
            "actor-on-message-header",
            "MessageHeader is addressed to the next node",
            set_attribute("//eb:MessageHeader", "soap:actor", NEXT),
            "GW107",
            False,
        ),
        (
            "actor-on-ack-requested",
            "AckRequested is addressed to the next handler",
            set_attribute("//eb:AckRequested", "soap:actor", NEXT_MSH),
            "GW311",
            False,
        ),
        (
            "actor-with-space",
            "an unknown block whose actor has a space behind",
            _insert_hidden_block("<x:Trace/>", NEXT + " "),
            "GW202",
            False,
        ),
        (
            "actor-upper-case",
            "an unknown block whose actor is in capitals",
            _insert_hidden_block("<x:Trace/>", NEXT.upper()),
            "GW202",
            False,
        ),
        (
            "actor-soap-1.2",
            "an unknown block with the role of SOAP 1.2",
            lambda root: get_element(root, _HEADER).append(
                etree.Element("{urn:example:unknown}Trace", {f"{{{_SOAP12}}}role": f"{_SOAP12}/role/next"})
            ),
            "GW202",
            False,
        ),
        (
            "actor-without-namespace",
            "an unknown block with an actor attribute without namespace",
            insert_element(_HEADER, f'<x:Trace actor="{NEXT}"/>'),
            "GW202",
            False,
        ),
    )
)

_ONLY_SIGNED: Final = tuple(
    make_sender_attack(f"SIG-23.{name}", title, change, problem, _NEW, naive=True)
    for name, title, change, problem in (
        (
            "signed-manifest",
            "the sender himself hides the Manifest: he can exchange it later",
            set_attribute("//eb:Manifest", "soap:actor", NEXT),
            "GW107",
        ),
        (
            "signed-message-header",
            "the sender himself hides MessageHeader",
            set_attribute("//eb:MessageHeader", "soap:actor", NEXT),
            "GW107",
        ),
        (
            "signed-body",
            "the sender himself hides the Body",
            set_attribute(_BODY, "soap:actor", NEXT),
            "GW203",
        ),
        (
            "signed-header",
            "the sender himself hides the whole Header",
            set_attribute(_HEADER, "soap:actor", NEXT),
            "GW203",
        ),
        (
            "signed-conversation",
            "the sender himself hides one element of MessageHeader",
            set_attribute("//eb:ConversationId", "soap:actor", NEXT),
            "GW107",
        ),
    )
)


def _make_sync_reply_id_request(bench: AttackerKit) -> HttpRequest:
    named = mutate_tree(set_attribute("//eb:MessageHeader", "eb:id", "h"))
    return bench.build_message(
        envelope=named, tampered=mutate_tree(set_attribute("//eb:SyncReply", "eb:id", "h"))
    )


_IDS: Final = (
    *(
        make_sender_attack(f"SIG-09.{name}", title, change, "GW202", _POLLUTION, naive=True)
        for name, title, change in (
            (
                "ebxml-and-xml",
                "one value as eb:id of MessageHeader and xml:id of the Body",
                combine_mutations(
                    set_attribute("//eb:MessageHeader", "eb:id", "h"), set_attribute(_BODY, "xml:id", "h")
                ),
            ),
            (
                "ebxml-twice",
                "one value as eb:id of two elements",
                combine_mutations(
                    set_attribute("//eb:MessageHeader", "eb:id", "h"),
                    set_attribute("//eb:Manifest", "eb:id", "h"),
                ),
            ),
            (
                "foreign",
                "one value as Id and x:Id of the signature",
                combine_mutations(
                    set_attribute("//ds:Signature", "Id", "h"), set_attribute("//ds:Signature", "x:Id", "h")
                ),
            ),
            (
                "ebxml-and-signature",
                "one value as eb:id of MessageHeader and Id of the signature",
                combine_mutations(
                    set_attribute("//eb:MessageHeader", "eb:id", "h"),
                    set_attribute("//ds:Signature", "Id", "h"),
                ),
            ),
        )
    ),
    make_transit_attack(
        "SIG-09.signature-ids",
        "one value as Id of the signature and of its value",
        combine_mutations(
            set_attribute("//ds:Signature", "Id", "h"), set_attribute("//ds:SignatureValue", "Id", "h")
        ),
        "GW202",
        _POLLUTION,
        naive=True,
    ),
    make_attack_case(
        "SIG-09.sync-reply",
        "the eb:id of MessageHeader put on SyncReply, which no digest sees",
        _make_sync_reply_id_request,
        "GW202",
        _POLLUTION,
        naive=True,
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (*_BLOCKS, *_ONLY_SIGNED, *_IDS)
