"""Names in the normal form that is used for comparison, and addresses within networks."""

from __future__ import annotations

import ipaddress

from asn1crypto import x509 as asn1_x509
from cryptography import x509

__all__ = ["is_in_network", "list_point_names", "normalize_general_name", "normalize_name"]


def normalize_name(der: bytes) -> str:
    """Return the normal form of a directory name (RFC 4518); `der` is its encoding."""
    return str(asn1_x509.Name.load(der).hashable)


def normalize_general_name(name: x509.GeneralName) -> str:
    """Return the normal form of a name of any kind."""
    if isinstance(name, x509.DirectoryName):
        return normalize_name(name.value.public_bytes())
    return f"{type(name).__name__} {name.value}"


def list_point_names(
    point: x509.DistributionPoint | x509.IssuingDistributionPoint, issuer: x509.Name
) -> frozenset[str]:
    """Return the normal forms of the names of a distribution point of the lists of `issuer`."""
    if point.relative_name is not None:
        # RFC 5280 §4.2.1.13: the name is relative to the issuer of the list.
        return frozenset({normalize_name(x509.Name([*issuer.rdns, point.relative_name]).public_bytes())})
    return frozenset(normalize_general_name(name) for name in point.full_name or ())


def is_in_network(network: str, address: str) -> bool:
    """Return whether `address` is in `network`, both as text; false for different IP versions."""
    outer = ipaddress.ip_network(network, strict=False)
    inner = ipaddress.ip_address(address)
    return inner.version == outer.version and inner in outer
