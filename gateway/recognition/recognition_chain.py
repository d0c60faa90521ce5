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
    EquivalenceRules,
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
        """Validate a certificate by the anchors in `store`, with the function `self.examine`."""
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

    def list_current_lists(self, at: datetime) -> Iterator[tuple[TrustedList, tuple[EquivalenceRules, ...]]]:
        """Yield the lists in force at a time, each with the chain of rules that leads to us.

        A list of another party counts only if a list in force names its signer for its
        territory. Only the latest list of a territory counts: an older one contains services
        that were withdrawn since.
        """
        if self.root is None or not is_fresh_list(self.root, at):
            return
        unvisited_lists = deque([(self.root, _wrap_rules(self.root.rules))])
        candidate_lists = list(self.others)
        while unvisited_lists:
            pointing_list, rule_chain = unvisited_lists.popleft()
            yield pointing_list, rule_chain
            if not self._may_name_lists(pointing_list):
                continue
            for named_list in _find_named_lists(pointing_list, candidate_lists):
                candidate_lists = [
                    candidate for candidate in candidate_lists if candidate.territory != named_list.territory
                ]
                scheme = pointing_list.find_scheme(named_list.territory, "list")
                if scheme is not None and is_fresh_list(named_list, at):
                    unvisited_lists.append(
                        (named_list, _extend_rule_chain(pointing_list, scheme, rule_chain))
                    )


