"""Our own signed list: whom we admit and what they are worth, to be handed to others or to ourselves.

One XML document, signed as a Result is (XAdES-B over all of it).  Times are in UTC, certificates
in base64; the manual describes every element.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.pki.certificates import Certificate
from gateway.pki.keys import Signer
from gateway.recognition.lists import (
    Bridge,
    Equivalence,
    Role,
    Scheme,
    Service,
    ServiceKind,
    Standing,
    TrustedList,
)
from gateway.recognition.reading import certificates_below, instant, malformed, visible, written_instant
from gateway.recognition.sealed import check_pinned
from gateway.wire.namespaces import DS
from gateway.wire.prescan import DEFAULT_LIMITS, Limits
from gateway.wire.xml import parse_xml, serialize
from gateway.xmlsec.xades import sign_document, verify_document

__all__ = ["TRUST_LIST", "Draft", "is_own", "open_own_list", "sign_list"]

TRUST_LIST: Final = "urn:single-window:trust-list:1"
# The stubs of lxml do not know the default namespace.
_NSMAP: Final[Any] = {None: TRUST_LIST}
_L: Final = f"{{{TRUST_LIST}}}"
_ROOT: Final = f"{_L}TrustList"
_CERTIFICATE: Final = f"{_L}Certificate"
_SIGNATURE: Final = f"{{{DS}}}Signature"
_MOST_SEQUENCE: Final = 9
_PLACES: Final = frozenset(
    (parent, f"{_L}{name}")
    for parent, names in {
        "TrustList": ("Equivalence", "Service", "Scheme", "Bridge"),
        "Equivalence": ("Kind", "Status", "Level"),
        "Service": ("Standing", "Certificate"),
        "Standing": ("Additional",),
        "Scheme": ("Certificate", "Equivalence"),
        "Bridge": ("Certificate", "Policy"),
    }.items()
    for name in names
)
_ROLES: Final = ("list", "voucher")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a list is to say; it becomes one when somebody signs it."""

    operator: str
    territory: str
    sequence: int
    next_update: datetime
    services: tuple[Service, ...] = ()
    schemes: tuple[Scheme, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    rules: tuple[Equivalence, ...] = ()


def sign_list(draft: Draft, signer: Signer, *, now: datetime) -> bytes:
    """Write a list, issued now, and sign it."""
    root = etree.Element(_ROOT, nsmap=_NSMAP)
    root.set("version", "1")
    root.set("operator", draft.operator)
    root.set("territory", draft.territory)
    root.set("sequence", str(draft.sequence))
    root.set("issued", written_instant(now))
    root.set("nextUpdate", written_instant(draft.next_update))
    _write_rules(root, draft.rules)
    for service in draft.services:
        _write_service(root, service)
    for scheme in draft.schemes:
        element = _add(root, "Scheme", territory=scheme.territory, role=scheme.role, location=scheme.location)
        _write_certificates(element, scheme.signers)
        _write_rules(element, scheme.rules or ())
    for bridge in draft.bridges:
        element = _add(root, "Bridge")
        _write_certificates(element, [bridge.certificate])
        for policy, level in bridge.policies:
            _add(element, "Policy", oid=policy, level=level)
    return serialize(sign_document(root, signer, now=now))


def is_own(root: etree._Element) -> bool:
    """Tell whether a document is a list of this form."""
    return root.tag == _ROOT


def open_own_list(
    data: bytes, signers: Collection[Certificate], *, limits: Limits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list that one of the expected certificates signed; whether it is fresh is asked elsewhere."""
    root = parse_xml(data, limits)
    signed = verify_document(root)
    check_pinned(signed.certificate, signers)
    if not is_own(root) or root.get("version") != "1":
        malformed("not a trusted list of ours, version 1", root)
    _check_elements(root)
    return TrustedList(
        form="own",
        operator=_said(root, "operator"),
        territory=_said(root, "territory"),
        sequence=_sequence(root),
        issued=_moment(root, "issued"),
        next_update=_moment(root, "nextUpdate"),
        sha256=hashlib.sha256(data).hexdigest(),
        signer=signed.certificate,
        services=tuple(_read_service(each) for each in root.iterchildren(f"{_L}Service")),
        schemes=tuple(_read_scheme(each) for each in root.iterchildren(f"{_L}Scheme")),
        bridges=tuple(_read_bridge(each) for each in root.iterchildren(f"{_L}Bridge")),
        rules=tuple(_read_rules(root)),
    )


def _check_elements(root: etree._Element) -> None:
    """Refuse what the form does not have: a rule that is passed over could be one that forbids."""
    for parent in root.iter():
        for each in parent:
            place = (etree.QName(parent).localname, each.tag)
            if each.tag != _SIGNATURE and parent.tag.startswith(_L) and place not in _PLACES:
                malformed("the form has no such element here", each)


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, f"{_L}{tag}")
    for key, value in attributes.items():
        if value:
            element.set(key, value)
    return element


def _write_certificates(parent: etree._Element, certificates: Iterable[Certificate]) -> None:
    for each in certificates:
        _add(parent, "Certificate").text = base64.b64encode(each.der).decode("ascii")


def _write_service(root: etree._Element, service: Service) -> None:
    element = _add(root, "Service", provider=service.provider, name=service.name)
    for each in service.standings:
        standing = _add(
            element, "Standing", type=each.type, status=each.status, since=written_instant(each.since)
        )
        for word in sorted(each.additional):
            _add(standing, "Additional", value=word)
    _write_certificates(element, service.certificates)


def _write_rules(parent: etree._Element, rules: Iterable[Equivalence]) -> None:
    for rule in rules:
        if rule.conditions or rule.becomes:
            raise GatewayError(OUR_MISTAKE, f"the form cannot say rule '{rule.identifier[:80]}'")
        element = _add(
            parent,
            "Equivalence",
            identifier=rule.identifier,
            since=written_instant(rule.since),
            until="" if rule.until is None else written_instant(rule.until),
            state="enacted" if rule.enacted else "repealed",
        )
        for kind in sorted(rule.kinds, key=lambda one: (one.type, one.additional)):
            _add(element, "Kind", type=kind.type, additional=kind.additional)
        for status in sorted(rule.statuses):
            _add(element, "Status", value=status)
        for level in sorted(rule.levels):
            _add(element, "Level", value=level)


def _said(element: etree._Element, name: str) -> str:
    found = element.get(name, "")
    if not found:
        malformed(f"attribute {name} is missing", element)
    return visible(found)


def _moment(element: etree._Element, name: str) -> datetime:
    return instant(element.get(name), element)


def _sequence(root: etree._Element) -> int:
    found = _said(root, "sequence")
    if not found.isascii() or not found.isdigit() or len(found) > _MOST_SEQUENCE:
        malformed("not a sequence number", root)
    return int(found)


def _values(element: etree._Element, name: str) -> frozenset[str]:
    return frozenset(_said(each, "value") for each in element.iterchildren(f"{_L}{name}"))


def _certificates(element: etree._Element) -> tuple[Certificate, ...]:
    """Return the certificates of an element; a list of ours holds none that we could not read."""
    found, unread = certificates_below(element, _CERTIFICATE)
    if unread or not found:
        malformed(unread[0] if unread else "no certificate", element)
    return found


def _read_service(element: etree._Element) -> Service:
    standings = [
        Standing(
            _said(each, "type"), _said(each, "status"), _moment(each, "since"), _values(each, "Additional")
        )
        for each in element.iterchildren(f"{_L}Standing")
    ]
    return Service(
        provider=_said(element, "provider"),
        name=_said(element, "name"),
        certificates=_certificates(element),
        standings=tuple(sorted(standings, key=lambda each: each.since, reverse=True)),
    )


def _read_scheme(element: etree._Element) -> Scheme:
    role = _said(element, "role")
    if role not in _ROLES:
        malformed("a scheme is a list or a voucher", element)
    return Scheme(
        territory=_said(element, "territory"),
        signers=_certificates(element),
        role=cast("Role", role),
        location=element.get("location", ""),
        rules=tuple(_read_rules(element)),
    )


def _read_bridge(element: etree._Element) -> Bridge:
    found = _certificates(element)
    if len(found) != 1:
        malformed("a bridge is one certificate", element)
    policies = element.iterchildren(f"{_L}Policy")
    return Bridge(found[0], tuple((_said(each, "oid"), _said(each, "level")) for each in policies))


def _read_rules(element: etree._Element) -> Iterator[Equivalence]:
    for each in element.iterchildren(f"{_L}Equivalence"):
        state = _said(each, "state")
        if state not in ("enacted", "repealed"):
            malformed("neither enacted nor repealed", each)
        yield Equivalence(
            identifier=_said(each, "identifier"),
            kinds=frozenset(
                ServiceKind(_said(kind, "type"), kind.get("additional", ""))
                for kind in each.iterchildren(f"{_L}Kind")
            ),
            statuses=_values(each, "Status"),
            levels=_values(each, "Level"),
            since=_moment(each, "since"),
            until=None if each.get("until") is None else _moment(each, "until"),
            enacted=state == "enacted",
        )
