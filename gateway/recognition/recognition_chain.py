"""Determines which lists are in force at a time, and the agreements that lead from each of them to us."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.errors import CERTIFICATE_UNTRUSTED, SIGNER_MISMATCH, GatewayError, raise_resource_problem
from gateway.pki import (
    Certificate,
    CertificateUse,
    Examine,
    RevocationData,
    Signer,
    TrustStore,
    Verdict,
    validate_octets,
)
from gateway.recognition.etsi_trusted_list import is_etsi_list, open_etsi_list
from gateway.recognition.own_trusted_list import open_own_list
from gateway.recognition.trusted_list import (
    Rules,
    SchemePointer,
    TrustedList,
    check_list_freshness,
    get_element,
    is_fresh_list,
    make_visible,
    raise_malformed,
    read_instant,
)
from gateway.wire import (
    DEFAULT_LIMITS,
    WireLimits,
    decode_base64_octets,
    format_instant,
    parse_xml,
    serialize_element,
)
from gateway.xmlsec import sign_document, verify_document


@dataclass(frozen=True, slots=True)
class RecognitionContext:
    """All data of recognition: our own trust store, the root list, and lists of other parties.

    ``root`` is usually our own signed list; only that form names bridges and vouchers. A list
    that is not fresh at the time of validation is ignored. ``examine`` validates under other
    anchors: in this process, or in one that can be killed.
    """

    trust: TrustStore
    root: TrustedList | None = None
    others: tuple[TrustedList, ...] = ()
    revocations: RevocationData | None = None
    examine: Examine = field(default=validate_octets, repr=False)

    def validate_certificate(
        self, certificate: Certificate, at: datetime, use: CertificateUse, store: TrustStore
    ) -> Verdict:
        """Validate a certificate with `examine`, under other anchors than those of ``trust``."""
        return self.examine(certificate.der, use, at, store, self.revocations or RevocationData())

    def list_pointing_lists(self, at: datetime) -> tuple[TrustedList, ...]:
        """Return the lists in force at a time that may name further lists."""
        return tuple(
            trusted_list
            for trusted_list, _ in self.list_current_lists(at)
            if self._may_name_lists(trusted_list)
        )

    def _may_name_lists(self, trusted_list: TrustedList) -> bool:
        # Lists of our own form from other parties have their own levels, so their pointers are not followed.
        return trusted_list.list_format != "own" or trusted_list is self.root

    def list_current_lists(self, at: datetime) -> Iterator[tuple[TrustedList, tuple[Rules, ...]]]:
        """Yield the lists in force at a time, each with the chain of rules that leads to us.

        A list of another party counts only if a list in force names its signer for its
        territory. Only the latest list of a territory counts: an older one contains services
        that were withdrawn since.
        """
        if self.root is None or not is_fresh_list(self.root, at):
            return
        waiting = deque([(self.root, _wrap_rules(self.root.rules))])
        unseen = list(self.others)
        while waiting:
            pointer, chain = waiting.popleft()
            yield pointer, chain
            if not self._may_name_lists(pointer):
                continue
            for each in _find_named_lists(pointer, unseen):
                unseen = [candidate for candidate in unseen if candidate.territory != each.territory]
                scheme = pointer.find_scheme(each.territory, "list")
                if scheme is not None and is_fresh_list(each, at):
                    waiting.append((each, _extend_rule_chain(pointer, scheme, chain)))


def open_trusted_list(
    data: bytes, signers: Collection[Certificate], *, limits: WireLimits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list of either form that one of the expected certificates signed."""
    opened = open_etsi_list if is_etsi_list(parse_xml(data, limits)) else open_own_list
    return opened(data, signers, limits=limits)


