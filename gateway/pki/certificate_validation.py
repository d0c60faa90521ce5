"""Whom we trust, for what, and the verdict on a certificate at a moment.

A verdict needs nothing from outside: anchors and intermediates come from the register, the
revocation lists were fetched beforehand.  What cannot be known is `indeterminate`, never `valid`.
"""

from __future__ import annotations

import enum
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

from gateway.errors import CERTIFICATE_UNTRUSTED, OUR_MISTAKE, GatewayError, Problem
from gateway.pki import path_validation, revocation_status
from gateway.pki.certificate_lint import ANY_EXTENDED_KEY_USAGE, KeyUsageRule, lint_authority, lint_leaf
from gateway.pki.certificates import DEFAULT_RULES, Certificate, CertificateRules, read_certificate
from gateway.pki.ocsp import OCSP_SIGNING
from gateway.pki.path_building import CertificateChain, CertificateIndex
from gateway.pki.revocation_data import RevocationData

__all__ = [
    "DEFAULT_POLICY",
    "DEFAULT_USES",
    "MAX_PEER_CERTIFICATES",
    "CertificateUse",
    "CertificateValidator",
    "Examine",
    "FreshVerdict",
    "KeyUsageRule",
    "Mode",
    "TrustPolicy",
    "TrustStore",
    "Verdict",
    "validate_octets",
    "validate_path",
]

# More only serve to make the search for a path long.
MAX_PEER_CERTIFICATES: Final = 4
MAX_STORED: Final = 1024


# A refusal may end when a certificate's time begins or a list arrives: it is remembered briefly.
REFUSAL_LIFETIME: Final = timedelta(seconds=60)
# What another thread found while one waited for it was judged as of a moment somewhat later.
_MEANWHILE: Final = timedelta(seconds=1)
_EVER: Final = datetime.min.replace(tzinfo=UTC)

#: By which way a signer may be admitted: an authority of our own, or one of others.
Mode = Literal["anchor", "bridge", "trust-list", "vouched"]


class CertificateUse(enum.Enum):
    """What a certificate is to be used for."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    TLS = "tls"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"
    TIME_STAMPING = "time-stamping"
    OCSP_SIGNING = "ocsp-signing"


_SERVER: Final = "1.3.6.1.5.5.7.3.1"
_CLIENT: Final = "1.3.6.1.5.5.7.3.2"
_MAIL: Final = "1.3.6.1.5.5.7.3.4"
_TIME: Final = "1.3.6.1.5.5.7.3.8"
_DOCUMENTS: Final = "1.3.6.1.5.5.7.3.36"  # RFC 9336
_SIGNS: Final = frozenset({"digitalSignature", "nonRepudiation"})
_HANDSHAKE: Final = frozenset({"digitalSignature", "keyEncipherment", "keyAgreement"})
_EXTENDED: Final = frozenset({"extended_key_usage", "key_usage"})

DEFAULT_USES: Final[Mapping[CertificateUse, KeyUsageRule]] = MappingProxyType(
    {
        CertificateUse.SIGNING: KeyUsageRule(
            _SIGNS, frozenset({_CLIENT, _MAIL, _DOCUMENTS, ANY_EXTENDED_KEY_USAGE})
        ),
        CertificateUse.ENCRYPTION: KeyUsageRule(
            frozenset({"keyEncipherment", "keyAgreement"}),
            frozenset({_CLIENT, _MAIL, _DOCUMENTS, ANY_EXTENDED_KEY_USAGE}),
        ),
        CertificateUse.TLS: KeyUsageRule(_HANDSHAKE, frozenset({_SERVER, _CLIENT}), _EXTENDED),
        CertificateUse.TLS_SERVER: KeyUsageRule(_HANDSHAKE, frozenset({_SERVER}), _EXTENDED),
        CertificateUse.TLS_CLIENT: KeyUsageRule(
            frozenset({"digitalSignature"}), frozenset({_CLIENT}), _EXTENDED
        ),
        CertificateUse.TIME_STAMPING: KeyUsageRule(_SIGNS, frozenset({_TIME}), _EXTENDED, alone=True),
        CertificateUse.OCSP_SIGNING: KeyUsageRule(_SIGNS, frozenset({OCSP_SIGNING}), _EXTENDED),
    }
)


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The rules of validation, as `pki/policy.toml` says them.

    ``revocation``: "require" makes a certificate without a fresh revocation list indeterminate;
    "if_present" accepts it where no list of its issuer is in hand at all; "none" asks for none.
    Certificate rules without ``profile`` mean path validation alone: no lint, no use.
    """

    revocation: Literal["require", "if_present", "none"] = "require"
    crl_age_most: timedelta | None = None
    certificates: CertificateRules = DEFAULT_RULES
    uses: Mapping[CertificateUse, KeyUsageRule] = field(default_factory=lambda: DEFAULT_USES)
    leaf_may_be_ca: bool = False
    path_most: int = 8
    candidates_most: int = 16
    policies: path_validation.PolicyInputs = path_validation.ANY_POLICY


