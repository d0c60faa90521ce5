"""Loads the hub's trust from the settings: anchors, policies, signers of lists, publishers of mappings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config import Settings
from gateway.errors import (
    BUNDLE_FILE_WRONG,
    PUBLISHER_UNKNOWN,
    SETTINGS_WRONG,
    GatewayError,
    raise_resource_problem,
)
from gateway.hub.hub import Hub
from gateway.hub.trust.configured_secrets import read_key_file
from gateway.hub.trust.fetch_sources import list_source_certificates, read_fetch_sources
from gateway.hub.trust.trusted_lists import RecognitionPolicy
from gateway.pki import (
    AcceptanceTerms,
    Certificate,
    CertificateUse,
    CertificateValidator,
    Examine,
    ListSuccession,
    RevocationData,
    RevocationList,
    TrustPolicy,
    TrustStore,
    check_issuer_path,
    load_shipped_policy,
    may_have_signed,
    read_certificates,
    read_policy,
    validate_octets,
)
from gateway.store import UsagePeriod

if TYPE_CHECKING:
    from gateway.hub.register.bundle_file import BundleFile


def load_trust_store(settings: Settings) -> TrustStore:
    """Return the anchors, intermediates and policy by which certificates are validated."""
    anchors = load_certificates(settings.pki.anchors, "pki.anchors")
    below = (
        *load_certificates(settings.pki.intermediates, "pki.intermediates"),
        *list_source_certificates(read_fetch_sources(settings)),
    )
    return TrustStore(anchors, tuple(dict.fromkeys(below)), _load_trust_policy(settings))


def load_certificates(files: Sequence[Path], setting_name: str) -> tuple[Certificate, ...]:
    """Return the certificates in the files of a setting `setting_name`; raise GW801 or GW803 naming it."""
    return tuple(certificate for path in files for certificate in _read_certificate_file(path, setting_name))


def _read_certificate_file(path: Path, setting_name: str) -> tuple[Certificate, ...]:
    octets = read_key_file(path, setting_name)
    try:
        return read_certificates(octets)
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", setting_name) from None


def read_configured_lists(settings: Settings) -> dict[Path, bytes]:
    """Return the files of revocation lists that the settings name, each with its octets.

    Only the file of the default value may be absent. Raises GW803 for any other file that cannot be read: it
    may be the only list with a certain revocation.
    """
    lists = settings.pki.crls
    if "crls" not in settings.pki.model_fields_set:
        lists = tuple(path for path in lists if not _is_absent(path))
    return {path: read_key_file(path, "pki.crls") for path in lists}


def _is_absent(path: Path) -> bool:
    """Return whether nothing is at a path, not even a broken link; False if that cannot be determined."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        # Any other error is reported when the file is read.
        return False
    return False


def load_stamp_trust_store(settings: Settings) -> TrustStore | None:
    """Return the trust store of time-stamping authorities, None where they have no own anchors."""
    anchors = settings.time_stamps.anchors
    if not anchors:
        return None
    anchor_certificates = load_certificates(anchors, "time_stamps.anchors")
    return TrustStore(anchor_certificates, (), _load_trust_policy(settings))


def load_recognition_policy(settings: Settings) -> RecognitionPolicy:
    """Return the signers of the hub's own trusted list, and the levels that are accepted for each use."""
    signers = frozenset(load_certificates(settings.recognition.signers, "recognition.signers"))
    uses = {CertificateUse(name): frozenset(levels) for name, levels in settings.recognition.uses.items()}
    return RecognitionPolicy(signers, uses, settings.recognition.vouched)


def _load_trust_policy(settings: Settings) -> TrustPolicy:
    path = settings.pki.policy
    policy = read_policy(read_key_file(path, "pki.policy"), path.name) if path else load_shipped_policy()
    rule = settings.pki.revocation
    return replace(policy, revocation=rule) if rule else policy


def list_authority_periods(hub: Hub) -> tuple[UsagePeriod, ...]:
    """Return the validity of each anchor and intermediate; another one of the same name continues it."""
    trust = hub.judge.trust
    return tuple(
        UsagePeriod(
            certificate.subject,
            "authority",
            certificate.subject,
            certificate.sha256,
            certificate.not_before,
            certificate.not_after,
        )
        for certificate in (*trust.anchors, *trust.intermediates)
    )


def list_revocation_remarks(hub: Hub, at: datetime) -> tuple[str, ...]:
    """Return warnings for the operator about revocation lists that end, cannot be used, or cannot be read.

    Of lists that end, none counts that another one in hand repeats, nor the last one by a key of which no
    certificate is known any more; a fetched list that ends is reported elsewhere. The current register
    snapshot is used.
    """
    fetched = {sha256 for _, sha256 in hub.get_snapshot().fetched}
    max_list_age = hub.judge.trust.policy.crl_age_most
    remarks = []
    for revocation_list in _select_awaited_lists(hub.judge.revocations.lists, hub.judge.trust, at):
        ends = revocation_list.compute_expiry(max_list_age)
        if revocation_list.sha256 not in fetched and at > ends - (ends - revocation_list.this_update) / 4:
            verb = "ended" if at > ends else "ends"
            remarks.append(
                f"the revocation list of {revocation_list.issuer[:120]} {verb} at {ends:%Y-%m-%dT%H:%M:%SZ}"
            )
    for revocation_list in hub.judge.revocations.lists:
        name = f"the revocation list of {revocation_list.issuer[:120]} (SHA-256 {revocation_list.sha256})"
        number_fault = revocation_list.find_number_fault()
        if revocation_list.unusable_reason:
            remarks.append(f"{name} proves nothing: {revocation_list.unusable_reason}")
        elif number_fault:
            remarks.append(f"{name} clears no certificate, it only revokes: {number_fault}")
    for unreadable in hub.judge.revocations.unread:
        sha256 = hashlib.sha256(unreadable.octets).hexdigest()
        remarks.append(f"stored revocation data cannot be read and proves nothing: SHA-256 {sha256}")
    return tuple(dict.fromkeys(remarks))


