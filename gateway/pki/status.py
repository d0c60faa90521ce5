"""Whether the certificates of a path were revoked, by the lists in hand (RFC 5280 §6.3).

Own code, because the validation library takes an authority's list for certificates of its
sisters and, in some orders of lists, one whose signature nobody checked.  The newest complete
list of the very issuer decides.  Lists of changes and of some reasons can condemn but not clear;
lists that speak for other issuers say nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from gateway.errors import CERTIFICATE_REVOKED, REVOCATION_UNKNOWN
from gateway.pki import path
from gateway.pki.certificates import Certificate
from gateway.pki.revocation import RevocationList, Revocations

__all__ = ["Rule", "check"]

# A list may be signed by a key of its own, whose certificate has a path and a status again.
_MAX_DEPTH: Final = 3
_MAX_ISSUER_CHAINS: Final = 4
_LONGEST: Final = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """Whether a list must be in hand, how old it may be, and the lists."""

    required: bool
    age_most: timedelta | None
    revocations: Revocations


@dataclass(frozen=True, slots=True)
class _Question:
    """One certificate of one chain, and the certificates whose status is asked for on the way to it."""

    chain: path.Chain
    place: int
    asked: tuple[str, ...]

    @property
    def certificate(self) -> Certificate:
        """The certificate in question."""
        return self.chain.certificates[self.place]


def check(
    chain: path.Chain, inquiry: path.Inquiry, index: path.Index, rule: Rule, asked: tuple[str, ...] = ()
) -> path.Failure | datetime:
    """Return until when every certificate of a good `chain` stays so, or the failure of the first."""
    ends = [each.not_after for each in chain.certificates]
    for place in range(len(chain.certificates) - 2, -1, -1):
        question = _Question(chain, place, asked)
        found = _Search(inquiry, index, rule).ask(question)
        if isinstance(found, path.Failure):
            return found
        if found is not None:
            ends.append(found)
    return min(ends)


@dataclass(frozen=True, slots=True)
class _Search:
    inquiry: path.Inquiry
    index: path.Index
    rule: Rule

    def ask(self, question: _Question) -> path.Failure | datetime | None:
        """Return the end of the list that says "good", the failure, or None where no list is needed."""
        subject = question.certificate
        lists = self.rule.revocations.speaking_of(question.chain.issuer_keys[question.place])
        if not lists:
            if not self.rule.required:
                return None
            return self._unknown(subject, "none is in hand")
        points = _points(subject)
        reasons: list[str] = []
        answer: path.Failure | datetime | None = None
        for each in lists:
            proof = self._proof(each, points, question)
            if isinstance(proof, str):
                reasons.append(proof)
                continue
            found = self._read(each, proof, question)
            # The newest complete list decides; one of parts or changes only condemns.
            if isinstance(found, path.Failure) and (each.partial or answer is None):
                return found
            if not each.partial and answer is None:
                answer = found
        return answer or self._unknown(subject, "; ".join(dict.fromkeys(reasons)) or "none is complete")

    def _unknown(self, subject: Certificate, reason: str) -> path.Failure:
        return path.Failure(REVOCATION_UNKNOWN, f"revocation list of {subject.issuer[:120]}: {reason[:200]}")

    def _read(self, each: RevocationList, ends: datetime, question: _Question) -> path.Failure | datetime:
        subject, moment = question.certificate, self.inquiry.moment
        revoked = each.revoked_at(subject.serial)
        if revoked is None:
            return ends
        if revoked > moment:
            # A list may announce a revocation of tomorrow.
            return min(ends, revoked - timedelta(seconds=1))
        detail = f"{subject.subject[:120]} was revoked at {revoked.isoformat()}"
        return path.Failure(CERTIFICATE_REVOKED, detail, final=question.place == 0 and not question.asked)

    def _proof(self, each: RevocationList, points: _Points, question: _Question) -> str | datetime:
        """Return until when this list is proof, or why it is none."""
        if each.unfit:
            return each.unfit
        if points.elsewhere:
            return "the certificate names another issuer of lists"
        if each.scope is not None:
            outside = _outside(each, each.scope, question.certificate, points)
            if outside:
                return outside
        ends = each.ends(self.rule.age_most)
        if not each.fresh(self.inquiry.moment, self.rule.age_most):
            return f"in force from {each.this_update.isoformat()} to {ends.isoformat()}"
        signed = self._signature(each, question)
        return signed if isinstance(signed, str) else min(ends, signed)

    def _signature(self, each: RevocationList, question: _Question) -> str | datetime:
        issuer = question.chain.certificates[question.place + 1]
        if _signs_lists(issuer) and each.signed_by(issuer):
            return issuer.not_after
        reason = "its signature is wrong"
        for candidate in self.index.named(each.issuer_key):
            if candidate.sha256 in (issuer.sha256, question.certificate.sha256, *question.asked):
                continue
            if _signs_lists(candidate) and each.signed_by(candidate):
                until = self._good_signer(candidate, question)
                if until is not None:
                    return until
                reason = "its signer is not good"
        return reason

    def _good_signer(self, candidate: Certificate, question: _Question) -> datetime | None:
        """Return until when the certificate of a key for lists is good; it must lead to the same anchor."""
        asked = (*question.asked, question.certificate.sha256)
        if len(asked) > _MAX_DEPTH:
            return None
        anchor = question.chain.certificates[-1]
        for chain in self.index.chains(candidate, _LONGEST, _MAX_ISSUER_CHAINS):
            if chain.certificates[-1] != anchor or path.check(chain, self.inquiry, self.index):
                continue
            found = check(chain, self.inquiry, self.index, self.rule, asked)
            if isinstance(found, datetime):
                return found
        return None


def _signs_lists(certificate: Certificate) -> bool:
    return certificate.key_usage is None or "cRLSign" in certificate.key_usage


@dataclass(frozen=True, slots=True)
class _Points:
    """The distribution points of a certificate; `elsewhere`: every one names another issuer of lists."""

    names: frozenset[x509.GeneralName]
    elsewhere: bool


def _points(certificate: Certificate) -> _Points:
    parsed = x509.load_der_x509_certificate(certificate.der)
    own = x509.DirectoryName(parsed.issuer)
    if ExtensionOID.CRL_DISTRIBUTION_POINTS.dotted_string not in certificate.extensions:
        return _Points(frozenset({own}), elsewhere=False)
    points = parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    names = frozenset(name for point in points for name in _names(point, parsed.issuer))
    return _Points(names, all(point.crl_issuer and own not in point.crl_issuer for point in points))


def _names(
    point: x509.DistributionPoint | x509.IssuingDistributionPoint, issuer: x509.Name
) -> tuple[x509.GeneralName, ...]:
    if point.relative_name is not None:
        # RFC 5280 §4.2.1.13: one more step below the issuer of the list.
        return (x509.DirectoryName(x509.Name([*issuer.rdns, point.relative_name])),)
    return tuple(point.full_name or ())


def _outside(
    each: RevocationList, scope: x509.IssuingDistributionPoint, certificate: Certificate, points: _Points
) -> str | None:
    if scope.only_contains_ca_certs and not certificate.is_ca:
        return "it covers authorities only"
    if scope.only_contains_user_certs and certificate.is_ca:
        return "it covers parties only"
    names = frozenset(_names(scope, each.parsed.issuer))
    if names and not points.names & names:
        return "it covers other distribution points"
    return None
