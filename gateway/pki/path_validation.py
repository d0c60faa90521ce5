"""Validates one path by RFC 5280 §6.1, without revocation.

The library that does it (:mod:`gateway.pki.path_library`) is loaded with the first path: most processes
leave their paths to one of their own (:mod:`gateway.pki.certificate_examiner`), and do without its 2 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, cast

from cryptography.hazmat.primitives.asymmetric import dsa

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    REVOCATION_UNKNOWN,
    Problem,
)
from gateway.pki.certificates import PublicKey
from gateway.pki.path_building import ONE_AT_A_TIME, CertificateChain, CertificateIndex

__all__ = [
    "ANY_POLICY",
    "ANY_POLICY_IDENTIFIER",
    "PathFailure",
    "PathInquiry",
    "PolicyInputs",
    "derive_dsa_key",
    "validate_chain",
]

#: The object identifier of anyPolicy (RFC 5280 §4.2.1.4).
ANY_POLICY_IDENTIFIER: Final = "2.5.29.32.0"


@dataclass(frozen=True, slots=True)
class PathFailure:
    """The reason why a path is not valid."""

    problem: Problem
    reason: str
    final: bool = False

    @property
    def status(self) -> Literal["invalid", "indeterminate"]:
        """Return the status of the resulting verdict."""
        return "indeterminate" if self.problem is REVOCATION_UNKNOWN else "invalid"

    @property
    def weight(self) -> int:
        """Return how much this failure counts among those of several paths; a final one counts most."""
        order = (CERTIFICATE_UNTRUSTED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, REVOCATION_UNKNOWN)
        return len(order) if self.final else order.index(self.problem)


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs of RFC 5280 §6.1.1 (c), (e), (f) and (g): which certificate policies are acceptable.

    ``accepted`` contains object identifiers, or that of anyPolicy. ``of_anchor``: the
    policies in the anchor's certificate bind it too (RFC 5937).
    """

    accepted: frozenset[str] = frozenset({ANY_POLICY_IDENTIFIER})
    explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False
    of_anchor: bool = True


ANY_POLICY: Final = PolicyInputs()


@dataclass(frozen=True, slots=True)
class PathInquiry:
    """The time and the rules for the validation of a path."""

    moment: datetime
    weak_digests: frozenset[str]
    policies: PolicyInputs = ANY_POLICY

    @property
    def without_policies(self) -> PathInquiry:
        """Return the inquiry without policy rules: those of the signers of lists do not matter (§6.3.3)."""
        return replace(self, policies=replace(ANY_POLICY, of_anchor=self.policies.of_anchor))


def validate_chain(
    chain: CertificateChain, inquiry: PathInquiry, index: CertificateIndex
) -> PathFailure | None:
    """Return why `chain` is not valid, or None; `gateway.pki.revocation_status` checks revocation."""
    # Imported on use, with the library.
    from gateway.pki.path_library import find_path_failure

    return find_path_failure(chain, inquiry, index)


def derive_dsa_key(chain: CertificateChain, place: int) -> PublicKey | None:
    """Return a DSA key with the parameters of the next key that has some (RFC 3279 §2.3.2), or None."""
    if chain.certificates[place].public_key is not None:
        return None
    above = (each.public_key for each in chain.certificates[place + 1 :])
    lender = next((each for each in above if each is not None), None)
    with ONE_AT_A_TIME:
        info = chain.parsed[place].public_key
        value = info["public_key"].parsed.native if info.algorithm == "dsa" else None
    if value is None or not isinstance(lender, dsa.DSAPublicKey):
        return None
    numbers = dsa.DSAPublicNumbers(value, lender.public_numbers().parameter_numbers)
    return cast("PublicKey", numbers.public_key())