def _select_awaited_lists(
    lists: Sequence[RevocationList], trust: TrustStore, at: datetime
) -> Iterator[RevocationList]:
    """Yield the lists whose successors are awaited."""
    succession = ListSuccession((*trust.anchors, *trust.intermediates), at)
    for crl in lists:
        successors = (each for each in lists if each != crl and succession.repeats_list(each, crl))
        if any(not succession.repeats_list(crl, each) for each in successors):
            continue
        namesakes = trust.index.find_by_name(crl.issuer_key)
        signers = [each for each in namesakes if may_have_signed(each, crl)]
        if not namesakes or any(at <= each.not_after for each in signers):
            yield crl


#: The owner name of our own certificates; no party of the register can have it.
OURSELVES = "(ourselves)"


def list_own_periods(hub: Hub) -> tuple[UsagePeriod, ...]:
    """Return the time in which each key of the hub signs, the current key first."""
    first, *rest = (signer.certificate for signer in hub.signers)
    next_key_start = hub.next_key_start
    ends = first.not_after if next_key_start is None else min(first.not_after, next_key_start)
    periods = [UsagePeriod(OURSELVES, "signing", first.subject, first.sha256, first.not_before, ends)]
    for certificate in rest:
        starts = (
            certificate.not_before if next_key_start is None else max(certificate.not_before, next_key_start)
        )
        periods.append(
            UsagePeriod(
                OURSELVES, "signing", certificate.subject, certificate.sha256, starts, certificate.not_after
            )
        )
    return tuple(periods)


def find_issuer_trust_store(hub: Hub, issuer: Certificate | None) -> TrustStore:
    """Return the first trust store with a path from an issuer to an anchor now, else the hub's own.

    Lists of authorities that a bridge or a trusted list in force admits are validated by these stores.
    """
    own_store, at = hub.judge.trust, hub.clock()
    if issuer is None:
        return own_store
    # The other stores are tried only when ours has no path: national lists are long.
    for store in chain((own_store,), hub.recognizer.list_trust_stores(own_store, at)):
        try:
            check_issuer_path(AcceptanceTerms(issuer, store, at))
        except GatewayError as no_path:
            raise_resource_problem(no_path)
        else:
            return store
    return own_store


def validate_new_certificate(
    certificate: Certificate,
    use: CertificateUse,
    judge: CertificateValidator,
    trust: TrustStore,
    now: datetime,
    starts: datetime,
    location: str,
    examine: Examine = validate_octets,
) -> None:
    """Raise the verdict on a certificate unless it is valid now and at the start of its use.

    `judge` validates by the `trust` store. A use that `starts` later is validated as of then without
    revocation, which cannot be known yet; the first message is validated with revocation. `examine`
    validates as the validator does.
    """
    if certificate.not_before <= now:
        judge(certificate.der, use, now).raise_unless_accepted(location)
    first = max(starts, certificate.not_before)
    if first > now:
        later = replace(trust, policy=replace(trust.policy, revocation="none"))
        examine(certificate.der, use, first, later, RevocationData()).raise_unless_accepted(location)


_SIGNATURE: Final = "/MappingBundle/ds:Signature"
#: How far the clock of a publisher may be ahead of the hub's.
_MAX_PUBLISHER_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PublisherRules:
    """The certificates that may sign mappings, and whether mappings must be signed."""

    publishers: frozenset[Certificate] = frozenset()
    require_signature: bool = False


def load_publisher_rules(settings: Settings) -> PublisherRules:
    """Return the publishers of mappings by the settings; raise GW801 or GW803 for a wrong file of them."""
    publishers = load_certificates(settings.mappings.publishers, "mappings.publishers")
    return PublisherRules(frozenset(publishers), settings.mappings.require_signature)


def check_unsigned_allowed(rules: PublisherRules) -> None:
    """Raise GW514 for mappings without a signature, if the rules require one."""
    if rules.require_signature:
        detail = "the mappings are not signed, and mappings.require_signature asks for a signature"
        raise GatewayError(PUBLISHER_UNKNOWN, detail, _SIGNATURE)


def check_publisher(file: BundleFile, rules: PublisherRules, at: datetime) -> None:
    """Raise GW514 unless a publisher signed the file; an unsigned one is allowed if the rules permit it.

    The certificate must be in its dates now: only its signer states the time in a signature.
    """
    signer = file.signer
    if signer is None:
        check_unsigned_allowed(rules)
        return
    signer_name = f"{signer.subject[:120]} ({signer.sha256[:16]})"
    if signer not in rules.publishers:
        detail = f"signed by {signer_name}, which is not one of mappings.publishers"
        raise GatewayError(PUBLISHER_UNKNOWN, detail, f"{_SIGNATURE}/ds:KeyInfo")
    if not signer.not_before <= at <= signer.not_after:
        dates = f"{signer.not_before:%Y-%m-%d} to {signer.not_after:%Y-%m-%d}"
        detail = f"the certificate of {signer_name} is valid from {dates}"
        raise GatewayError(PUBLISHER_UNKNOWN, detail, f"{_SIGNATURE}/ds:KeyInfo")
    if file.signed_at is None or file.signed_at > at + _MAX_PUBLISHER_SKEW:
        raise GatewayError(BUNDLE_FILE_WRONG, f"signed in the future, by {signer_name}", _SIGNATURE)


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