def open_trusted_list(
    list_octets: bytes, expected_signers: Collection[Certificate], *, limits: WireLimits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list of either form that one of the expected certificates signed."""
    open_list = open_etsi_list if is_etsi_list(parse_xml(list_octets, limits)) else open_own_list
    return open_list(list_octets, expected_signers, limits=limits)


def open_named_list(
    list_octets: bytes,
    pointing_lists: Collection[TrustedList],
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
        for each in pointing_lists
        for scheme in each.schemes
        if scheme.role == "list"
        for signer in scheme.signers
    }
    opened_list = open_trusted_list(list_octets, named_signers | set(own_signers), limits=limits)
    if opened_list.signer in own_signers:
        return opened_list, None
    for pointing_list in pointing_lists:
        if _find_named_lists(pointing_list, [opened_list]):
            return opened_list, pointing_list
    detail = f"{opened_list.signer.subject[:120]} is not named for the list of '{opened_list.territory[:20]}'"
    raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")


def reaches_anchor(certificate: Certificate, trust_store: TrustStore) -> bool:
    """Return whether any chain leads from a certificate to an anchor of a store.

    This is a cheap test without validation.
    """
    path_policy = trust_store.policy
    try:
        return any(True for _ in trust_store.index.find_chains(certificate, path_policy.path_most, 1))
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        return False


def open_named_lists(
    root_list: TrustedList,
    octets_by_name: Mapping[str, bytes],
    at: datetime,
    *,
    limits: WireLimits = DEFAULT_LIMITS,
) -> tuple[tuple[TrustedList, ...], dict[str, GatewayError]]:
    """Open the lists whose signers the root, or a list opened before, names for their territory.

    `octets_by_name` has the octets of the lists by file name. Returns the lists, and the error of each
    refused file.
    """
    opened_lists: list[TrustedList] = []
    refusal_by_name: dict[str, GatewayError] = {}
    unopened_files, pointing_lists = dict(octets_by_name), [root_list]
    while pointing_lists:
        pointing_list = pointing_lists.pop()
        for file_name, list_octets in list(unopened_files.items()):
            try:
                opened_list, _ = open_named_list(list_octets, [pointing_list], limits=limits)
                check_list_freshness(opened_list, at)
            except GatewayError as refusal:
                # Any other refusal says more than that another list does not name the signer.
                if (
                    refusal_by_name.get(file_name, refusal).problem is CERTIFICATE_UNTRUSTED
                    or file_name not in refusal_by_name
                ):
                    refusal_by_name[file_name] = refusal
                continue
            del unopened_files[file_name]
            refusal_by_name.pop(file_name, None)
            opened_lists.append(opened_list)
            if opened_list.schemes:
                pointing_lists.append(opened_list)
    return tuple(opened_lists), refusal_by_name


def _find_named_lists(pointing_list: TrustedList, lists: list[TrustedList]) -> list[TrustedList]:
    """Return the latest list of each territory whose signer `pointing_list` names."""
    latest_by_territory: dict[str, TrustedList] = {}
    for candidate in lists:
        scheme = pointing_list.find_scheme(candidate.territory, "list")
        if scheme is None or candidate.signer not in scheme.signers:
            continue
        latest_list = latest_by_territory.get(candidate.territory)
        if latest_list is None or latest_list.sequence < candidate.sequence:
            latest_by_territory[candidate.territory] = candidate
    return list(latest_by_territory.values())


def _extend_rule_chain(
    pointing_list: TrustedList, scheme: SchemePointer, rule_chain: tuple[EquivalenceRules, ...]
) -> tuple[EquivalenceRules, ...]:
    """Return the rules for a list that another one names; those of our own list give our levels directly."""
    if pointing_list.list_format == "own":
        return _wrap_rules(scheme.rules or ())
    return rule_chain if scheme.rules is None else (scheme.rules, *rule_chain)


def _wrap_rules(rules: EquivalenceRules) -> tuple[EquivalenceRules, ...]:
    return (rules,)


_LATEST_TIME: Final = datetime.max.replace(tzinfo=UTC)
#: The smallest difference of two times.
_TIME_STEP: Final = timedelta(microseconds=1)


def compute_unchanged_until(recognition: RecognitionContext, at: datetime) -> datetime:
    """Return the last instant before a list ends, or a status or a rule begins or ends."""
    change_times = (
        change_time
        for trusted_list, rule_chain in recognition.list_current_lists(at)
        for change_time in _iterate_change_times(trusted_list, rule_chain)
    )
    return (
        min((change_time for change_time in change_times if change_time > at), default=_LATEST_TIME)
        - _TIME_STEP
    )


def _iterate_change_times(
    trusted_list: TrustedList, rule_chain: tuple[EquivalenceRules, ...]
) -> Iterator[datetime]:
    """Yield the times at which the recognition by `trusted_list` and the rules may change, in no order."""
    if trusted_list.next_update is not None:
        yield trusted_list.next_update
    for service in trusted_list.services:
        yield from (each.since for each in service.status_history)
    for rules in rule_chain:
        for rule in rules:
            yield rule.since
            if rule.until is not None:
                yield rule.until


VOUCHED_DOCUMENT: Final = "urn:single-window:vouched:1"
# The stubs of lxml do not support the default namespace.
_NSMAP: Final[Any] = {None: VOUCHED_DOCUMENT}
_VOUCHED: Final = f"{{{VOUCHED_DOCUMENT}}}"
_ROOT: Final = f"{_VOUCHED}Vouched"


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
    document_signer = verify_document(parse_xml(document)).certificate
    root = etree.Element(_ROOT, nsmap=_NSMAP)
    root.set("version", "1")
    root.set("territory", territory)
    root.set("judged", format_instant(now, "seconds"))
    signer_element = etree.SubElement(root, f"{_VOUCHED}Signer", sha256=document_signer.sha256)
    signer_element.text = document_signer.subject
    for level in sorted(set(levels)):
        etree.SubElement(root, f"{_VOUCHED}Level", value=level)
    document_element = etree.SubElement(
        root, f"{_VOUCHED}Document", sha256=hashlib.sha256(document).hexdigest()
    )
    document_element.text = base64.b64encode(document).decode("ascii")
    return serialize_element(sign_document(root, signer, now=now))


def is_vouched_document(root: etree._Element) -> bool:
    """Return whether a document is a vouched document."""
    return root.tag == _ROOT


def open_vouched_document(vouched_octets: bytes, *, limits: WireLimits = DEFAULT_LIMITS) -> VouchedDocument:
    """Verify both signatures, the outer one first; the authority of the gateway is checked elsewhere.

    Raises GW201 to GW204 for a signature, GW209 where the gateway vouches for
    another signer than that of the document.
    """
    root = parse_xml(vouched_octets, limits)
    voucher_signature = verify_document(root)
    if not is_vouched_document(root) or root.get("version") != "1":
        raise_malformed(root, "not a document that was vouched for, version 1")
    validated_at = read_instant(root.get("judged"), root)
    document = _extract_document(root)
    document_signer = verify_document(parse_xml(document, limits)).certificate
    if get_element(root, f"{_VOUCHED}Signer").get("sha256") != document_signer.sha256:
        raise GatewayError(SIGNER_MISMATCH, "vouched for another signer than the document's", "Signer")
    if document_signer == voucher_signature.certificate:
        raise GatewayError(SIGNER_MISMATCH, "a party cannot vouch for itself", "Signer")
    if not document_signer.not_before <= validated_at <= document_signer.not_after:
        detail = f"the certificate of {document_signer.subject[:120]} was not valid when it was judged"
        raise GatewayError(SIGNER_MISMATCH, detail, "Signer")
    return VouchedDocument(
        document=document,
        signer=document_signer,
        voucher=voucher_signature.certificate,
        territory=make_visible(root.get("territory", "")),
        levels=frozenset(each.get("value", "") for each in root.iterchildren(f"{_VOUCHED}Level")),
        judged=validated_at,
    )


def _extract_document(root: etree._Element) -> bytes:
    """Return the document of a vouched document; raise unless it has the stated SHA-256 digest."""
    document_element = get_element(root, f"{_VOUCHED}Document")
    document = decode_base64_octets((document_element.text or "").encode())
    if document is None:
        raise_malformed(document_element, "not base64 in its canonical spelling")
    if hashlib.sha256(document).hexdigest() != document_element.get("sha256"):
        raise_malformed(document_element, "the document has another digest than the statement says")
    return document
