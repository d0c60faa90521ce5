"""Distribution points: which lists a certificate sends one to, and for which reasons (RFC 5280 §6.3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from gateway.pki.certificates import Certificate, parsed_of
from gateway.pki.names import general_name_key, point_names
from gateway.pki.revocation import ALL_REASONS, RevocationList

__all__ = ["Point", "covered", "points_of"]

_REASONS = frozenset[x509.ReasonFlags]


@dataclass(frozen=True, slots=True)
class Point:
    """One distribution point: its names, who issues its lists, and the reasons they cover.

    ``elsewhere``: the certificate itself names the issuer of lists, who must speak for others;
    all names are in the normal form of RFC 4518.
    """

    names: frozenset[str]
    issuers: frozenset[str]
    elsewhere: bool
    reasons: _REASONS


def points_of(certificate: Certificate, issuer_key: str) -> tuple[Point, ...]:
    """Return the points of a certificate and, last, what its very issuer publishes of all reasons.

    Empty when every point is without name and issuer; without that last one when all name others.
    """
    own = Point(frozenset({issuer_key}), frozenset({issuer_key}), elsewhere=False, reasons=ALL_REASONS)
    if ExtensionOID.CRL_DISTRIBUTION_POINTS.dotted_string not in certificate.extensions:
        return (own,)
    parsed = parsed_of(certificate)
    value = parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    points = tuple(_point(each, parsed.issuer, issuer_key) for each in value)
    if all(each.elsewhere and issuer_key not in each.issuers for each in points):
        return points
    return (*points, own)


def _point(point: x509.DistributionPoint, issuer: x509.Name, issuer_key: str) -> Point:
    named = [each for each in point.crl_issuer or () if isinstance(each, x509.DirectoryName)]
    return Point(
        names=point_names(point, named[0].value if named else issuer),
        issuers=frozenset(map(general_name_key, named)) if point.crl_issuer else frozenset({issuer_key}),
        elsewhere=bool(point.crl_issuer),
        reasons=ALL_REASONS if point.reasons is None else point.reasons & ALL_REASONS,
    )


def covered(each: RevocationList, certificate: Certificate, points: tuple[Point, ...]) -> _REASONS | str:
    """Return the reasons for which this list speaks of the certificate, or why it does not."""
    scope = each.scope
    if scope is not None and scope.only_contains_ca_certs and not certificate.is_ca:
        return "it covers authorities only"
    if scope is not None and scope.only_contains_user_certs and certificate.is_ca:
        return "it covers parties only"
    reasons = frozenset(reason for point in _fitting(each, points) for reason in point.reasons & each.reasons)
    return reasons or "it covers other distribution points"


def _fitting(each: RevocationList, points: tuple[Point, ...]) -> Iterator[Point]:
    for point in points:
        speaks = each.issuer_key in point.issuers and (each.indirect or not point.elsewhere)
        # RFC 5280 §6.3.3 (b) (2) (i): a point without a name is known by its issuer's.
        names = point.names or point.issuers
        if speaks and (not each.scope_names or each.scope_names & names):
            yield point
