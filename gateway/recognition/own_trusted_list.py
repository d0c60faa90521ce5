"""Our own signed list: which services we admit and their levels, for other parties or for ourselves.

The list is one XML document, signed like a Result (XAdES-B over all of it). Times are in UTC,
certificates in base64; the manual describes every element.
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
from gateway.pki import Certificate, Signer
from gateway.recognition.etsi_trusted_list import check_pinned_signer
from gateway.recognition.trusted_list import (
    CrossCertificateBridge,
    EquivalenceRule,
    Role,
    SchemePointer,
    ServiceKind,
    ServiceStatus,
    TrustedList,
    TrustService,
    make_visible,
    raise_malformed,
    read_certificates_below,
    read_instant,
)
from gateway.wire import DEFAULT_LIMITS, DS, WireLimits, format_instant, parse_xml, serialize_element
from gateway.xmlsec import sign_document, verify_document

TRUST_LIST: Final = "urn:single-window:trust-list:1"
# The stubs of lxml do not support the default namespace.
_NSMAP: Final[Any] = {None: TRUST_LIST}
_TRUST_LIST: Final = f"{{{TRUST_LIST}}}"
_ROOT: Final = f"{_TRUST_LIST}TrustList"
_CERTIFICATE: Final = f"{_TRUST_LIST}Certificate"
_SIGNATURE: Final = f"{{{DS}}}Signature"
_MAX_SEQUENCE_DIGITS: Final = 9
_ALLOWED_NESTINGS: Final = frozenset(
    (parent, f"{_TRUST_LIST}{name}")
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
class TrustedListDraft:
    """The content of a list before it is signed."""

    operator: str
    territory: str
    sequence: int
    next_update: datetime
    services: tuple[TrustService, ...] = ()
    schemes: tuple[SchemePointer, ...] = ()
    bridges: tuple[CrossCertificateBridge, ...] = ()
    rules: tuple[EquivalenceRule, ...] = ()


def sign_trusted_list(draft: TrustedListDraft, signer: Signer, *, now: datetime) -> bytes:
    """Write a list, issued now, and sign it; return its octets."""
    root = etree.Element(_ROOT, nsmap=_NSMAP)
    root.set("version", "1")
    root.set("operator", draft.operator)
    root.set("territory", draft.territory)
    root.set("sequence", str(draft.sequence))
    root.set("issued", format_instant(now, "seconds"))
    root.set("nextUpdate", format_instant(draft.next_update, "seconds"))
    _write_rules(root, draft.rules)
    for service in draft.services:
        _write_service(root, service)
    for scheme in draft.schemes:
        element = _add_element(
            root, "Scheme", territory=scheme.territory, role=scheme.role, location=scheme.location
        )
        _write_certificates(element, scheme.signers)
        _write_rules(element, scheme.rules or ())
    for bridge in draft.bridges:
        element = _add_element(root, "Bridge")
        _write_certificates(element, [bridge.certificate])
        for policy, level in bridge.policies:
            _add_element(element, "Policy", oid=policy, level=level)
    return serialize_element(sign_document(root, signer, now=now))


def is_own_list(root: etree._Element) -> bool:
    """Return whether a document is a list of this form."""
    return root.tag == _ROOT


def open_own_list(
    list_octets: bytes, expected_signers: Collection[Certificate], *, limits: WireLimits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list that one of the expected certificates signed; its freshness is checked elsewhere.

    Raises GW201 to GW204 for the signature, GW205 for an unexpected signer, and
    GW402 for a malformed list.
    """
    root = parse_xml(list_octets, limits)
    verified_signature = verify_document(root)
    check_pinned_signer(verified_signature.certificate, expected_signers)
    if not is_own_list(root) or root.get("version") != "1":
        raise_malformed(root, "not a trusted list of the gateway, version 1")
    _check_elements(root)
    return TrustedList(
        list_format="own",
        operator=_read_text(root, "operator"),
        territory=_read_text(root, "territory"),
        sequence=_read_sequence_number(root),
        issued=_read_instant(root, "issued"),
        next_update=_read_instant(root, "nextUpdate"),
        sha256=hashlib.sha256(list_octets).hexdigest(),
        signer=verified_signature.certificate,
        services=tuple(_read_service(each) for each in root.iterchildren(f"{_TRUST_LIST}Service")),
        schemes=tuple(_read_scheme(each) for each in root.iterchildren(f"{_TRUST_LIST}Scheme")),
        bridges=tuple(_read_bridge(each) for each in root.iterchildren(f"{_TRUST_LIST}Bridge")),
        rules=tuple(_read_rules(root)),
    )


def _check_elements(root: etree._Element) -> None:
    """Raise for an unknown element: an ignored rule could be one that forbids something."""
    for parent in root.iter():
        for child in parent:
            nesting = (etree.QName(parent).localname, child.tag)
            if (
                child.tag != _SIGNATURE
                and parent.tag.startswith(_TRUST_LIST)
                and nesting not in _ALLOWED_NESTINGS
            ):
                raise_malformed(child, "the form has no such element here")