def open_named_list(
    data: bytes,
    pointers: Collection[TrustedList],
    own_signers: Collection[Certificate] = (),
    *,
    limits: WireLimits = DEFAULT_LIMITS,
) -> tuple[TrustedList, TrustedList | None]:
    """Read a list whose signer another list names for the same territory, or is one of ``own_signers``.

    Returns the list, and the list that names its signer; None for a signer in ``own_signers``.
    Raises GW205 for any other signer.
    """
    named_signers = {
        signer
        for each in pointers
        for scheme in each.schemes
        if scheme.role == "list"
        for signer in scheme.signers
    }
    opened = open_trusted_list(data, named_signers | set(own_signers), limits=limits)
    if opened.signer in own_signers:
        return opened, None
    for pointer in pointers:
        if _find_named_lists(pointer, [opened]):
            return opened, pointer
    detail = f"{opened.signer.subject[:120]} is not named for the list of '{opened.territory[:20]}'"
    raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")


def reaches_anchor(certificate: Certificate, store: TrustStore) -> bool:
    """Return whether any chain leads from a certificate to an anchor of a store.

    This is a cheap test without validation.
    """
    policy = store.policy
    try:
        return any(True for _ in store.index.find_chains(certificate, policy.path_most, 1))
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        return False


def gather_lists(
    root: TrustedList, files: Mapping[str, bytes], at: datetime, *, limits: WireLimits = DEFAULT_LIMITS
) -> tuple[tuple[TrustedList, ...], dict[str, GatewayError]]:
    """Open the lists whose signers the root, or a list opened before, names for their territory.

    Returns the lists, and for each other file the reason.
    """
    lists: list[TrustedList] = []
    refused: dict[str, GatewayError] = {}
    waiting, pointers = dict(files), [root]
    while pointers:
        pointer = pointers.pop()
        for name, data in list(waiting.items()):
            try:
                opened, _ = open_named_list(data, [pointer], limits=limits)
                check_list_freshness(opened, at)
            except GatewayError as refusal:
                # a refusal because another list does not name the signer is the least specific one
                if refused.get(name, refusal).problem is CERTIFICATE_UNTRUSTED or name not in refused:
                    refused[name] = refusal
                continue
            del waiting[name]
            refused.pop(name, None)
            lists.append(opened)
            if opened.schemes:
                pointers.append(opened)
    return tuple(lists), refused


def _find_named_lists(pointer: TrustedList, lists: list[TrustedList]) -> list[TrustedList]:
    """Return the latest list of each territory whose signer `pointer` names."""
    latest: dict[str, TrustedList] = {}
    for each in lists:
        scheme = pointer.find_scheme(each.territory, "list")
        if scheme is None or each.signer not in scheme.signers:
            continue
        latest_list = latest.get(each.territory)
        if latest_list is None or latest_list.sequence < each.sequence:
            latest[each.territory] = each
    return list(latest.values())


def _extend_rule_chain(
    pointer: TrustedList, scheme: SchemePointer, chain: tuple[Rules, ...]
) -> tuple[Rules, ...]:
    """Return the rules for a list that another one names; those of our own list give our levels directly."""
    if pointer.list_format == "own":
        return _wrap_rules(scheme.rules or ())
    return chain if scheme.rules is None else (scheme.rules, *chain)


def _wrap_rules(rules: Rules) -> tuple[Rules, ...]:
    return (rules,)


_EVER: Final = datetime.max.replace(tzinfo=UTC)


_SHORTEST: Final = timedelta(microseconds=1)


def compute_unchanged_until(recognition: RecognitionContext, at: datetime) -> datetime:
    """Return the last instant before a list ends, or a status or a rule begins or ends."""
    moments = (
        moment
        for trusted_list, chain in recognition.list_current_lists(at)
        for moment in _iterate_change_times(trusted_list, chain)
    )
    return min((moment for moment in moments if moment > at), default=_EVER) - _SHORTEST