DEFAULT_POLICY: Final = TrustPolicy()


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The anchors, and the intermediate certificates of the register; what peers send is not in it."""

    anchors: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...] = ()
    policy: TrustPolicy = DEFAULT_POLICY
    index: CertificateIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the certificates by subject."""
        object.__setattr__(self, "anchors", tuple(self.anchors))
        object.__setattr__(self, "intermediates", tuple(self.intermediates))
        if len(self.anchors) + len(self.intermediates) > MAX_STORED:
            raise GatewayError(CERTIFICATE_UNTRUSTED, f"more than {MAX_STORED} certificates in a trust store")
        object.__setattr__(self, "index", CertificateIndex(self.anchors, self.intermediates))

    def with_peers(self, certificates: tuple[Certificate, ...]) -> TrustStore:
        """Return this store with intermediates that a peer sent along, at most four."""
        if len(certificates) > MAX_PEER_CERTIFICATES:
            detail = f"{len(certificates)} certificates sent along, {MAX_PEER_CERTIFICATES} are allowed"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate")
        return replace(self, intermediates=(*self.intermediates, *certificates))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a certificate: from `judged_at` to `valid_until` it stays so.

    ``path`` leads from the certificate to the anchor and is empty unless the verdict is valid.
    ``tolerated``: it is indeterminate, and the policy takes that for good enough for this use.
    ``evidence``: the SHA-256 of the lists and responses it rests on, so that it can be judged again.
    ``mode`` is the way by which the certificate was admitted, ``source`` what that way rests on beside
    our own anchors, ``levels`` what the signer is worth in our words; see :mod:`gateway.recognition`.
    ``passing``: it says nothing of the certificate, only that nobody could judge it just then.
    """

    status: Literal["valid", "invalid", "indeterminate"]
    problem: Problem | None
    reason: str
    path: tuple[Certificate, ...]
    valid_until: datetime
    judged_at: datetime = _EVER
    tolerated: bool = False
    evidence: tuple[str, ...] = ()
    mode: Mode = "anchor"
    source: str = ""
    levels: frozenset[str] = frozenset()
    passing: bool = False

    @property
    def is_accepted(self) -> bool:
        """Whether the certificate may be used: the verdict is valid, or tolerated."""
        return self.tolerated or (self.problem is None and self.status == "valid")

    @property
    def admission_way(self) -> dict[str, Any]:
        """Return by which way the certificate was admitted, as evidence has it; levels where it has any."""
        source = self.source or (self.path[-1].subject if self.path else "")
        told: dict[str, Any] = {"mode": self.mode, "source": source}
        return told | {"levels": sorted(self.levels)} if self.levels else told

    def raise_unless_accepted(self, location: str = "") -> None:
        """Raise the problem of this verdict; do nothing when it is valid or tolerated."""
        if not self.is_accepted:
            raise GatewayError(self.problem or CERTIFICATE_UNTRUSTED, self.reason, location)


def validate_path(
    certificate: Certificate,
    at: datetime,
    use: CertificateUse,
    trust: TrustStore,
    revocations: RevocationData,
) -> Verdict:
    """Judge `certificate` for `use` at the moment `at`; hostile certificates never raise."""
    if at.utcoffset() is None:
        raise GatewayError(OUR_MISTAKE, "a moment without time zone")
    policy = trust.policy
    reason = _lint_leaf(certificate, policy, use)
    if reason:
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)
    # X.509 counts whole seconds: the last second of validity is valid to its end.
    moment = at.astimezone(UTC).replace(microsecond=0)
    try:
        good, found, evidence = _find_best_path(certificate, moment, trust, revocations)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail[:500], (), at, at)
    if isinstance(found, path_validation.PathFailure):
        tolerated = found.status == "indeterminate" and policy.uses[use].accept_indeterminate
        reason = found.reason[:500]
        return Verdict(found.status, found.problem, reason, (), at, at, tolerated, evidence)
    return Verdict("valid", None, "", good, found, at, evidence=evidence)


def _lint_leaf(certificate: Certificate, policy: TrustPolicy, use: CertificateUse) -> str | None:
    if not policy.certificates.profile:
        return None
    return lint_leaf(certificate, policy.certificates, policy.uses[use], authority=policy.leaf_may_be_ca)


def _find_best_path(
    certificate: Certificate, moment: datetime, trust: TrustStore, revocations: RevocationData
) -> tuple[tuple[Certificate, ...], path_validation.PathFailure | datetime, tuple[str, ...]]:
    """Return the first good path, until when it is good or what says most against any, and the evidence."""
    policy = trust.policy
    inquiry = path_validation.PathInquiry(moment, policy.certificates.weak_digests, policy.policies)
    worst = path_validation.PathFailure(CERTIFICATE_UNTRUSTED, "no path leads to a trust anchor")
    tried, proof = False, tuple[str, ...]()
    for chain in trust.index.find_chains(certificate, policy.path_most, policy.candidates_most):
        rule = revocation_status.RevocationRule(
            policy.revocation == "require", policy.crl_age_most, revocations
        )
        found: path_validation.PathFailure | datetime = (
            _lint_chain(chain, trust)
            or path_validation.validate_chain(chain, inquiry, trust.index)
            or _check_status(chain, inquiry, trust, rule)
        )
        if isinstance(found, datetime):
            return chain.certificates, found, tuple(rule.used)
        if not tried or found.weight > worst.weight:
            tried, worst, proof = True, found, tuple(rule.used)
    return (), worst, proof


def _check_status(
    chain: CertificateChain,
    inquiry: path_validation.PathInquiry,
    trust: TrustStore,
    rule: revocation_status.RevocationRule,
) -> path_validation.PathFailure | datetime:
    if trust.policy.revocation == "none":
        return min(each.not_after for each in chain.certificates)
    return revocation_status.check_revocation(chain, inquiry, trust.index, rule)


def _lint_chain(chain: CertificateChain, trust: TrustStore) -> path_validation.PathFailure | None:
    rules = trust.policy.certificates
    if not rules.profile:
        return None
    last = len(chain.certificates) - 1
    for place, each in enumerate(chain.certificates[1:], 1):
        reason = lint_authority(each, rules, anchor=place == last)
        if reason:
            return path_validation.PathFailure(CERTIFICATE_UNTRUSTED, f"{each.subject[:120]}: {reason}")
    return None


# How a judge has a certificate judged that it does not know: here, or by a process of its own.
Examine = Callable[[bytes, CertificateUse, datetime, TrustStore, RevocationData], Verdict]


def validate_octets(
    der: bytes, use: CertificateUse, at: datetime, trust: TrustStore, revocations: RevocationData
) -> Verdict:
    """Read a certificate and judge it; never raises for what a peer sent."""
    try:
        certificate = read_certificate(der, trust.policy.certificates)
    except GatewayError as refused:
        return Verdict("invalid", refused.problem, refused.detail, (), at, at)
    return validate_path(certificate, at, use, trust, revocations)


@dataclass(frozen=True, slots=True)
class FreshVerdict:
    """A verdict that is new, with all that it was made from."""

    leaf: bytes
    use: CertificateUse
    verdict: Verdict
    trust: TrustStore
    revocations: RevocationData
    epoch: int


@dataclass(frozen=True, slots=True)
class _TrustInUse:
    epoch: int
    trust: TrustStore
    revocations: RevocationData


class CertificateValidator:
    """Remembers verdicts, so that the certificate of a known party costs one look-up.

    A verdict is remembered under the certificate's digest, the use and the epoch, and only for
    the time in which nothing behind it can change.  `replace_trust` brings new trust or new revocation
    lists, raises the epoch and forgets everything.  One judge serves all threads.  ``examine``
    judges what is not remembered; without it that is done in this thread, whatever it costs.
    ``tell``, set before the first question, is told each new verdict before anybody is, and may
    raise: then there is none.
    """

    def __init__(
        self,
        trust: TrustStore,
        revocations: RevocationData | None = None,
        *,
        epoch: int = 0,
        capacity: int = 4096,
        examine: Examine | None = None,
    ) -> None:
        self._register = _TrustInUse(epoch, trust, revocations or RevocationData())
        self._capacity = max(capacity, 2)
        self._examine = examine or validate_octets
        self.tell: Callable[[FreshVerdict], None] | None = None
        # Apart, so that a flood of worthless certificates displaces no good one.
        self._good: dict[tuple[bytes, CertificateUse, int], Verdict] = {}
        self._bad: dict[tuple[bytes, CertificateUse, int], Verdict] = {}
        self._lock = threading.Lock()
        # Of many threads that ask the same at once one judges, the others hear what it found.
        self._judging: dict[tuple[bytes, CertificateUse, int], threading.Lock] = {}

    @property
    def epoch(self) -> int:
        """The number of the register in use."""
        return self._register.epoch

    @property
    def trust(self) -> TrustStore:
        """The anchors and intermediates in use."""
        return self._register.trust

    @property
    def revocations(self) -> RevocationData:
        """The lists and responses in use."""
        return self._register.revocations

    def replace_trust(
        self,
        trust: TrustStore | None = None,
        revocations: RevocationData | None = None,
        epoch: int | None = None,
    ) -> int:
        """Take other trust or revocation lists into use; return the new epoch."""
        with self._lock:
            old = self._register
            number = old.epoch + 1 if epoch is None else epoch
            lists = old.revocations if revocations is None else revocations
            self._register = _TrustInUse(number, trust or old.trust, lists)
            # New dictionaries: a thread that judges under the old register writes where nobody reads.
            self._good, self._bad = {}, {}
            return number

    def __call__(self, der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        """Judge the certificate `der` for `use` at `at`; never raises for what a peer sent."""
        key = (hashlib.sha256(der).digest(), use, self._register.epoch)
        known = self._find_known(key, at)
        if known is not None:
            return known
        with self._lock:
            turn = self._judging.setdefault(key, threading.Lock())
        try:
            with turn:
                return self._find_known(key, at + _MEANWHILE) or self._validate_certificate(key, der, at)
        finally:
            with self._lock:
                self._judging.pop(key, None)

    def _find_known(self, key: tuple[bytes, CertificateUse, int], at: datetime) -> Verdict | None:
        known = self._good.get(key) or self._bad.get(key)
        return known if known is not None and known.judged_at <= at <= known.valid_until else None

    def recall_verdict(self, sha256: str, use: CertificateUse) -> Verdict | None:
        """Return the verdict in hand on a certificate, by its SHA-256; None where there is none."""
        key = (bytes.fromhex(sha256), use, self._register.epoch)
        return self._good.get(key) or self._bad.get(key)

    def _validate_certificate(
        self, key: tuple[bytes, CertificateUse, int], der: bytes, at: datetime
    ) -> Verdict:
        register = self._register
        verdict = self._examine(der, key[1], at, register.trust, register.revocations)
        if verdict.passing:
            return verdict
        if verdict.status != "valid":
            verdict = replace(verdict, valid_until=at + REFUSAL_LIFETIME)
        if self.tell is not None:
            self.tell(
                FreshVerdict(der, key[1], verdict, register.trust, register.revocations, register.epoch)
            )
        self._remember_verdict((key[0], key[1], register.epoch), verdict)
        return verdict

    def _remember_verdict(self, key: tuple[bytes, CertificateUse, int], verdict: Verdict) -> None:
        with self._lock:
            if key[2] != self._register.epoch:
                return
            other, shelf, room = self._bad, self._good, self._capacity
            if verdict.status != "valid":
                other, shelf, room = self._good, self._bad, max(self._capacity // 4, 1)
            other.pop(key, None)
            while len(shelf) >= room:
                del shelf[next(iter(shelf))]
            shelf[key] = verdict
