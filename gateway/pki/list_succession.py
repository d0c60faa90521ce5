"""Decides which revocation lists a newly loaded one replaces: those that it repeats, and no others.

An authority may issue several lists under one name: by each of its keys, for parts of its certificates
(RFC 5280 §5.2.5), and lists of changes (§5.2.4). Each of them stays in force until a later list by the same
key repeats it. That key must verify the signature of the list; the key identifier in a list is no proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NoReturn

from gateway.errors import REVOCATION_UNKNOWN, GatewayError
from gateway.pki.certificates import Certificate, normalize_name
from gateway.pki.list_proofs import may_have_signed
from gateway.pki.revocation_data import RevocationList


@dataclass(frozen=True, slots=True)
class ListOrigin:
    """The location of a list in force as a part of a sentence, and the `remedy` that puts it out of force."""

    description: str
    remedy: str


#: The place of lists that operators loaded.
_REGISTER_ORIGIN: Final = ListOrigin("", "withdraw that one")


@dataclass(frozen=True, slots=True)
class ListSuccession:
    """The known authorities by whose keys lists are compared, the time, and the greatest age of a list."""

    authorities: tuple[Certificate, ...]
    at: datetime
    max_age: timedelta | None = None
    _by_name: dict[str, list[Certificate]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the authorities by the normal form of their names."""
        by_name: dict[str, list[Certificate]] = {}
        for each in self.authorities:
            by_name.setdefault(normalize_name(each.subject_der), []).append(each)
        object.__setattr__(self, "_by_name", by_name)

    def check_list(self, crl: RevocationList) -> None:
        """Raise GW208 for a list that is no proof: not understood, not in force, or of no known key."""
        fault = crl.unusable_reason or crl.find_number_fault()
        if fault:
            _raise_refusal(crl, fault)
        if not crl.has_begun(self.at):
            _raise_refusal(crl, f"it begins at {crl.this_update.isoformat()}, which is in the future")
        expires_at = crl.compute_expiry(self.max_age)
        if self.at > expires_at:
            _raise_refusal(crl, f"it ended at {expires_at.isoformat()}")
        signers = [*self._iterate_signers(crl)]
        if not signers:
            reason = "it is signed by no authority that is known here (pki.anchors, pki.intermediates)"
            _raise_refusal(crl, reason)
        if not any(each.not_before <= self.at <= each.not_after for each in signers):
            _raise_refusal(crl, "the certificate of the authority that signed it is not valid now")

    def check_order(
        self,
        crl: RevocationList,
        other_lists: Iterable[RevocationList],
        origin: ListOrigin = _REGISTER_ORIGIN,
    ) -> None:
        """Raise GW208 for a list whose number and date contradict another list of its kind.

        An issuer that divides its lists numbers each part separately (RFC 5280 §5.2.3). Of `other_lists`,
        lists that are no proof now are not compared. The refusal names the `origin` of the others.
        """
        for each in other_lists:
            if each.unusable_reason or each.find_number_fault() or not each.has_begun(self.at):
                continue
            is_same_kind = crl.scope == each.scope and (crl.base_number is None) == (each.base_number is None)
            if not is_same_kind or not self._is_by_same_key(crl, each):
                continue
            in_force_text = f"is in force {origin.description}".rstrip()
            remedy_text = f"if the authority stands by the new one, {origin.remedy} first"
            number, other_number = crl.number or 0, each.number or 0
            is_newer, is_older = crl.this_update > each.this_update, crl.this_update < each.this_update
            if (is_newer and number < other_number) or (is_older and number > other_number):
                reason = (
                    f"number {number} of {crl.this_update.isoformat()}, but number {other_number} "
                    f"of {each.this_update.isoformat()} {in_force_text}"
                )
                _raise_refusal(crl, f"{reason}: {remedy_text}")
            if crl.contradicts(each):
                edition_text = f"number {number} of {crl.this_update.isoformat()}"
                _raise_refusal(crl, f"{edition_text} {in_force_text} with other entries: {remedy_text}")

    def repeats_list(self, crl: RevocationList, earlier_list: RevocationList) -> bool:
        """Return whether a list repeats each statement of `earlier_list`, or has withdrawn it."""
        if crl.unusable_reason or crl.find_number_fault() or not crl.has_begun(self.at):
            return False
        if crl.this_update < earlier_list.this_update:
            return False
        if crl.base_number is not None:
            is_later = earlier_list.base_number is not None and crl.base_number <= earlier_list.base_number
            is_later = (
                is_later and crl.scope == earlier_list.scope and _has_number_not_below(crl, earlier_list)
            )
        elif crl.scope == earlier_list.scope:
            is_later = _has_number_not_below(crl, earlier_list)
        else:
            # A later list for everything repeats the parts, which are numbered apart. An indirect part may
            # have certificates of other issuers.
            is_later = (
                crl.scope is None
                and not earlier_list.is_indirect
                and crl.this_update > earlier_list.this_update
            )
        return is_later and self._is_by_same_key(crl, earlier_list)

    def _is_by_same_key(self, crl: RevocationList, earlier_list: RevocationList) -> bool:
        """Return whether both lists have one issuer name, and signers with the same public key."""
        if crl.issuer_key != earlier_list.issuer_key:
            return False
        signer, earlier_signer = (
            next(self._iterate_signers(crl), None),
            next(self._iterate_signers(earlier_list), None),
        )
        return (
            signer is not None
            and earlier_signer is not None
            and (signer.public_key == earlier_signer.public_key)
        )

    def _iterate_signers(self, crl: RevocationList) -> Iterator[Certificate]:
        """Yield the certificates of the key that signed a list, as it can be read from them and the list."""
        for each in self._by_name.get(crl.issuer_key, ()):
            if may_have_signed(each, crl) and crl.is_signed_by(each):
                yield each


def _has_number_not_below(crl: RevocationList, earlier_list: RevocationList) -> bool:
    return crl.number is not None and crl.number >= (earlier_list.number or 0)


def _raise_refusal(crl: RevocationList, reason: str) -> NoReturn:
    raise GatewayError(REVOCATION_UNKNOWN, f"list of {crl.issuer[:120]}: {reason}"[:600], "revocation list")
