"""Builds candidate paths from a certificate to the anchors of a store (RFC 4158).

Paths are built here and not by the validation library, because its search is unbounded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from asn1crypto import x509 as asn1_x509
from cryptography.exceptions import InvalidSignature

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError, describe_exception
from gateway.pki.certificates import Certificate

__all__ = ["ONE_AT_A_TIME", "CertificateChain", "CertificateIndex", "is_understood"]

# Steps of one search; without cross-certificates a search needs as many as a path is long.
_MAX_STEPS: Final = 256

# The ASN.1 objects parse themselves lazily and in place: only one thread at a time may read them.
ONE_AT_A_TIME: Final = threading.RLock()


@dataclass(frozen=True, slots=True)
class _KnownCertificate:
    """A certificate with its ASN.1 form and the normal forms of its names (RFC 4518)."""

    certificate: Certificate
    parsed: Any
    anchor: bool
    subject_key: str
    issuer_key: str
    key_hash: bytes


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """A candidate path from the leaf to an anchor; `issuer_keys` are the normalized names of the issuers."""

    certificates: tuple[Certificate, ...]
    parsed: tuple[Any, ...]
    issuer_keys: tuple[str, ...]


class CertificateIndex:
    """The certificates of a store, indexed by the normal form of the subject."""

    __slots__ = ("_by_sha256", "_by_subject", "_registry", "_signatures")

    def __init__(self, anchors: tuple[Certificate, ...], intermediates: tuple[Certificate, ...]) -> None:
        self._by_subject: dict[str, list[_KnownCertificate]] = {}
        self._by_sha256: dict[str, _KnownCertificate] = {}
        self._signatures: dict[tuple[str, bytes], bool] = {}
        self._registry: Any = None
        for place, certificate in enumerate((*anchors, *intermediates)):
            if certificate.sha256 not in self._by_sha256:
                known = _make_known(certificate, anchor=place < len(anchors))
                self._by_sha256[certificate.sha256] = known
                self._by_subject.setdefault(known.subject_key, []).append(known)

    @property
    def registry(self) -> Any:
        """Return the certificates as the validation library looks them up; made at the first use."""
        with ONE_AT_A_TIME:
            if self._registry is None:
                # Imported on use: the index of a process that validates nothing itself needs no library.
                from pyhanko_certvalidator.registry import CertificateRegistry

                self._registry = CertificateRegistry.build(each.parsed for each in self._by_sha256.values())
            return self._registry

    def find_chains(self, leaf: Certificate, longest: int, most: int) -> Iterator[CertificateChain]:
        """Yield at most `most` chains of at most `longest` certificates, the shortest first."""
        start = self._by_sha256.get(leaf.sha256) or _make_known(leaf, anchor=False)
        waiting: deque[tuple[_KnownCertificate, ...]] = deque([(start,)])
        for _ in range(_MAX_STEPS):
            if not waiting or not most:
                return
            chain = waiting.popleft()
            if chain[-1].anchor:
                most -= 1
                yield CertificateChain(
                    tuple(each.certificate for each in chain),
                    tuple(each.parsed for each in chain),
                    tuple(each.issuer_key for each in chain),
                )
            elif len(chain) < longest:
                waiting.extend((*chain, issuer) for issuer in self._find_issuers(chain))

    def extend_chain(self, leaf: Certificate, chain: CertificateChain, place: int) -> CertificateChain | None:
        """Return `leaf` followed by `chain` from `place` on; None when that certificate did not issue it."""
        known = self._by_sha256.get(leaf.sha256) or _make_known(leaf, anchor=False)
        issuer = chain.certificates[place]
        with ONE_AT_A_TIME:
            subject_key = str(chain.parsed[place].subject.hashable)
        if known.issuer_key != subject_key or not _may_have_issued(issuer, leaf):
            return None
        return CertificateChain(
            (leaf, *chain.certificates[place:]),
            (known.parsed, *chain.parsed[place:]),
            (known.issuer_key, *chain.issuer_keys[place:]),
        )

    def find_by_name(self, name_key: str) -> tuple[Certificate, ...]:
        """Return the certificates of the store whose subject has this normal form."""
        return tuple(each.certificate for each in self._by_subject.get(name_key, ()))

    def find_by_key_hash(self, key_hash: bytes) -> tuple[Certificate, ...]:
        """Return the certificates of the store whose key has this SHA-1 (RFC 6960 §4.2.1, byKey)."""
        return tuple(each.certificate for each in self._by_sha256.values() if each.key_hash == key_hash)

    def _find_issuers(self, chain: tuple[_KnownCertificate, ...]) -> list[_KnownCertificate]:
        subject = chain[-1]
        passed = {each.certificate.sha256 for each in chain}
        found = [
            each
            for each in self._by_subject.get(subject.issuer_key, ())
            if each.certificate.sha256 not in passed
            and _may_have_issued(each.certificate, subject.certificate)
        ]
        if len(found) < 2:
            return found
        # Many issuers of the same name only lengthen the search; if none of them signed, one gives the
        # reason.
        return [each for each in found if self._has_issued(subject, each)] or found[:1]

    def _has_issued(self, subject: _KnownCertificate, issuer: _KnownCertificate) -> bool:
        pair = subject.certificate.sha256, issuer.key_hash
        known = self._signatures.get(pair)
        if known is None:
            known = _verify_issuer_signature(subject, issuer)
            # Nothing is stored for certificates of parties: their number is unlimited.
            if pair[0] in self._by_sha256:
                self._signatures[pair] = known
        return known


# Every case uses the same few authorities; a party's certificate is parsed once by the path search.
@lru_cache(maxsize=512)
def _make_known(certificate: Certificate, *, anchor: bool) -> _KnownCertificate:
    try:
        with ONE_AT_A_TIME:
            parsed = asn1_x509.Certificate.load(certificate.der, strict=True)
            names = str(parsed.subject.hashable), str(parsed.issuer.hashable)
            # The library looks up certificates by their keys; an unreadable key would end the look-up.
            key_hash = parsed.public_key.sha1
    # Names may contain octets that the first parser accepts and this one does not.
    except Exception as error:
        detail = f"malformed certificate: {describe_exception(error)}"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate") from error
    return _KnownCertificate(certificate, parsed, anchor, *names, key_hash)


def _may_have_issued(issuer: Certificate, subject: Certificate) -> bool:
    named, has = subject.authority_key_identifier, issuer.subject_key_identifier
    return named is None or has is None or named == has


def is_understood(certificate: Certificate) -> bool:
    """Return whether the path validator can read the certificate too."""
    try:
        _make_known(certificate, anchor=False)
    except GatewayError:
        return False
    return True


def _verify_issuer_signature(subject: _KnownCertificate, issuer: _KnownCertificate) -> bool:
    """Return whether the issuer's key may have made the signature; true when it cannot be tested."""
    # Imported on use, with the validation library.
    from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator

    try:
        with ONE_AT_A_TIME:
            DefaultSignatureValidator().validate_signature(
                signature=subject.parsed["signature_value"].native,
                signed_data=subject.parsed["tbs_certificate"].dump(),
                public_key_info=issuer.parsed.public_key,
                signature_algorithm=subject.parsed["signature_algorithm"],
            )
    except InvalidSignature:
        return False
    # For a key without parameters or an unknown algorithm, the path validator reports the reason.
    except Exception:
        return True
    return True
