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
    """The certificate whose key signed a list, and the end of its authorization to sign lists."""

    signer: Certificate
    authorized_until: datetime


@dataclass(frozen=True, slots=True)
class EarlierList:
    """A list that proves no status any more, its signer, and whether it has the certificate only on hold."""

    crl: RevocationList
    signer: Certificate
    is_on_hold: bool


@dataclass(frozen=True, slots=True)
class ProvenList:
    """A list that proves the revocation status until `proof_until` for the `reasons`, and its signer."""

    crl: RevocationList
    signer: Certificate
    proof_until: datetime
    reasons: frozenset[x509.ReasonFlags]

    def is_delta_of(self, complete: ProvenList) -> bool:
        """Return whether this list contains changes to `complete`, by the same signer."""
        return self.signer == complete.signer and self.crl.is_delta_of(complete.crl)

    def is_outdated_by(self, complete: ProvenList) -> bool:
        """Return whether `complete`, by the same signer, already contains the changes in this list."""
        return self.signer == complete.signer and self.crl.is_outdated_by(complete.crl)


def is_repeated_by_later_lists(proven_list: ProvenList, other_lists: Sequence[ProvenList]) -> bool:
    """Return whether later complete lists by the same signer are about everything that a list is about.

    `other_lists` are sorted, the newest first. A list that can only revoke has no reasons.
    """
    reasons_left = proven_list.reasons or ALL_REASONS
    for each in other_lists:
        if not reasons_left or each.crl.this_update < proven_list.crl.this_update:
            break
        if (
            each.crl.base_number is None
            and each.signer == proven_list.signer
            and _is_later_list(each.crl, proven_list.crl)
        ):
            reasons_left -= each.reasons
    return not reasons_left


def may_withdraw_revocation(
    proven_list: ProvenList, issuer: Certificate, issuer_key: str, earlier_list: EarlierList | None
) -> bool:
    """Return whether a list may withdraw a revocation that an earlier list, or a response, stated.

    `issuer` is the issuer of the certificate in question, `issuer_key` the normal form of its name. The
    list of another key of that name may be about the certificates of that key alone.
    """
    if proven_list.signer == issuer:
        return True
    if earlier_list is not None:
        return have_same_key(proven_list.signer, earlier_list.signer)
    # The certificate itself names another issuer of its lists.
    return proven_list.crl.issuer_key != issuer_key


def have_same_key(first: Certificate, second: Certificate) -> bool:
    """Return whether two certificates of signers are about one key: the second one may be a renewal."""
    return first == second or (first.public_key is not None and first.public_key == second.public_key)


def repeats_earlier_statement(
    crl: RevocationList, response_time: datetime, earlier_list: RevocationList | None
) -> bool:
    """Return whether a list repeats the statements of an earlier list, or of a response of `response_time`.

    A later complete list does, and a later list of the same changes.
    """
    if earlier_list is None:
        return crl.base_number is None and crl.this_update >= response_time
    if crl.base_number is not None and (
        crl.scope != earlier_list.scope
        or earlier_list.base_number is None
        or crl.base_number > earlier_list.base_number
    ):
        return False
    return _is_later_list(crl, earlier_list)


def _is_later_list(crl: RevocationList, earlier_list: RevocationList) -> bool:
    """Return whether a list by the same signer is later than another one.

    Of two lists of one scope and second that is the one with the higher number (RFC 5280 §5.2.3), and a
    complete list contains the changes of its number. Numbers of different scopes cannot be compared.
    """
    if crl.this_update != earlier_list.this_update or crl.scope != earlier_list.scope:
        return crl.this_update > earlier_list.this_update
    number, earlier_number = crl.number or 0, earlier_list.number or 0
    contains_changes = crl.base_number is None and earlier_list.base_number is not None
    return number > earlier_number or (number == earlier_number and contains_changes)


def may_have_signed(certificate: Certificate, crl: RevocationList) -> bool:
    """Return whether this key may sign lists and matches the key identifier of the list, if both have one."""
    expected_key_id, key_id = crl.authority_key_identifier, certificate.subject_key_identifier
    has_matching_key_id = expected_key_id is None or key_id is None or expected_key_id == key_id
    return has_matching_key_id and (certificate.key_usage is None or "cRLSign" in certificate.key_usage)
