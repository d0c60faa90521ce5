"""Determines which lists are in force at a time, and the agreements that lead from each of them to us."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki import (
    Certificate,
    CertificateUse,
    Examine,
    RevocationData,
    TrustStore,
    Verdict,
    validate_octets,
)
from gateway.recognition.etsi_trusted_list import is_etsi_list, open_etsi_list
from gateway.recognition.list_succession import check_list_freshness, is_fresh_list
from gateway.recognition.own_trusted_list import open_own_list
from gateway.recognition.trusted_list import Rules, SchemePointer, TrustedList
from gateway.wire import DEFAULT_LIMITS, WireLimits, parse_xml

__all__ = [
    "RecognitionContext",
    "compute_unchanged_until",
    "gather_lists",
    "open_named_list",
    "open_trusted_list",
    "reaches_anchor",
]


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
        return tuple(found for found, _ in self.list_current_lists(at) if self._may_name_lists(found))

    def _may_name_lists(self, found: TrustedList) -> bool:
        # Lists of our own form from other parties have their own levels, so their pointers are not followed.
        return found.form != "own" or found is self.root

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
                unseen = [one for one in unseen if one.territory != each.territory]
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
    beside: Collection[Certificate] = (),
    *,
    limits: WireLimits = DEFAULT_LIMITS,
) -> tuple[TrustedList, TrustedList | None]:
    """Read a list whose signer another list names for the same territory, or that is in ``beside``.

    Returns the list, and the list that names its signer; None for a signer in ``beside``.
    Raises GW205 for any other signer.
    """
    named = {
        one for each in pointers for scheme in each.schemes if scheme.role == "list" for one in scheme.signers
    }
    opened = open_trusted_list(data, named | set(beside), limits=limits)
    if opened.signer in beside:
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
    except GatewayError:
        return False


def gather_lists(
    root: TrustedList, files: Mapping[str, bytes], at: datetime, *, limits: WireLimits = DEFAULT_LIMITS
) -> tuple[tuple[TrustedList, ...], dict[str, GatewayError]]:
    """Open the lists whose signers the root, or a list opened before, names for their territory.

    Returns the lists, and for each other file the reason.
    """
    found: list[TrustedList] = []
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
            found.append(opened)
            if opened.schemes:
                pointers.append(opened)
    return tuple(found), refused


def _find_named_lists(pointer: TrustedList, lists: list[TrustedList]) -> list[TrustedList]:
    """Return the latest list of each territory whose signer `pointer` names."""
    latest: dict[str, TrustedList] = {}
    for each in lists:
        scheme = pointer.find_scheme(each.territory, "list")
        if scheme is None or each.signer not in scheme.signers:
            continue
        known = latest.get(each.territory)
        if known is None or known.sequence < each.sequence:
            latest[each.territory] = each
    return list(latest.values())


def _extend_rule_chain(
    pointer: TrustedList, scheme: SchemePointer, chain: tuple[Rules, ...]
) -> tuple[Rules, ...]:
    """Return the rules for a list that another one names; those of our own list give our levels directly."""
    if pointer.form == "own":
        return _wrap_rules(scheme.rules or ())
    return chain if scheme.rules is None else (scheme.rules, *chain)


def _wrap_rules(rules: Rules) -> tuple[Rules, ...]:
    return (rules,)


_EVER: Final = datetime.max.replace(tzinfo=UTC)


_SHORTEST: Final = timedelta(microseconds=1)


def compute_unchanged_until(recognition: RecognitionContext, at: datetime) -> datetime:
    """Return the last instant before a list ends, or a status or a rule begins or ends."""
    moments = (
        one
        for found, chain in recognition.list_current_lists(at)
        for one in _iterate_change_times(found, chain)
    )
    return min((one for one in moments if one > at), default=_EVER) - _SHORTEST


def _iterate_change_times(found: TrustedList, chain: tuple[Rules, ...]) -> Iterator[datetime]:
    if found.next_update is not None:
        yield found.next_update
    for service in found.services:
        yield from (each.since for each in service.standings)
    for rules in chain:
        for rule in rules:
            yield rule.since
            if rule.until is not None:
                yield rule.until
