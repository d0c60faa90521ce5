"""What the signature of a call names and what it leaves out (SIG-08 to SIG-13, SIG-17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    all_of,
    at,
    doubled,
    inserted,
    moved,
    name_of,
    removed,
)
from gateway.conformance.hostile.calls import (
    BODY,
    FIRST_REFERENCE,
    HEADER,
    SECURITY,
    TIMESTAMP,
    TOKEN,
    by_agency,
    copied,
    on_its_way,
)
from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.tampered import attack

if TYPE_CHECKING:
    pass

__all__ = ["CASES"]

_ID: Final = name_of("wsu:Id")

_POLLUTION: Final = "PortSwigger, The Fragile Lock, 2025 (attribute pollution); WS-Attacker"
_PARTIAL: Final = "WS-Security partial signing"
_TWO: Final = "signature exclusion; WS-Attacker"
_LOOK_UP: Final = "CVE-2011-1411 and other Id look-up flaws"


def _same_id(name: str) -> Alteration:
    """Return: the Id of the Body once more, in an attribute of what stands in it."""
    return lambda root: at(root, f"{BODY}/*").set(name_of(name), at(root, BODY).get(_ID, ""))


def _only_by(name: str) -> Alteration:
    """Return: the Body has its Id in another attribute, and is signed so."""

    def change(root: etree._Element) -> None:
        body = at(root, BODY)
        body.set(name_of(name), body.attrib.pop(_ID))

    return change


def _unsigned(path: str) -> Alteration:
    """Return: the reference to the element at `path` is left out."""
    return lambda root: removed(f"//ds:Reference[@URI='#{at(root, path).get(_ID)}']")(root)


def _called(uri: Callable[[str], str]) -> Alteration:
    def change(root: etree._Element) -> None:
        at(root, FIRST_REFERENCE).set("URI", uri(at(root, BODY).get(_ID, "")))

    return change


_IDS: Final = (
    *(
        by_agency(
            f"SIG-09.call-{name}",
            f"the Id of the Body once more, as {attribute} of what stands in it",
            _same_id(attribute),
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
        by_agency(
            f"SIG-09.call-body-{name}",
            f"the Body is named by {attribute} alone",
            _only_by(attribute),
            "GW202",
            _POLLUTION,
            naive=True,
        )
        for name, attribute in (("id", "Id"), ("xml", "xml:id"), ("lower", "id"), ("foreign", "x:Id"))
    ),
    on_its_way(
        "SIG-08.call-two-bodies",
        "two Bodies with one wsu:Id",
        copied(BODY, with_id=True),
        "GW107",
        _POLLUTION,
        naive=True,
    ),
    on_its_way(
        "SIG-08.call-timestamp",
        "two Timestamps with one wsu:Id",
        copied(TIMESTAMP, with_id=True),
        "GW211",
        _POLLUTION,
        naive=True,
    ),
    on_its_way(
        "SIG-08.call-token",
        "two tokens with one wsu:Id",
        copied(TOKEN, with_id=True),
        "GW202",
        _POLLUTION,
        naive=True,
    ),
    *(
        by_agency(
            f"SIG-10.call-{name}",
            f"the Body referred to as {uri('id')!r}",
            _called(uri),
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
    attack(
        "SIG-13.call-unsigned",
        "no WS-Security at all",
        lambda bench: bench.call(signed=False),
        "GW201",
        _PARTIAL,
        face="soap",
    ),
    on_its_way(
        "SIG-13.call-no-signature",
        "the Security header has no signature",
        removed("//ds:Signature"),
        "GW201",
        _PARTIAL,
    ),
    on_its_way(
        "SIG-13.call-signature-elsewhere",
        "the signature stands in the Header beside Security",
        moved("//ds:Signature", HEADER),
        "GW107",
        _PARTIAL,
        naive=True,
    ),
    by_agency(
        "SIG-13.call-signature-in-body",
        "the signature stands in the Body",
        moved("//ds:Signature", BODY),
        "GW201 GW311",
        _PARTIAL,
    ),
    on_its_way(
        "SIG-13.call-username-only",
        "a UsernameToken instead of the signature",
        all_of(
            removed("//ds:Signature"),
            added(SECURITY, "<wsse:UsernameToken><wsse:Username>agency</wsse:Username></wsse:UsernameToken>"),
        ),
        "GW201",
        _PARTIAL,
    ),
    *(
        by_agency(
            f"SIG-13.call-{name}", f"no reference to {name}", _unsigned(path), "GW203", _PARTIAL, naive=True
        )
        for name, path in (
            ("body", BODY),
            ("timestamp", TIMESTAMP),
            ("action", f"{HEADER}/wsa:Action"),
            ("message-id", f"{HEADER}/wsa:MessageID"),
            ("reply-to", f"{HEADER}/wsa:ReplyTo"),
        )
    ),
    on_its_way(
        "SIG-13.call-to-added",
        "wsa:To added after the call was signed",
        added(HEADER, "<wsa:To>http://localhost/soap/agency</wsa:To>"),
        "GW203 GW304",
        _PARTIAL,
        naive=True,
    ),
    on_its_way(
        "SIG-13.call-relates-to-added",
        "wsa:RelatesTo added after the call was signed",
        added(HEADER, "<wsa:RelatesTo>urn:uuid:another</wsa:RelatesTo>"),
        "GW203",
        _PARTIAL,
        naive=True,
    ),
    on_its_way(
        "SIG-13.call-from-added",
        "wsa:From added after the call was signed",
        added(HEADER, "<wsa:From><wsa:Address>urn:example:another-agency</wsa:Address></wsa:From>"),
        "GW203",
        _PARTIAL,
        naive=True,
    ),
    on_its_way(
        "SIG-12.call-two-signatures",
        "the signature stands twice",
        doubled("//ds:Signature"),
        "GW202",
        _TWO,
        naive=True,
    ),
    on_its_way(
        "SIG-12.call-two-securities",
        "the Security header stands twice",
        doubled(SECURITY),
        "GW202 GW211",
        _TWO,
        naive=True,
    ),
    on_its_way(
        "SIG-12.call-empty-signature",
        "an empty ds:Signature before the signature",
        inserted(SECURITY, "<ds:Signature/>"),
        "GW202",
        _TWO,
        naive=True,
    ),
    on_its_way(
        "SIG-12.call-username-beside",
        "a UsernameToken beside the token",
        added(SECURITY, "<wsse:UsernameToken><wsse:Username>hub</wsse:Username></wsse:UsernameToken>"),
        "GW202",
        _TWO,
        naive=True,
    ),
    by_agency(
        "SIG-17.call-reference-twice",
        "the Body is referred to twice",
        doubled(FIRST_REFERENCE),
        "GW202",
        "CVE-2025-29774",
        naive=True,
    ),
    on_its_way(
        "SIG-17.call-signed-info-twice",
        "SignedInfo stands twice",
        doubled("//ds:SignedInfo"),
        "GW202",
        "CVE-2025-29774",
        naive=True,
    ),
)


CASES: Final[tuple[Case, ...]] = (*_IDS, *_COVERAGE)
