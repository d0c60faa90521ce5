"""The trusted authorities, the rules of validation, and the verdict on a certificate."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

from gateway.errors import CERTIFICATE_UNTRUSTED, NO_ROOM, GatewayError, Problem
from gateway.pki.certificate_lint import ANY_EXTENDED_KEY_USAGE, KeyUsageRule
from gateway.pki.certificates import DEFAULT_RULES, Certificate, CertificateRules
from gateway.pki.ocsp import OCSP_SIGNING
from gateway.pki.path_building import ANY_POLICY, CertificateIndex, PolicyInputs

# More certificates would only lengthen the search for a path.
MAX_PEER_CERTIFICATES: Final = 4
MAX_STORE_CERTIFICATES: Final = 1024
_EARLIEST_TIME: Final = datetime.min.replace(tzinfo=UTC)
#: The way in which a signer may be admitted: by an authority of our own, or by another country's.
AdmissionMode = Literal["anchor", "bridge", "trust-list", "vouched"]


class CertificateUse(enum.Enum):
    """The use for which a certificate is validated."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    TLS = "tls"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"
    TIME_STAMPING = "time-stamping"
    OCSP_SIGNING = "ocsp-signing"


_SERVER_AUTHENTICATION: Final = "1.3.6.1.5.5.7.3.1"
_CLIENT_AUTHENTICATION: Final = "1.3.6.1.5.5.7.3.2"
_EMAIL_PROTECTION: Final = "1.3.6.1.5.5.7.3.4"
_TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
_DOCUMENT_SIGNING: Final = "1.3.6.1.5.5.7.3.36"  # RFC 9336
_SIGNING_USAGES: Final = frozenset({"digitalSignature", "nonRepudiation"})
_HANDSHAKE_USAGES: Final = frozenset({"digitalSignature", "keyEncipherment", "keyAgreement"})
_BOTH_USAGE_EXTENSIONS: Final = frozenset({"extended_key_usage", "key_usage"})