def _iterate_change_times(trusted_list: TrustedList, chain: tuple[Rules, ...]) -> Iterator[datetime]:
    if trusted_list.next_update is not None:
        yield trusted_list.next_update
    for service in trusted_list.services:
        yield from (each.since for each in service.status_history)
    for rules in chain:
        for rule in rules:
            yield rule.since
            if rule.until is not None:
                yield rule.until


VOUCHED_DOCUMENT: Final = "urn:single-window:vouched:1"
# The stubs of lxml do not support the default namespace.
_NSMAP: Final[Any] = {None: VOUCHED_DOCUMENT}
_V: Final = f"{{{VOUCHED_DOCUMENT}}}"
_ROOT: Final = f"{_V}Vouched"


@dataclass(frozen=True, slots=True)
class VouchedDocument:
    """A document with two valid signatures: of the party, and of the gateway that vouches for it.

    ``levels`` are terms of the gateway's own country; ``judged`` is the time when it
    validated the signer.
    """

    document: bytes
    signer: Certificate
    voucher: Certificate
    territory: str
    levels: frozenset[str]
    judged: datetime


def vouch_for_document(
    document: bytes, levels: Iterable[str], territory: str, signer: Signer, *, now: datetime
) -> bytes:
    """Add a gateway's signature to a validly signed document; the caller has validated its signer."""
    inner = verify_document(parse_xml(document)).certificate
    root = etree.Element(_ROOT, nsmap=_NSMAP)
    root.set("version", "1")
    root.set("territory", territory)
    root.set("judged", format_instant(now, "seconds"))
    signer_element = etree.SubElement(root, f"{_V}Signer", sha256=inner.sha256)
    signer_element.text = inner.subject
    for level in sorted(set(levels)):
        etree.SubElement(root, f"{_V}Level", value=level)
    carried = etree.SubElement(root, f"{_V}Document", sha256=hashlib.sha256(document).hexdigest())
    carried.text = base64.b64encode(document).decode("ascii")
    return serialize_element(sign_document(root, signer, now=now))


def is_vouched_document(root: etree._Element) -> bool:
    """Return whether a document is a vouched document."""
    return root.tag == _ROOT


def open_vouched_document(data: bytes, *, limits: WireLimits = DEFAULT_LIMITS) -> VouchedDocument:
    """Verify both signatures, the outer one first; the authority of the gateway is checked elsewhere.

    Raises GW201 to GW204 for a signature, GW209 where the gateway vouches for
    another signer than that of the document.
    """
    root = parse_xml(data, limits)
    outer = verify_document(root)
    if not is_vouched_document(root) or root.get("version") != "1":
        raise_malformed(root, "not a document that was vouched for, version 1")
    judged = read_instant(root.get("judged"), root)
    document = _extract_document(root)
    inner = verify_document(parse_xml(document, limits)).certificate
    if get_element(root, f"{_V}Signer").get("sha256") != inner.sha256:
        raise GatewayError(SIGNER_MISMATCH, "vouched for another signer than the document's", "Signer")
    if inner == outer.certificate:
        raise GatewayError(SIGNER_MISMATCH, "a party cannot vouch for itself", "Signer")
    if not inner.not_before <= judged <= inner.not_after:
        detail = f"the certificate of {inner.subject[:120]} was not valid when it was judged"
        raise GatewayError(SIGNER_MISMATCH, detail, "Signer")
    return VouchedDocument(
        document=document,
        signer=inner,
        voucher=outer.certificate,
        territory=make_visible(root.get("territory", "")),
        levels=frozenset(each.get("value", "") for each in root.iterchildren(f"{_V}Level")),
        judged=judged,
    )


def _extract_document(root: etree._Element) -> bytes:
    carried = get_element(root, f"{_V}Document")
    document = decode_base64_octets((carried.text or "").encode())
    if document is None:
        raise_malformed(carried, "not base64 in its canonical spelling")
    if hashlib.sha256(document).hexdigest() != carried.get("sha256"):
        raise_malformed(carried, "the document has another digest than is said")
    return document
