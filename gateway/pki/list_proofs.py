"""A revocation list as proof: who signed it, which lists it repeats, which revocations it may withdraw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from gateway.pki.certificates import Certificate
from gateway.pki.revocation_data import ALL_REASONS, RevocationList


@dataclass(frozen=True, slots=True)
class ListSignature:
    """The certificate whose key signed a list, and until when it is authorized."""

    signer: Certificate
    until: datetime


@dataclass(frozen=True, slots=True)
class EarlierList:
    """A list that is no proof any more, its signer, and whether it has the certificate only on hold."""

    crl: RevocationList
    signer: Certificate
    on_hold: bool


@dataclass(frozen=True, slots=True)
class ProvenList:
    """A list that is proof until `ends` for some reasons, and its signer."""

    crl: RevocationList
    signer: Certificate
    ends: datetime
    reasons: frozenset[x509.ReasonFlags]

    def is_delta_of(self, complete: ProvenList) -> bool:
        """Return whether this list contains changes to `complete`, by the same signer."""
        return self.signer == complete.signer and self.crl.is_delta_of(complete.crl)

    def is_outdated_by(self, complete: ProvenList) -> bool:
        """Return whether `complete`, by the same signer, already contains the changes in this list."""
        return self.signer == complete.signer and self.crl.is_outdated_by(complete.crl)


def is_repeated(proven: ProvenList, others: Sequence[ProvenList]) -> bool:
    """Return whether later complete lists by the same signer are about everything that a list is about.

    `others` are sorted, the newest first. A list that can only revoke has no reasons.
    """
    reasons_left = proven.reasons or ALL_REASONS
    for each in others:
        if not reasons_left or each.crl.this_update < proven.crl.this_update:
            break
        if each.crl.base is None and each.signer == proven.signer and _is_later(each.crl, proven.crl):
            reasons_left -= each.reasons
    return not reasons_left


def may_take_back(
    proven: ProvenList, issuer: Certificate, issuer_key: str, earlier: EarlierList | None
) -> bool:
    """Return whether a list may withdraw a revocation that an earlier list, or a response, stated.

    `issuer` is the issuer of the certificate in question, `issuer_key` the normal form of its name. The
    list of another key of that name may be about the certificates of that key alone.
    """
    if proven.signer == issuer:
        return True
    if earlier is not None:
        return have_same_key(proven.signer, earlier.signer)
    # The certificate itself names another issuer of its lists.
    return proven.crl.issuer_key != issuer_key


def have_same_key(first: Certificate, second: Certificate) -> bool:
    """Return whether two certificates of signers are about one key: the second one may be a renewal."""
    return first == second or (first.public_key is not None and first.public_key == second.public_key)


def is_later_statement(crl: RevocationList, since: datetime, earlier: RevocationList | None) -> bool:
    """Return whether a list repeats the statements of an earlier list, or of a response of the time `since`.

    A later complete list does, and a later list of the same changes.
    """
    if earlier is None:
        return crl.base is None and crl.this_update >= since
    if crl.base is not None and (
        crl.scope != earlier.scope or earlier.base is None or crl.base > earlier.base
    ):
        return False
    return _is_later(crl, earlier)


def _is_later(crl: RevocationList, earlier: RevocationList) -> bool:
    """Return whether a list by the same signer is later than another one.

    Of two lists of one scope and second that is the one with the higher number (RFC 5280 §5.2.3), and a
    complete list contains the changes of its number. Numbers of different scopes cannot be compared.
    """
    if crl.this_update != earlier.this_update or crl.scope != earlier.scope:
        return crl.this_update > earlier.this_update
    number, earlier_number = crl.number or 0, earlier.number or 0
    contains_changes = crl.base is None and earlier.base is not None
    return number > earlier_number or (number == earlier_number and contains_changes)


def may_have_signed(certificate: Certificate, crl: RevocationList) -> bool:
    """Return whether this key may sign lists and matches the key identifier of the list, if both have one."""
    expected_key_id, key_id = crl.authority_key, certificate.subject_key_identifier
    fits = expected_key_id is None or key_id is None or expected_key_id == key_id
    return fits and (certificate.key_usage is None or "cRLSign" in certificate.key_usage)
