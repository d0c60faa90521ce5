"""Finds the few paths worth a look, and has each validated by RFC 5280 §6.

Paths are built here and not by the validation library, whose search has no bound; the library
validates one path at a time, apart from revocation.  It is written with coroutines but, given no
fetchers, never waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.asymmetric import dsa
from pyhanko_certvalidator import name_trees
from pyhanko_certvalidator.authority import CertTrustAnchor, derive_quals_from_cert
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import (
    ExpiredError,
    NotYetValidError,
    ValidationError,
)
from pyhanko_certvalidator.ltv.poe import POEManager
from pyhanko_certvalidator.name_trees import default_excluded_subtrees, default_permitted_subtrees
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    CertRevTrustPolicy,
    DisallowWeakAlgorithmsPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.registry import CertificateRegistry, SimpleTrustManager
from pyhanko_certvalidator.revinfo.manager import RevinfoManager
from pyhanko_certvalidator.validate import async_validate_path

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    REVOCATION_UNKNOWN,
    GatewayError,
    Problem,
)
from gateway.pki.certificates import Certificate, PublicKey
from gateway.pki.names import within

__all__ = ["ANY_POLICY", "Chain", "Failure", "Index", "Inquiry", "PolicyRule", "check", "key_along"]

# It tells of odd names at their full length; what matters of that is in the verdict.
name_trees.logger.disabled = True
# It looks its comparisons up here, and has none for addresses (RFC 5280 §4.2.1.10).
name_trees._name_type_checkers.setdefault(name_trees.GeneralNameType.IP_ADDRESS, within)

# Steps of one search; a register without cross-certificates needs as many as a path is long.
_MAX_STEPS: Final = 256

_ANY_POLICY: Final = "2.5.29.32.0"

# The ASN.1 objects parse themselves when first looked at, in place: one look at a time.
_ONE_AT_A_TIME: Final = threading.RLock()


@dataclass(frozen=True, slots=True)
class _Known:
    """A certificate with its ASN.1 form and the normal forms of its names (RFC 4518)."""

    certificate: Certificate
    parsed: Any
    anchor: bool
    subject_key: str
    issuer_key: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A candidate path, from the leaf to an anchor; `issuer_keys` are normal forms of issuers' names."""

    certificates: tuple[Certificate, ...]
    parsed: tuple[Any, ...]
    issuer_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a path is not good."""

    problem: Problem
    reason: str
    final: bool = False

    @property
    def status(self) -> Literal["invalid", "indeterminate"]:
        """The status of the verdict that follows."""
        return "indeterminate" if self.problem is REVOCATION_UNKNOWN else "invalid"

    @property
    def weight(self) -> int:
        """How much this failure says where other paths failed otherwise; what is not known may mend."""
        order = (CERTIFICATE_UNTRUSTED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, REVOCATION_UNKNOWN)
        return len(order) if self.final else order.index(self.problem)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """The inputs of RFC 5280 §6.1.1 (c), (e), (f) and (g): which certificate policies are acceptable.

    ``accepted`` holds object identifiers, or the one of anyPolicy.  ``of_anchor``: the policies
    that the anchor's certificate names bind it too (RFC 5937).
    """

    accepted: frozenset[str] = frozenset({_ANY_POLICY})
    explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False
    of_anchor: bool = True


ANY_POLICY: Final = PolicyRule()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The moment and the rules under which a path is validated."""

    moment: datetime
    weak_digests: frozenset[str]
    policies: PolicyRule = ANY_POLICY

    @property
    def plain(self) -> Inquiry:
        """The same without a rule on policies: those of the signers of lists do not matter (§6.3.3)."""
        return replace(self, policies=replace(ANY_POLICY, of_anchor=self.policies.of_anchor))


class Index:
    """The certificates of a store by subject, in the normal form of names."""

    __slots__ = ("_by_sha256", "_by_subject", "registry")

    def __init__(self, anchors: tuple[Certificate, ...], intermediates: tuple[Certificate, ...]) -> None:
        self._by_subject: dict[str, list[_Known]] = {}
        self._by_sha256: dict[str, _Known] = {}
        for place, certificate in enumerate((*anchors, *intermediates)):
            if certificate.sha256 not in self._by_sha256:
                known = _know(certificate, anchor=place < len(anchors))
                self._by_sha256[certificate.sha256] = known
                self._by_subject.setdefault(known.subject_key, []).append(known)
        with _ONE_AT_A_TIME:
            self.registry = CertificateRegistry.build(known.parsed for known in self._by_sha256.values())

    def chains(self, leaf: Certificate, longest: int, most: int) -> Iterator[Chain]:
        """Yield at most `most` chains of at most `longest` certificates, the shortest first."""
        start = self._by_sha256.get(leaf.sha256) or _know(leaf, anchor=False)
        waiting: deque[tuple[_Known, ...]] = deque([(start,)])
        for _ in range(_MAX_STEPS):
            if not waiting or not most:
                return
            chain = waiting.popleft()
            if chain[-1].anchor:
                most -= 1
                yield Chain(
                    tuple(each.certificate for each in chain),
                    tuple(each.parsed for each in chain),
                    tuple(each.issuer_key for each in chain),
                )
            elif len(chain) < longest:
                waiting.extend((*chain, issuer) for issuer in self._issuers(chain))

    def below(self, leaf: Certificate, chain: Chain, place: int) -> Chain | None:
        """Return `leaf` on top of what `chain` has from `place` on; None when that did not issue it."""
        known = self._by_sha256.get(leaf.sha256) or _know(leaf, anchor=False)
        issuer = chain.certificates[place]
        with _ONE_AT_A_TIME:
            subject_key = str(chain.parsed[place].subject.hashable)
        if known.issuer_key != subject_key or not _may_have_issued(issuer, leaf):
            return None
        return Chain(
            (leaf, *chain.certificates[place:]),
            (known.parsed, *chain.parsed[place:]),
            (known.issuer_key, *chain.issuer_keys[place:]),
        )

    def named(self, name_key: str) -> tuple[Certificate, ...]:
        """Return the certificates of the store whose subject has this normal form."""
        return tuple(each.certificate for each in self._by_subject.get(name_key, ()))

    def _issuers(self, chain: tuple[_Known, ...]) -> list[_Known]:
        subject = chain[-1].certificate
        return [
            each
            for each in self._by_subject.get(chain[-1].issuer_key, ())
            if each not in chain and _may_have_issued(each.certificate, subject)
        ]


