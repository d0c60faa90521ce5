"""Findings about a hub for `gateway check` and the log: keys, TLS, trusted and fetched data."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificates
from sqlalchemy import Connection, Engine

from gateway.agreements import PMode
from gateway.config import Settings
from gateway.delivery import HostLogins, PerHostConnector
from gateway.errors import (
    CERTIFICATE_EXPIRED,
    KEY_UNAVAILABLE,
    SETTINGS_WRONG,
    GatewayError,
    raise_resource_problem,
)
from gateway.evidence import list_subject_leaves, read_leaf_data
from gateway.hub import (
    EVERYBODY,
    ActiveTimetable,
    Hub,
    RegisterSnapshot,
    RejectingComposer,
    build_hub,
    build_hub_base,
    build_wire_limits,
    get_current_time,
    list_own_periods,
    load_active_rules,
    load_shipped_rules,
    load_trust_store,
    validate_new_certificate,
)
from gateway.message_model import MemoryBody
from gateway.pki import (
    CertificateUse,
    DecryptionKey,
    KeyPadding,
    RevocationData,
    TokenDecryptionKey,
    encrypt_key,
)
from gateway.protocols import Parcel, read_unagreed_algorithms
from gateway.store import messages, read_transaction
from gateway.web import build_terminator_settings, watch_tls_context
from gateway.wire import WireLimits

_EXPIRY_WARNING_TIME: Final = timedelta(days=30)


def check_transport(settings: Settings) -> None:
    """Raise GW801 or GW803 for a TLS secret or file that cannot be used, GW206 for an expired certificate."""
    at, terminator_settings = get_current_time(), build_terminator_settings(settings)
    if terminator_settings is not None:
        watch_tls_context(terminator_settings)
    PerHostConnector(settings.tls, lambda: (RevocationData(), at))
    HostLogins(settings.tls)
    settings.http.read_status_token()
    for setting, path in _list_tls_certificates(settings):
        ends = _read_certificate_end(path)
        if ends <= at:
            raise GatewayError(CERTIFICATE_EXPIRED, f"{path} ended at {ends:%Y-%m-%dT%H:%M:%SZ}", setting)


def find_transport_warnings(settings: Settings, register: RegisterSnapshot, at: datetime) -> Iterator[str]:
    """Yield warnings about unencrypted connections and expiring certificates of TLS."""
    http = settings.http
    if http.tls_certificate is None and not _is_local_host(http.host) and not http.proxies:
        yield (
            f"the gateway serves plain HTTP at {http.host}:{http.port}: set http.tls_certificate or "
            "http.proxies, or listen at 127.0.0.1"
        )
    yield from _find_mutual_tls_warnings(settings, register)
    yield from _find_shared_party_warnings(settings)
    for source, path in _list_tls_certificates(settings):
        if timedelta(0) < (ends := _read_certificate_end(path)) - at < _EXPIRY_WARNING_TIME:
            yield f"the certificate of {source} ends in {(ends - at).days} days, at {ends:%Y-%m-%dT%H:%M:%SZ}"
    for source, url in _list_called_addresses(settings, register):
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_local_host(parts.hostname or ""):
            yield f"{source} is called over plain HTTP at {parts.netloc[:100]}"


def _find_mutual_tls_warnings(settings: Settings, register: RegisterSnapshot) -> Iterator[str]:
    """Yield warnings about the setting http.mutual_tls and P-Modes that require mutual TLS.

    A warning is for a name in the setting that is no active party, and for required client certificates that
    no setting requests.
    """
    parties = {
        *register.by_id.values(),
        *(holder.party for holder in register.by_certificate.values()),
        EVERYBODY,
    }
    for name in settings.http.mutual_tls:
        if name not in parties:
            yield f"http.mutual_tls names {name[:80]}, which is not an active party: the entry has no effect"
    is_mutual_tls_agreed = any(mode.security.mutual_tls for mode in register.book.pmodes)
    if is_mutual_tls_agreed and settings.http.client_ca is None and not settings.http.tls_proxies:
        yield "P-Modes require mutual_tls, but without http.client_ca no client certificate is requested"


def _find_shared_party_warnings(settings: Settings) -> Iterator[str]:
    """Yield a warning about each party that the settings name for several agencies: its calls are refused."""
    agency_codes_by_party: dict[str, list[str]] = {}
    for code, section in settings.agency.items():
        agency_codes_by_party.setdefault(section.get_party(code), []).append(code)
    for party, agency_codes in agency_codes_by_party.items():
        if len(agency_codes) > 1:
            yield (
                f"party {party[:80]} is the party of several agencies ({', '.join(agency_codes)[:200]}): "
                "they are called, but what the party sends is refused (GW209)"
            )


def _list_called_addresses(settings: Settings, register: RegisterSnapshot) -> Iterator[tuple[str, str]]:
    """Yield the parties that we call, each with its URL."""
    for code, agency in settings.agency.items():
        if agency.endpoint is not None:
            yield f"agency.{code}", agency.endpoint
    if settings.payloads.s3.bucket and settings.payloads.s3.endpoint is not None:
        yield "payloads.s3", settings.payloads.s3.endpoint
    if settings.customs.endpoint is not None:
        yield "customs", settings.customs.endpoint
    partner_addresses: dict[tuple[str, str], None] = {}
    for mode in register.book.pmodes:
        for ids, url in ((mode.to_party, mode.endpoint), (mode.from_party, mode.reply_endpoint)):
            party = register.by_id.get(ids[0])
            if url is not None and party not in (None, settings.hub.party):
                partner_addresses[f"party {party}", url] = None
    yield from partner_addresses


def _list_tls_certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.http.tls_certificate is not None:
        yield "http.tls_certificate", settings.http.tls_certificate
    for name, section in settings.tls.items():
        if section.certificate is not None:
            yield f"tls.{name[:60]}.certificate", section.certificate


def _read_certificate_end(path: Path) -> datetime:
    """Return the earliest end of the certificates in a file, which may also contain the key."""
    try:
        certificates = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error}", "TLS") from None
    return min(certificate.not_valid_after_utc for certificate in certificates)


def _is_local_host(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_own_hub(settings: Settings) -> None:
    """Raise the problem of a hub that cannot be built, or whose own or next certificate is not valid."""
    with open_read_only_hub(settings) as hub:
        hub.refresh_snapshot()
        check_own_certificates(settings, hub)


def check_own_certificates(settings: Settings, hub: Hub) -> None:
    """Raise the problem of the own or the next certificate of a hub; its register is loaded."""
    hub.judge(hub.signer.certificate.der, CertificateUse.SIGNING, hub.clock()).raise_unless_accepted(
        "pki.signing_certificate"
    )
    _check_next_key(settings, hub)


@contextlib.contextmanager
def open_read_only_hub(settings: Settings, opened_engine: Engine | None = None) -> Iterator[Hub]:
    """Provide a read-only hub, and close it; see `build_hub_base` for `opened_engine`."""
    base = build_hub_base(settings, at_work=False, opened_engine=opened_engine)
    hub = build_hub(settings, RejectingComposer(), at_work=False, base=base)
    try:
        yield hub
    finally:
        hub.close()


def _check_next_key(settings: Settings, hub: Hub) -> None:
    """Raise GW801 for a next key that starts after a gap.

    Raises the verdict on its certificate if the certificate is not valid at the start of the key.
    """
    starts = hub.next_key_start
    if starts is None or starts <= hub.clock():
        return
    current_period, next_period = list_own_periods(hub)
    if current_period.ends < next_period.starts:
        end, start = current_period.ends.isoformat(), next_period.starts.isoformat()
        detail = f"no signing key is valid from {end} to {start}"
        raise GatewayError(SETTINGS_WRONG, detail, "pki.next.starts")
    trust, location = load_trust_store(settings), "pki.next.signing_certificate"
    certificate = hub.signers[1].certificate
    validate_new_certificate(
        certificate, CertificateUse.SIGNING, hub.judge, trust, hub.clock(), starts, location
    )


def find_algorithm_warnings(settings: Settings, hub: Hub, register: RegisterSnapshot) -> list[str]:
    """Return a warning for each P-Mode of ebMS 2.0 whose newest message or receipt is not signed as agreed.

    The hub refuses a signature that is weaker than agreed (GW204). So a message or receipt with such a
    signature was stored before these terms. The newest ones may be signed by terms that were agreed after
    `register` was read: then the register of now counts.
    """
    while warnings := [*_compare_algorithms(settings, hub, register)]:
        if hub.register.is_snapshot_current(register):
            break
        register = hub.refresh_snapshot()
    return warnings


def _compare_algorithms(settings: Settings, hub: Hub, register: RegisterSnapshot) -> Iterator[str]:
    """Yield a warning for each P-Mode whose newest message or receipt is not signed as the register says."""
    limits = build_wire_limits(settings.limits)
    for pmode in register.book.pmodes:
        security = pmode.security
        agreed_algorithms = (*security.signature_algorithms, *filter(None, (security.hash_function,)))
        sender, receiver = (register.by_id.get(ids[0]) for ids in (pmode.from_party, pmode.to_party))
        is_ours = sender == settings.hub.party
        partner, signed_unit_name = (receiver, "receipts") if is_ours else (sender, "messages")
        if pmode.protocol != "ebms2" or not agreed_algorithms or partner in (None, settings.hub.party):
            continue
        unagreed_algorithms: Sequence[str] = ()
        try:
            with read_transaction(hub.engine) as conn:
                unagreed_algorithms = (
                    _list_receipt_algorithms(conn, str(partner), pmode)
                    if is_ours
                    else _list_message_algorithms(conn, str(partner), pmode, limits)
                )
        except GatewayError as unread:  # a message may be purged
            raise_resource_problem(unread)
        if unagreed_algorithms:
            yield (
                f"party {str(partner)[:80]} signs {signed_unit_name} by "
                f"{', '.join(unagreed_algorithms)[:300]}, and P-Mode {pmode.id[:80]} names "
                f"{', '.join(agreed_algorithms)[:300]}: the next version refuses such {signed_unit_name}"
                ", and this one what is weaker (GW204); let it sign as agreed, or agree what it signs by"
            )


def _list_message_algorithms(
    conn: Connection, partner: str, pmode: PMode, limits: WireLimits
) -> tuple[str, ...]:
    """Return the algorithms of the newest message of a partner that are not agreed."""
    newest = messages.find_newest_of_pmode(conn, partner, pmode.id)
    if newest is None:
        return ()
    headers, octets = messages.load_parcel(conn, newest)
    return read_unagreed_algorithms(Parcel(headers, MemoryBody(octets)), pmode, limits)


def _list_receipt_algorithms(conn: Connection, partner: str, pmode: PMode) -> tuple[str, ...]:
    """Return the algorithms of the newest receipt of a partner that are not agreed, from its evidence.

    Raises GW805 for a broken leaf of it.
    """
    newest = messages.find_newest_receipted(conn, partner, pmode.id)
    leaves = () if newest is None else list_subject_leaves(conn, "delivery", newest)
    algorithms = [str(read_leaf_data(leaf).get("algorithms", "")) for leaf in leaves if leaf.kind == "NRR"]
    return tuple(algorithms[-1].split()) if algorithms else ()


#: What partners write: RSA-OAEP with SHA-256.
_OAEP: Final = KeyPadding("sha256", "sha256")
_PROBE: Final = b"gateway check"


def find_encryption_warnings(settings: Settings, hub: Hub, register: RegisterSnapshot) -> Iterator[str]:
    """Yield warnings about keys that decrypt, and about partners without a certificate to encrypt for."""
    at = hub.clock()
    encrypted_pmodes = [
        pmode for pmode in register.book.pmodes if pmode.encryption is not None and pmode.is_in_force(at)
    ]
    own_pmodes = [
        pmode for pmode in encrypted_pmodes if register.by_id.get(pmode.to_party[0]) == settings.hub.party
    ]
    usable = [key for key in hub.decryption_keys if key.certificate.not_after > at]
    if own_pmodes and not usable:
        key_fault = (
            "without a key" if not hub.decryption_keys else "and the certificate of each key has ended"
        )
        yield f"P-Mode {own_pmodes[0].id[:80]} agrees encrypted payloads, {key_fault} under [decryption]"
    if usable:
        ends = max(key.certificate.not_after for key in usable)
        if ends - at < _EXPIRY_WARNING_TIME:
            days = (ends - at).days
            yield f"the last certificate under [decryption] ends in {days} days, at {ends:%Y-%m-%dT%H:%M:%SZ}"
    yield from _find_token_warnings(usable)
    yield from _find_missing_certificate_warnings(
        [pmode for pmode in encrypted_pmodes if pmode not in own_pmodes], register, at
    )


def _find_token_warnings(keys: Iterable[DecryptionKey]) -> Iterator[str]:
    """Yield a warning for each token that does not decrypt what partners write today."""
    for key in keys:
        if isinstance(key, TokenDecryptionKey):
            try:
                key.decrypt_key(encrypt_key(key.certificate, _PROBE, _OAEP), _OAEP)
            except GatewayError as refused:
                warning = f"the key of {key.certificate.subject[:80]} cannot be used for payloads"
                yield f"{warning}: {refused.detail}"


def _find_missing_certificate_warnings(
    encrypted_pmodes: list[PMode], register: RegisterSnapshot, at: datetime
) -> Iterator[str]:
    """Yield a warning for each partner with agreed encryption that has no certificate to encrypt for."""
    warned_parties: set[str] = set()
    for pmode in encrypted_pmodes:
        party, pin = (
            register.by_id.get(pmode.to_party[0]),
            pmode.encryption.certificate if pmode.encryption else None,
        )
        if party is None or party in warned_parties:
            continue
        try:
            register.find_encryption_certificate(party, pin, at)
        except GatewayError as missing:
            warned_parties.add(party)
            yield f"P-Mode {pmode.id[:80]} agrees encrypted payloads: {missing.detail}"


#: File systems of one machine. Others, as those of a network, may keep copies: that cannot be seen from here.
_LOCAL_FILE_SYSTEMS: Final = frozenset(
    {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
)
_MOUNTS: Final = Path("/proc/self/mounts")


def find_payload_copy_warnings(settings: Settings, mounts: Path = _MOUNTS) -> Iterator[str]:
    """Yield a warning where messages have copies on several servers and large payloads have one only."""
    copies, payloads = settings.database.copies, settings.payloads
    if copies == 1 or payloads.s3.bucket:
        return
    file_system = _find_file_system(payloads.folder, mounts)
    if file_system in _LOCAL_FILE_SYSTEMS:
        yield (
            f"database.copies is {copies}, but payloads.folder is on a file system of this machine "
            f"({file_system}): large payloads have one copy. Use payloads.s3, or a shared folder "
            "that is replicated"
        )


def _find_file_system(folder: Path, mounts: Path) -> str:
    """Return the type of the file system of a folder, as Linux lists it; empty where that is not known."""
    real_path, best_mount_point, file_system = os.path.realpath(folder), "", ""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount_point, line_file_system = [*line.split(" "), "", ""][:3]
        # Later lines cover earlier ones.
        if _is_mounted_at(mount_point, real_path) and len(mount_point) >= len(best_mount_point):
            best_mount_point, file_system = mount_point, line_file_system
    return file_system


def _is_mounted_at(mount_point: str, path: str) -> bool:
    # Linux writes a blank as \040.
    mount_point = mount_point.replace("\\040", " ").rstrip("/")
    return path == mount_point or path.startswith(mount_point + "/")


def find_test_edition_warnings(conn: Connection, settings: Settings) -> list[str]:
    """Return a warning for calendars, and one for tables of needs, where test editions count."""
    rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
    timetable = ActiveTimetable(test_editions=settings.calendars.test_edition).read_timetable(conn)
    calendars = [calendar.label for calendar in timetable.calendars if calendar.is_test]
    calendars += [term.label for term in timetable.terms if term.is_test]
    index = rules.needs.get_index(test_editions=settings.needs.test_edition)
    tables = [table.label for table in index.tables if table.is_test]
    return [
        f"test editions are in force, which no authority has stated: {', '.join(sorted(labels))}; "
        f"`{name}.test_edition = false` switches them off"
        for name, labels in (("calendars", calendars), ("needs", tables))
        if labels
    ]
