"""Distribution points: which lists a certificate sends one to, and for which reasons (RFC 5280 §6.3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from gateway.pki.certificates import Certificate, get_parsed_certificate
from gateway.pki.name_normalization import list_point_names, normalize_general_name
from gateway.pki.revocation_data import ALL_REASONS, RevocationList

__all__ = ["DistributionPoint", "find_covered_reasons", "list_distribution_points"]

_REASONS = frozenset[x509.ReasonFlags]


@dataclass(frozen=True, slots=True)
class DistributionPoint:
    """One distribution point: its names, who issues its lists, and the reasons they cover.

    ``elsewhere``: the certificate itself names the issuer of lists, who must speak for others;
    all names are in the normal form of RFC 4518.
    """

    names: frozenset[str]
    issuers: frozenset[str]
    elsewhere: bool
    reasons: _REASONS


def list_distribution_points(certificate: Certificate, issuer_key: str) -> tuple[DistributionPoint, ...]:
    """Return the points of a certificate and, last, what its very issuer publishes of all reasons.

    Empty when every point is without name and issuer; without that last one when all name others.
    """
    own = DistributionPoint(
        frozenset({issuer_key}), frozenset({issuer_key}), elsewhere=False, reasons=ALL_REASONS
    )
    if ExtensionOID.CRL_DISTRIBUTION_POINTS.dotted_string not in certificate.extensions:
        return (own,)
    parsed = get_parsed_certificate(certificate)
    value = parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    points = tuple(_read_point(each, parsed.issuer, issuer_key) for each in value)
    if all(each.elsewhere and issuer_key not in each.issuers for each in points):
        return points
    return (*points, own)


def _read_point(point: x509.DistributionPoint, issuer: x509.Name, issuer_key: str) -> DistributionPoint:
    named = [each for each in point.crl_issuer or () if isinstance(each, x509.DirectoryName)]
    return DistributionPoint(
        names=list_point_names(point, named[0].value if named else issuer),
        issuers=frozenset(map(normalize_general_name, named))
        if point.crl_issuer
        else frozenset({issuer_key}),
        elsewhere=bool(point.crl_issuer),
        reasons=ALL_REASONS if point.reasons is None else point.reasons & ALL_REASONS,
    )


def find_covered_reasons(
    each: RevocationList, certificate: Certificate, points: tuple[DistributionPoint, ...]
) -> _REASONS | str:
    """Return the reasons for which this list speaks of the certificate, or why it does not."""
    scope = each.scope
    if scope is not None and scope.only_contains_ca_certs and not certificate.is_ca:
        return "it covers authorities only"
    if scope is not None and scope.only_contains_user_certs and certificate.is_ca:
        return "it covers parties only"
    reasons = frozenset(
        reason for point in _match_points(each, points) for reason in point.reasons & each.reasons
    )
    return reasons or "it covers other distribution points"


def _match_points(each: RevocationList, points: tuple[DistributionPoint, ...]) -> Iterator[DistributionPoint]:
    for point in points:
        speaks = each.issuer_key in point.issuers and (each.indirect or not point.elsewhere)
        # RFC 5280 §6.3.3 (b) (2) (i): a point without a name is known by its issuer's.
        names = point.names or point.issuers
        if speaks and (not each.scope_names or each.scope_names & names):
            yield point