DEFAULT_USES: Final[Mapping[CertificateUse, KeyUsageRule]] = MappingProxyType(
    {
        CertificateUse.SIGNING: KeyUsageRule(
            _SIGNING_USAGES,
            frozenset({_CLIENT_AUTHENTICATION, _EMAIL_PROTECTION, _DOCUMENT_SIGNING, ANY_EXTENDED_KEY_USAGE}),
        ),
        CertificateUse.ENCRYPTION: KeyUsageRule(
            frozenset({"keyEncipherment", "keyAgreement"}),
            frozenset({_CLIENT_AUTHENTICATION, _EMAIL_PROTECTION, _DOCUMENT_SIGNING, ANY_EXTENDED_KEY_USAGE}),
        ),
        CertificateUse.TLS: KeyUsageRule(
            _HANDSHAKE_USAGES,
            frozenset({_SERVER_AUTHENTICATION, _CLIENT_AUTHENTICATION}),
            _BOTH_USAGE_EXTENSIONS,
        ),
        CertificateUse.TLS_SERVER: KeyUsageRule(
            _HANDSHAKE_USAGES, frozenset({_SERVER_AUTHENTICATION}), _BOTH_USAGE_EXTENSIONS
        ),
        CertificateUse.TLS_CLIENT: KeyUsageRule(
            frozenset({"digitalSignature"}), frozenset({_CLIENT_AUTHENTICATION}), _BOTH_USAGE_EXTENSIONS
        ),
        CertificateUse.TIME_STAMPING: KeyUsageRule(
            _SIGNING_USAGES, frozenset({_TIME_STAMPING}), _BOTH_USAGE_EXTENSIONS, alone=True
        ),
        CertificateUse.OCSP_SIGNING: KeyUsageRule(
            _SIGNING_USAGES, frozenset({OCSP_SIGNING}), _BOTH_USAGE_EXTENSIONS
        ),
    }
)


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The rules of validation, as in `pki/policy.toml`.

    ``revocation``: "require" makes a certificate without a fresh revocation list
    indeterminate; "if_present" accepts it where no list of its issuer is loaded at all;
    "none" requires none. Certificate rules without ``profile`` mean path validation only: no
    lint, no use.
    """

    revocation: Literal["require", "if_present", "none"] = "require"
    crl_age_most: timedelta | None = None
    certificates: CertificateRules = DEFAULT_RULES
    uses: Mapping[CertificateUse, KeyUsageRule] = field(default_factory=lambda: DEFAULT_USES)
    leaf_may_be_ca: bool = False
    path_most: int = 8
    candidates_most: int = 16
    policies: PolicyInputs = ANY_POLICY


DEFAULT_POLICY: Final = TrustPolicy()


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The anchors and intermediate certificates of the register, without those that peers send."""

    anchors: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...] = ()
    policy: TrustPolicy = DEFAULT_POLICY
    index: CertificateIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the certificates by subject."""
        object.__setattr__(self, "anchors", tuple(self.anchors))
        object.__setattr__(self, "intermediates", tuple(self.intermediates))
        if len(self.anchors) + len(self.intermediates) > MAX_STORE_CERTIFICATES:
            raise GatewayError(
                CERTIFICATE_UNTRUSTED, f"more than {MAX_STORE_CERTIFICATES} certificates in a trust store"
            )
        object.__setattr__(self, "index", CertificateIndex(self.anchors, self.intermediates))

    def with_peers(self, certificates: tuple[Certificate, ...]) -> TrustStore:
        """Return this store with intermediates that a peer sent, at most four."""
        if len(certificates) > MAX_PEER_CERTIFICATES:
            detail = f"{len(certificates)} certificates sent along, {MAX_PEER_CERTIFICATES} are allowed"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate")
        return replace(self, intermediates=(*self.intermediates, *certificates))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of validating a certificate; it remains true from `judged_at` to `valid_until`.

    ``path`` leads from the certificate to the anchor and is empty unless the verdict is
    valid. ``tolerated``: the verdict is indeterminate, and the policy accepts that for this
    use. ``evidence``: the SHA-256 of the lists and responses that it is based on, so that it
    can be repeated. ``mode`` is the way in which the certificate was admitted, ``source``
    what that way is based on besides our own anchors, ``levels`` the assurance levels of the
    signer in our terms; see :mod:`gateway.recognition`.
    """

    status: Literal["valid", "invalid", "indeterminate"]
    problem: Problem | None
    reason: str
    path: tuple[Certificate, ...]
    valid_until: datetime
    judged_at: datetime = _EARLIEST_TIME
    tolerated: bool = False
    evidence: tuple[str, ...] = ()
    mode: AdmissionMode = "anchor"
    source: str = ""
    levels: frozenset[str] = frozenset()

    @classmethod
    def make_transient(cls, reason: str, at: datetime) -> Verdict:
        """Return the verdict of a validation that a shortage of ours has ended: GW806, with its `reason`."""
        return cls("indeterminate", NO_ROOM, f"a certificate could not be validated: {reason}", (), at, at)

    @property
    def is_transient(self) -> bool:
        """Return whether the certificate could not be validated: the verdict says nothing about it."""
        return self.problem is NO_ROOM

    @property
    def is_accepted(self) -> bool:
        """Return whether the certificate may be used: the verdict is valid, or tolerated."""
        return self.tolerated or (self.problem is None and self.status == "valid")

    @property
    def admission_evidence(self) -> dict[str, Any]:
        """Return the way of admission for the evidence; with levels where it has any."""
        source = self.source or (self.path[-1].subject if self.path else "")
        admission: dict[str, Any] = {"mode": self.mode, "source": source}
        return admission | {"levels": sorted(self.levels)} if self.levels else admission

    def raise_unless_accepted(self, location: str = "") -> None:
        """Raise the problem of this verdict; do nothing when it is valid or tolerated.

        That is GW205 to GW208 for a certificate that is not accepted, GW806 for one that could not be
        validated: a shortage of ours is no fault of its holder.
        """
        if not self.is_accepted:
            raise GatewayError(self.problem or CERTIFICATE_UNTRUSTED, self.reason, location)