def _know(certificate: Certificate, *, anchor: bool) -> _Known:
    try:
        with _ONE_AT_A_TIME:
            parsed = asn1_x509.Certificate.load(certificate.der, strict=True)
            names = str(parsed.subject.hashable), str(parsed.issuer.hashable)
    # Names may hold octets that the first parser let pass and this one does not.
    except Exception as error:
        detail = f"malformed certificate ({type(error).__name__})"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate") from error
    return _Known(certificate, parsed, anchor, *names)


def _may_have_issued(issuer: Certificate, subject: Certificate) -> bool:
    named, has = subject.authority_key_identifier, issuer.subject_key_identifier
    return named is None or has is None or named == has


def check(chain: Chain, inquiry: Inquiry, index: Index) -> Failure | None:
    """Say why `chain` is not good; revocation is looked at elsewhere (`gateway.pki.status`)."""
    try:
        with _ONE_AT_A_TIME:
            _check(chain, inquiry, index)
    except (ExpiredError, NotYetValidError) as error:
        return Failure(CERTIFICATE_EXPIRED, str(error))
    except ValidationError as error:
        return Failure(CERTIFICATE_UNTRUSTED, str(error))
    # Malformed extensions make the library fail in ways of its own (TypeError, KeyError, ...).
    except Exception as error:
        reason = f"the certificate path cannot be processed ({type(error).__name__})"
        return Failure(CERTIFICATE_UNTRUSTED, reason)
    return None


def _check(chain: Chain, inquiry: Inquiry, index: Index) -> None:
    anchor = _anchor(chain.parsed[-1], inquiry.policies)
    below = chain.parsed[-2::-1] if len(chain.parsed) > 1 else ()
    path = ValidationPath(anchor, interm=below[:-1], leaf=below[-1] if below else None)
    _run(async_validate_path(_context(inquiry, index, anchor), path, _parameters(inquiry.policies)))


def _parameters(rule: PolicyRule) -> PKIXValidationParams:
    """Return the rule in the library's words; it knows anyPolicy by name."""
    accepted = frozenset("any_policy" if each == _ANY_POLICY else each for each in rule.accepted)
    return PKIXValidationParams(
        user_initial_policy_set=accepted or frozenset({"any_policy"}),
        initial_policy_mapping_inhibit=rule.inhibit_mapping,
        initial_explicit_policy=rule.explicit,
        initial_any_policy_inhibit=rule.inhibit_any,
    )


def key_along(chain: Chain, place: int) -> PublicKey | None:
    """Return a DSA key that takes its parameters from the next one with some (RFC 3279 §2.3.2)."""
    if chain.certificates[place].public_key is not None:
        return None
    above = (each.public_key for each in chain.certificates[place + 1 :])
    lender = next((each for each in above if each is not None), None)
    with _ONE_AT_A_TIME:
        info = chain.parsed[place].public_key
        value = info["public_key"].parsed.native if info.algorithm == "dsa" else None
    if value is None or not isinstance(lender, dsa.DSAPublicKey):
        return None
    numbers = dsa.DSAPublicNumbers(value, lender.public_numbers().parameter_numbers)
    return cast("PublicKey", numbers.public_key())


def _anchor(parsed: Any, policies: PolicyRule) -> Any:
    """Make a trust anchor that binds itself to what its certificate says (RFC 5937)."""
    derived = derive_quals_from_cert(parsed)
    rules = derived.standard_parameters
    if rules is not None and not policies.of_anchor:
        rules = replace(
            rules, user_initial_policy_set=frozenset({"any_policy"}), initial_explicit_policy=False
        )
    if rules is not None:
        # Kinds of names of which the anchor says nothing are free; the library would forbid them.
        permitted, excluded = rules.initial_permitted_subtrees, rules.initial_excluded_subtrees
        rules = replace(
            rules,
            initial_permitted_subtrees={**default_permitted_subtrees(), **(permitted or {})},
            initial_excluded_subtrees={**default_excluded_subtrees(), **(excluded or {})},
        )
    # It also forgets the length for attribute authorities and then counts down from None.
    length = derived.max_path_length
    return CertTrustAnchor(parsed, replace(derived, standard_parameters=rules, max_aa_path_length=length))


def _context(inquiry: Inquiry, index: Index, anchor: Any) -> Any:
    registry = index.registry
    return ValidationContext(
        moment=inquiry.moment,
        allow_fetching=False,
        time_tolerance=timedelta(0),
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
        revinfo_manager=RevinfoManager(registry, POEManager(), crls=(), ocsps=(), fetchers=None),
        certificate_registry=registry,
        trust_manager=SimpleTrustManager.build([anchor]),
        # Key sizes are the lint's business; this one also reads the parameters of RSASSA-PSS.
        algorithm_usage_policy=DisallowWeakAlgorithmsPolicy(
            weak_hash_algos=inquiry.weak_digests, rsa_key_size_threshold=0, dsa_key_size_threshold=0
        ),
    )


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, whether or not an event loop runs in this thread."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("the path validator waited")
