"""Judges who signed a bundle of mappings, by the certificates that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final

from gateway.config import Settings
from gateway.errors import BUNDLE_FILE_WRONG, PUBLISHER_UNKNOWN, GatewayError
from gateway.hub.trust.trust_settings import load_certificates
from gateway.pki import Certificate

if TYPE_CHECKING:
    from gateway.hub.register import BundleFile

__all__ = [
    "PublisherRules",
    "check_bundle_period",
    "check_publisher",
    "check_unsigned",
    "load_publisher_rules",
]

_SIGNATURE: Final = "/MappingBundle/ds:Signature"
#: How far the clock of a publisher may be ahead of ours.
_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PublisherRules:
    """The certificates that may sign mappings, and whether mappings must be signed."""

    publishers: frozenset[Certificate] = frozenset()
    require_signature: bool = False


def load_publisher_rules(settings: Settings) -> PublisherRules:
    """Return who may publish mappings by the settings; raise GW801 or GW803 for a file of them."""
    found = load_certificates(settings.mappings.publishers, "mappings.publishers")
    return PublisherRules(frozenset(found), settings.mappings.require_signature)


def check_unsigned(rules: PublisherRules) -> None:
    """Raise GW514 where mappings must be signed, for some that cannot be or are not."""
    if rules.require_signature:
        detail = "the mappings are not signed, and mappings.require_signature asks for a signature"
        raise GatewayError(PUBLISHER_UNKNOWN, detail, _SIGNATURE)


def check_publisher(file: BundleFile, rules: PublisherRules, at: datetime) -> None:
    """Raise GW514 unless a publisher signed the file, or nobody did and nobody must.

    The certificate must be in its dates now: the time in a signature is what its signer says.
    """
    signer = file.signer
    if signer is None:
        check_unsigned(rules)
        return
    named = f"{signer.subject[:120]} ({signer.sha256[:16]})"
    if signer not in rules.publishers:
        detail = f"signed by {named}, which is not one of mappings.publishers"
        raise GatewayError(PUBLISHER_UNKNOWN, detail, f"{_SIGNATURE}/ds:KeyInfo")
    if not signer.not_before <= at <= signer.not_after:
        dates = f"{signer.not_before:%Y-%m-%d} to {signer.not_after:%Y-%m-%d}"
        detail = f"the certificate of {named} is valid from {dates}"
        raise GatewayError(PUBLISHER_UNKNOWN, detail, f"{_SIGNATURE}/ds:KeyInfo")
    if file.signed_at is None or file.signed_at > at + _SKEW:
        raise GatewayError(BUNDLE_FILE_WRONG, f"signed in the future, by {named}", _SIGNATURE)


def check_bundle_period(file: BundleFile, starts: datetime, zone: tzinfo) -> None:
    """Raise GW515 for mappings that would come into force before their first day or after their last.

    `zone` is that of the hub, where their days begin.
    """
    first, last = file.terms.find_start(zone), file.terms.find_end(zone)
    if first is not None and starts < first:
        detail = f"the mappings may be in force from {first.isoformat()} on, not from {starts.isoformat()}"
        raise GatewayError(BUNDLE_FILE_WRONG, detail, "/MappingBundle/From")
    if last is not None and starts >= last:
        detail = f"the mappings could be put into force until {last.isoformat()}"
        raise GatewayError(BUNDLE_FILE_WRONG, detail, "/MappingBundle/Until")