def _add_element(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    """Add an element with these attributes to `parent`; empty attributes are left out."""
    element = etree.SubElement(parent, f"{_TRUST_LIST}{tag}")
    for attribute_name, value in attributes.items():
        if value:
            element.set(attribute_name, value)
    return element


def _write_certificates(parent: etree._Element, certificates: Iterable[Certificate]) -> None:
    for certificate in certificates:
        _add_element(parent, "Certificate").text = base64.b64encode(certificate.der).decode("ascii")


def _write_service(root: etree._Element, service: TrustService) -> None:
    """Add a Service element to `root`, with a Standing element for each status and the certificates."""
    element = _add_element(root, "Service", provider=service.provider, name=service.name)
    for service_status in service.status_history:
        status_element = _add_element(
            element,
            "Standing",
            type=service_status.type,
            status=service_status.status,
            since=format_instant(service_status.since, "seconds"),
        )
        for additional_code in sorted(service_status.additional):
            _add_element(status_element, "Additional", value=additional_code)
    _write_certificates(element, service.certificates)


def _write_rules(parent: etree._Element, rules: Iterable[EquivalenceRule]) -> None:
    """Add an Equivalence element for each rule; raise GW901 for a rule that our form cannot express."""
    for rule in rules:
        if rule.conditions or rule.becomes:
            raise GatewayError(OUR_MISTAKE, f"the form cannot say rule '{rule.identifier[:80]}'")
        element = _add_element(
            parent,
            "Equivalence",
            identifier=rule.identifier,
            since=format_instant(rule.since, "seconds"),
            until="" if rule.until is None else format_instant(rule.until, "seconds"),
            state="enacted" if rule.enacted else "repealed",
        )
        for kind in sorted(rule.kinds, key=lambda one: (one.type, one.additional)):
            _add_element(element, "Kind", type=kind.type, additional=kind.additional)
        for status in sorted(rule.statuses):
            _add_element(element, "Status", value=status)
        for level in sorted(rule.levels):
            _add_element(element, "Level", value=level)


def _read_text(element: etree._Element, attribute_name: str) -> str:
    text = element.get(attribute_name, "")
    if not text:
        raise_malformed(element, f"attribute {attribute_name} is missing")
    return make_visible(text)


def _read_instant(element: etree._Element, attribute_name: str) -> datetime:
    return read_instant(element.get(attribute_name), element)


def _read_sequence_number(root: etree._Element) -> int:
    digits = _read_text(root, "sequence")
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_SEQUENCE_DIGITS:
        raise_malformed(root, "not a sequence number")
    return int(digits)


def _read_values(element: etree._Element, child_name: str) -> frozenset[str]:
    return frozenset(_read_text(each, "value") for each in element.iterchildren(f"{_TRUST_LIST}{child_name}"))


def _read_certificates(element: etree._Element) -> tuple[Certificate, ...]:
    """Return the certificates of an element; raise if one cannot be read or if there is none."""
    certificates, read_errors = read_certificates_below(element, _CERTIFICATE)
    if read_errors or not certificates:
        raise_malformed(element, read_errors[0] if read_errors else "no certificate")
    return certificates


def _read_service(element: etree._Element) -> TrustService:
    """Return the service of a Service element, the latest of its statuses (elements Standing) first."""
    statuses = [
        ServiceStatus(
            _read_text(each, "type"),
            _read_text(each, "status"),
            _read_instant(each, "since"),
            _read_values(each, "Additional"),
        )
        for each in element.iterchildren(f"{_TRUST_LIST}Standing")
    ]
    return TrustService(
        provider=_read_text(element, "provider"),
        name=_read_text(element, "name"),
        certificates=_read_certificates(element),
        status_history=tuple(sorted(statuses, key=lambda each: each.since, reverse=True)),
    )


def _read_scheme(element: etree._Element) -> SchemePointer:
    """Return the pointer to the signers of a foreign list or of vouched documents; raise for another role."""
    role = _read_text(element, "role")
    if role not in _ROLES:
        raise_malformed(element, "a scheme must be a list or a voucher")
    return SchemePointer(
        territory=_read_text(element, "territory"),
        signers=_read_certificates(element),
        role=cast("Role", role),
        location=element.get("location", ""),
        rules=tuple(_read_rules(element)),
    )


def _read_bridge(element: etree._Element) -> CrossCertificateBridge:
    """Return the cross-certificate of a bridge element, with the level of each certificate policy."""
    certificates = _read_certificates(element)
    if len(certificates) != 1:
        raise_malformed(element, "a bridge must be one certificate")
    policies = element.iterchildren(f"{_TRUST_LIST}Policy")
    return CrossCertificateBridge(
        certificates[0], tuple((_read_text(each, "oid"), _read_text(each, "level")) for each in policies)
    )


def _read_rules(element: etree._Element) -> Iterator[EquivalenceRule]:
    """Yield the equivalence rules in `element`; a rule without `until` is in force without end."""
    for rule_element in element.iterchildren(f"{_TRUST_LIST}Equivalence"):
        rule_state = _read_text(rule_element, "state")
        if rule_state not in ("enacted", "repealed"):
            raise_malformed(rule_element, "neither enacted nor repealed")
        yield EquivalenceRule(
            identifier=_read_text(rule_element, "identifier"),
            kinds=frozenset(
                ServiceKind(_read_text(kind, "type"), kind.get("additional", ""))
                for kind in rule_element.iterchildren(f"{_TRUST_LIST}Kind")
            ),
            statuses=_read_values(rule_element, "Status"),
            levels=_read_values(rule_element, "Level"),
            since=_read_instant(rule_element, "since"),
            until=None if rule_element.get("until") is None else _read_instant(rule_element, "until"),
            enacted=rule_state == "enacted",
        )
