"""What the signature of a call names and what it leaves out (SIG-08 to SIG-13, SIG-17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.case_builders import (
    BODY,
    FIRST_REFERENCE,
    HEADER,
    SECURITY,
    TIMESTAMP,
    TOKEN,
    copy_element,
    make_agency_attack,
    make_attack_case,
    make_call_transit_attack,
)
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    insert_element,
    move_element,
    remove_element,
)

__all__ = ["CASES"]

_ID: Final = expand_name("wsu:Id")

_POLLUTION: Final = "PortSwigger, The Fragile Lock, 2025 (attribute pollution); WS-Attacker"
_PARTIAL: Final = "WS-Security partial signing"
_TWO: Final = "signature exclusion; WS-Attacker"
_LOOK_UP: Final = "CVE-2011-1411 and other Id look-up flaws"


def _duplicate_body_id(name: str) -> TreeMutation:
    """Return: the Id of the Body once more, in an attribute of what stands in it."""
    return lambda root: get_element(root, f"{BODY}/*").set(
        expand_name(name), get_element(root, BODY).get(_ID, "")
    )


def _move_body_id(name: str) -> TreeMutation:
    """Return: the Body has its Id in another attribute, and is signed so."""

    def alter_tree(root: etree._Element) -> None:
        body = get_element(root, BODY)
        body.set(expand_name(name), body.attrib.pop(_ID))

    return alter_tree


def _remove_reference_to(path: str) -> TreeMutation:
    """Return: the reference to the element at `path` is left out."""
    return lambda root: remove_element(f"//ds:Reference[@URI='#{get_element(root, path).get(_ID)}']")(root)


def _set_reference_uri(uri: Callable[[str], str]) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        get_element(root, FIRST_REFERENCE).set("URI", uri(get_element(root, BODY).get(_ID, "")))

    return alter_tree


_IDS: Final = (
    *(
        make_agency_attack(
            f"SIG-09.call-{name}",
            f"the Id of the Body once more, as {attribute} of what stands in it",
            _duplicate_body_id(attribute),
            "GW202",
            _POLLUTION,
            naive=True,
        )
        for name, attribute in (
            ("wsu-id", "wsu:Id"),
            ("id", "Id"),
            ("upper", "ID"),
            ("lower", "id"),
            ("xml", "xml:id"),
            ("foreign", "x:Id"),
        )
    ),
    *(
        make_agency_attack(
            f"SIG-09.call-body-{name}",
            f"the Body is named by {attribute} alone",
            _move_body_id(attribute),
            "GW202",
            _POLLUTION,
            naive=True,
        )
        for name, attribute in (("id", "Id"), ("xml", "xml:id"), ("lower", "id"), ("foreign", "x:Id"))
    ),
    make_call_transit_attack(
        "SIG-08.call-two-bodies",
        "two Bodies with one wsu:Id",
        copy_element(BODY, with_id=True),
        "GW107",
        _POLLUTION,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-08.call-timestamp",
        "two Timestamps with one wsu:Id",
        copy_element(TIMESTAMP, with_id=True),
        "GW211",
        _POLLUTION,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-08.call-token",
        "two tokens with one wsu:Id",
        copy_element(TOKEN, with_id=True),
        "GW202",
        _POLLUTION,
        naive=True,
    ),
    *(
        make_agency_attack(
            f"SIG-10.call-{name}",
            f"the Body referred to as {uri('id')!r}",
            _set_reference_uri(uri),
            "GW202",
            _LOOK_UP,
            naive=naive,
        )
        for name, uri, naive in (
            ("empty", lambda _: "", False),
            ("two-hashes", lambda found: f"##{found}", True),
            ("trailing-space", lambda found: f"#{found} ", True),
            ("no-hash", lambda found: found, True),
            ("xpointer", lambda found: f"#xpointer(id('{found}'))", True),
            ("hash", lambda _: "#", False),
            ("url", lambda found: f"http://attacker.invalid/#{found}", False),
            ("cid", lambda found: f"cid:{found}", False),
            ("file", lambda _: "file:///etc/passwd", False),
        )
    ),
)

_COVERAGE: Final = (
    make_attack_case(
        "SIG-13.call-unsigned",
        "no WS-Security at all",
        lambda bench: bench.build_call(signed=False),
        "GW201",
        _PARTIAL,
        face="soap",
    ),
    make_call_transit_attack(
        "SIG-13.call-no-signature",
        "the Security header has no signature",
        remove_element("//ds:Signature"),
        "GW201",
        _PARTIAL,
    ),
    make_call_transit_attack(
        "SIG-13.call-signature-elsewhere",
        "the signature stands in the Header beside Security",
        move_element("//ds:Signature", HEADER),
        "GW107",
        _PARTIAL,
        naive=True,
    ),
    make_agency_attack(
        "SIG-13.call-signature-in-body",
        "the signature stands in the Body",
        move_element("//ds:Signature", BODY),
        "GW201 GW311",
        _PARTIAL,
    ),
    make_call_transit_attack(
        "SIG-13.call-username-only",
        "a UsernameToken instead of the signature",
        combine_mutations(
            remove_element("//ds:Signature"),
            append_element(
                SECURITY, "<wsse:UsernameToken><wsse:Username>agency</wsse:Username></wsse:UsernameToken>"
            ),
        ),
        "GW201",
        _PARTIAL,
    ),
    *(
        make_agency_attack(
            f"SIG-13.call-{name}",
            f"no reference to {name}",
            _remove_reference_to(path),
            "GW203",
            _PARTIAL,
            naive=True,
        )
        for name, path in (
            ("body", BODY),
            ("timestamp", TIMESTAMP),
            ("action", f"{HEADER}/wsa:Action"),
            ("message-id", f"{HEADER}/wsa:MessageID"),
            ("reply-to", f"{HEADER}/wsa:ReplyTo"),
        )
    ),
    make_call_transit_attack(
        "SIG-13.call-to-added",
        "wsa:To added after the call was signed",
        append_element(HEADER, "<wsa:To>http://localhost/soap/agency</wsa:To>"),
        "GW203 GW304",
        _PARTIAL,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-13.call-relates-to-added",
        "wsa:RelatesTo added after the call was signed",
        append_element(HEADER, "<wsa:RelatesTo>urn:uuid:another</wsa:RelatesTo>"),
        "GW203",
        _PARTIAL,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-13.call-from-added",
        "wsa:From added after the call was signed",
        append_element(HEADER, "<wsa:From><wsa:Address>urn:example:another-agency</wsa:Address></wsa:From>"),
        "GW203",
        _PARTIAL,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-12.call-two-signatures",
        "the signature stands twice",
        duplicate_element("//ds:Signature"),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-12.call-two-securities",
        "the Security header stands twice",
        duplicate_element(SECURITY),
        "GW202 GW211",
        _TWO,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-12.call-empty-signature",
        "an empty ds:Signature before the signature",
        insert_element(SECURITY, "<ds:Signature/>"),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-12.call-username-beside",
        "a UsernameToken beside the token",
        append_element(
            SECURITY, "<wsse:UsernameToken><wsse:Username>hub</wsse:Username></wsse:UsernameToken>"
        ),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_agency_attack(
        "SIG-17.call-reference-twice",
        "the Body is referred to twice",
        duplicate_element(FIRST_REFERENCE),
        "GW202",
        "CVE-2025-29774",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-17.call-signed-info-twice",
        "SignedInfo stands twice",
        duplicate_element("//ds:SignedInfo"),
        "GW202",
        "CVE-2025-29774",
        naive=True,
    ),
)


CASES: Final[tuple[AttackCase, ...]] = (*_IDS, *_COVERAGE)
