"""Registers certificates, agreements and revocation lists of parties, for verbs and the demo."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection

from gateway.agreements import PMode, RegisteredParty, list_certificate_uses, read_cpa
from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError, raise_resource_problem
from gateway.hub import (
    LoadedRevocationData,
    Recognizer,
    load_recognition_policy,
    load_register_snapshot,
    load_trust_store,
    read_configured_lists,
    validate_new_certificate,
)
from gateway.message_model import PartyId
from gateway.pki import (
    PATH_RULES,
    Certificate,
    CertificateRules,
    CertificateUse,
    CertificateValidator,
    ListOrigin,
    ListSuccession,
    RevocationData,
    RevocationList,
    read_certificate,
    read_certificates,
    read_revocation_lists,
    split_revocation_lists,
)
from gateway.store import CertificateRow, NewCertificate, NewRevocationList, fetched_lists, parties, payloads
from gateway.wire import describe_unclear_id, find_unclear_character

#: The permitted uses of a party's certificate, by the value of ``--use``.
USES = {
    "signing": CertificateUse.SIGNING,
    "encryption": CertificateUse.ENCRYPTION,
    "tls": CertificateUse.TLS_CLIENT,
}


def read_party_id(text: str) -> PartyId:
    """Return the party id of ``TYPE|VALUE`` or of a bare value."""
    id_type, bar, value = text.rpartition("|")
    return PartyId(value, id_type if bar else None)


#: Steps of a path that every browser resolves (RFC 3986 §5.2.4), also where they are escaped.
_DOT_SEGMENTS: Final = (".", "..")


def check_clear_name(name: str, ids: Iterable[PartyId] = ()) -> None:
    """Raise GW808 for a name or id of a new party or person that looks like that of another one.

    Also raises GW808 for a name that cannot stand in the address of a page.
    """
    for text in (name, *(part for identifier in ids for part in (identifier.value, identifier.type or ""))):
        character = find_unclear_character(text)
        if character is not None:
            raise GatewayError(MISUSE, describe_unclear_id(character))
        if text in _DOT_SEGMENTS:
            detail = f"{text!r} alone is no name: in an address it is a step to another page"
            raise GatewayError(MISUSE, detail)


def make_certificate_row(
    certificate: Certificate,
    use: str = "signing",
    starts: datetime | None = None,
    ends: datetime | None = None,
) -> NewCertificate:
    """Return a certificate as a row of the register."""
    return NewCertificate(
        sha256=certificate.sha256,
        use=use,
        subject=certificate.subject,
        issuer=certificate.issuer,
        serial=str(certificate.serial),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        der=certificate.der,
        valid_from=starts,
        valid_until=ends,
    )


def register_certificate(conn: Connection, party: str, content: bytes, now: datetime) -> None:
    """Register a party's signing certificate (PEM or DER) unvalidated; each message validates it."""
    parties.add_certificate(conn, party, make_certificate_row(read_certificate(content)), now)


def demand_usable_certificate(
    settings: Settings,
    conn: Connection,
    certificate: Certificate,
    use: str,
    location: str,
    now: datetime,
    use_starts_at: datetime | None = None,
) -> None:
    """Raise the verdict on a certificate unless it is valid `now`, and when its use starts, if that is later.

    `use` is one of `USES`; `location` names the certificate in the problem.
    """
    moments = (now, use_starts_at or now)
    trust = load_trust_store(settings)
    recognizer = Recognizer(load_recognition_policy(settings))
    recognizer.reload_lists(conn)
    revocation_data = read_hub_revocations(settings, conn, trust.policy.certificates)
    validator = CertificateValidator(trust, revocation_data, examine=recognizer)
    validate_new_certificate(certificate, USES[use], validator, trust, *moments, location, recognizer)


def read_hub_revocations(settings: Settings, conn: Connection, rules: CertificateRules) -> RevocationData:
    """Return the revocation data of a hub: from the settings, loaded by operators, and fetched.

    Raises GW803 for a file of the settings that cannot be read, GW208 for one without lists.
    """
    files = read_configured_lists(settings).values()
    register = load_register_snapshot(conn)
    return LoadedRevocationData().reload_revocations(conn, files, register.crls, register.fetched, rules)


def read_lists_not_loaded(settings: Settings, conn: Connection) -> dict[RevocationList, ListOrigin]:
    """Return the revocation lists in force that no operator loaded, each with the place where it lies.

    Fetched ones that cannot be read any more are left out. Raises GW803 for a file of the settings that
    cannot be read, GW208 for one without lists.
    """
    origins: dict[RevocationList, ListOrigin] = {}
    for row in fetched_lists.list_in_force(conn):
        if row.kind in ("crl", "delta"):
            origin = ListOrigin(f"from source {row.source}", f"forget source {row.source}")
            try:
                lists = read_revocation_lists(payloads.get_payload_octets(conn, row.sha256))
                origins |= dict.fromkeys(lists, origin)
            except GatewayError as unreadable:
                raise_resource_problem(unreadable)
    for path, octets in read_configured_lists(settings).items():
        origin = ListOrigin(f"in pki.crls ({path})", "take that file out of pki.crls")
        origins |= dict.fromkeys(read_revocation_lists(octets), origin)
    return origins


@dataclass(frozen=True, slots=True)
class LoadedList:
    """A revocation list that an operator loaded: `is_new` here, `is_in_force` now, the lists it `replaces`.

    The replaced lists are named by their SHA-256. `is_used_again`: the list was stored already, and out of
    force. `repeated_by`: the place of a list that was not loaded and that decides instead of this list.
    """

    issuer: str
    sha256: str
    is_delta: bool
    is_new: bool
    is_in_force: bool
    is_used_again: bool
    replaces: tuple[str, ...]
    repeated_by: ListOrigin | None = None


@dataclass(frozen=True, slots=True)
class WithdrawnList:
    """A loaded list that was put out of force; `crl` is None where it cannot be read any more.

    `origin`: where it is in force still, without having been loaded.
    """

    sha256: str
    crl: RevocationList | None
    origin: ListOrigin | None = None

    @property
    def description(self) -> str:
        """Return the words for this list in a sentence."""
        if self.crl is None:
            return f"the list {self.sha256}, which cannot be read,"
        return (
            f"the list{' of changes' if self.crl.base_number is not None else ''} of {self.crl.issuer[:120]}"
        )


def list_trusted_authorities(settings: Settings, conn: Connection, at: datetime) -> tuple[Certificate, ...]:
    """Return the authorities of the settings, and those of bridges and trusted lists in force."""
    trust = load_trust_store(settings)
    recognizer = Recognizer(load_recognition_policy(settings))
    recognizer.reload_lists(conn)
    stores = (trust, *recognizer.list_trust_stores(trust, at))
    return tuple(dict.fromkeys(each for store in stores for each in (*store.anchors, *store.intermediates)))


_NO_ORIGINS: Final[Mapping[RevocationList, ListOrigin]] = MappingProxyType({})


def load_crls(
    conn: Connection,
    content: bytes,
    succession: ListSuccession,
    origins: Mapping[RevocationList, ListOrigin] = _NO_ORIGINS,
) -> list[LoadedList]:
    """Store lists (DER or PEM) in the register, each in place of those that it repeats.

    `origins` has the lists in force that were not loaded. Raises GW208 for a list that is not understood, is
    not in force at this time or is signed by no known authority, and for a list whose number contradicts a
    list in force.
    """
    in_force: dict[str, list[RevocationList]] = {}
    loaded = []
    for crl in read_revocation_lists(content):
        issuer = _compute_issuer_digest(crl)
        if issuer not in in_force:
            in_force[issuer] = _read_lists_in_force(conn, issuer)
        for each, origin in origins.items():
            succession.check_order(crl, [each], origin)
        loaded_list = _load_crl(conn, crl, in_force[issuer], succession)
        loaded.append(replace(loaded_list, repeated_by=_find_deciding_origin(crl, succession, origins)))
    digests = {crl.sha256 for lists in in_force.values() for crl in lists}
    # A later list of the same file may have replaced an earlier one.
    return [
        replace(each, is_in_force=is_in_force, is_used_again=each.is_used_again and is_in_force)
        for each in loaded
        for is_in_force in [each.sha256 in digests]
    ]


def _find_deciding_origin(
    crl: RevocationList, succession: ListSuccession, origins: Mapping[RevocationList, ListOrigin]
) -> ListOrigin | None:
    """Return the place of a fresh list that decides instead of `crl`; None if there is none."""
    if crl in origins:
        return None
    return next(
        (
            origin
            for each, origin in origins.items()
            if each.is_fresh(succession.at, succession.max_age)
            and succession.repeats_list(each, crl)
            and not succession.repeats_list(crl, each)
        ),
        None,
    )


def _load_crl(
    conn: Connection, crl: RevocationList, in_force: list[RevocationList], succession: ListSuccession
) -> LoadedList:
    """Store a list in the register and update the `in_force` lists of its issuer; return the change.

    Raises GW208 for a list that is not valid, or whose number contradicts a list in force.
    """
    succession.check_list(crl)
    issuer, at = _compute_issuer_digest(crl), succession.at
    other_lists, was_in_force = [each for each in in_force if each != crl], crl in in_force
    succession.check_order(crl, other_lists)
    repeated_lists = [each for each in other_lists if succession.repeats_list(crl, each)]
    is_older_list = any(
        succession.repeats_list(each, crl) for each in other_lists if each not in repeated_lists
    )
    replaced_lists = [crl] if is_older_list else repeated_lists
    new = NewRevocationList(issuer, crl.sha256, crl.this_update, crl.next_update, crl.der)
    is_new = fetched_lists.insert_crl(conn, new, at)
    fetched_lists.replace_crls(conn, issuer, [crl.sha256], None)
    fetched_lists.replace_crls(conn, issuer, [each.sha256 for each in replaced_lists], at)
    in_force[:] = [each for each in (*other_lists, crl) if each not in replaced_lists]
    replaces = tuple(each.sha256 for each in replaced_lists if each != crl)
    is_used_again = not (is_new or is_older_list or was_in_force)
    is_delta = crl.base_number is not None
    return LoadedList(crl.issuer, crl.sha256, is_delta, is_new, not is_older_list, is_used_again, replaces)


def withdraw_crls(
    conn: Connection,
    content: bytes,
    at: datetime,
    origins: Mapping[RevocationList, ListOrigin] = _NO_ORIGINS,
) -> list[WithdrawnList]:
    """Put loaded lists (DER or PEM) out of force, also such as cannot be read any more.

    `origins` has the lists in force that were not loaded. Raises GW808 for one that is not in force, or was
    not loaded.
    """
    withdrawn_lists, by_digest = [], {crl.sha256: origin for crl, origin in origins.items()}
    for encoded in split_revocation_lists(content):
        digest = hashlib.sha256(encoded).hexdigest()
        withdrawn = WithdrawnList(digest, _read_list_if_possible(encoded), by_digest.get(digest))
        issuer = fetched_lists.find_issuer_in_force(conn, withdrawn.sha256)
        if issuer is None and withdrawn.origin is not None:
            fault = (
                f"was not loaded, and is in force {withdrawn.origin.description}: {withdrawn.origin.remedy}"
            )
            raise GatewayError(MISUSE, f"{withdrawn.description} {fault}", "file")
        if issuer is None:
            raise GatewayError(MISUSE, f"{withdrawn.description} is not in force", "file")
        fetched_lists.replace_crls(conn, issuer, [withdrawn.sha256], at)
        withdrawn_lists.append(withdrawn)
    return withdrawn_lists


def _read_list_if_possible(encoded: bytes) -> RevocationList | None:
    try:
        return read_revocation_lists(encoded, PATH_RULES)[0]
    except GatewayError as unreadable:
        raise_resource_problem(unreadable)
        return None


def _read_lists_in_force(conn: Connection, issuer_key_sha256: str) -> list[RevocationList]:
    """Return the loaded lists in force of an issuer, without those that cannot be read any more."""
    lists: list[RevocationList] = []
    for row in fetched_lists.list_crls_in_force(conn, issuer_key_sha256):
        try:
            lists.extend(read_revocation_lists(row.der))
        except GatewayError as unreadable:
            raise_resource_problem(unreadable)
    return lists


def _compute_issuer_digest(crl: RevocationList) -> str:
    return hashlib.sha256(crl.issuer_key.encode()).hexdigest()


@dataclass(slots=True)
class PartyRegister:
    """The parties of an agreement as they are registered, and their certificates (DER) by SHA-256."""

    parties: dict[PartyId, RegisteredParty] = field(default_factory=dict)
    certificates: dict[str, bytes] = field(default_factory=dict)

    def add_certificate_files(self, paths: Iterable[Path | None]) -> tuple[str, ...]:
        """Add the first certificate of each file; return their SHA-256, the latest end first.

        A file that cannot be read is left out: `gateway check` judges it.
        """
        leaves = []
        for path in filter(None, paths):
            with contextlib.suppress(OSError, GatewayError):
                leaves.append(read_certificates(path.read_bytes())[0])
        leaves.sort(key=lambda leaf: leaf.not_after, reverse=True)
        self.certificates |= {leaf.sha256: leaf.der for leaf in leaves}
        return tuple(dict.fromkeys(leaf.sha256 for leaf in leaves))

    def add_certificate_rows(self, rows: Iterable[CertificateRow]) -> tuple[str, ...]:
        """Add certificates of the register; return their SHA-256."""
        octets = {row.sha256: row.der for row in rows}
        self.certificates |= octets
        return tuple(octets)


def collect_registered_parties(
    conn: Connection, settings: Settings, pmodes: Sequence[PMode], at: datetime
) -> PartyRegister:
    """Return the registered parties of P-Modes with the certificates that they may use at the time `at`.

    The certificates by which this hub signs, decrypts and connects come from its settings, else from the
    register.
    """
    register = PartyRegister()
    for ids in dict.fromkeys(ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party)):
        owner = next(filter(None, (parties.find_by_identifier(conn, identifier) for identifier in ids)), None)
        if owner is None:
            continue
        usable = [row for row in parties.list_certificates(conn, owner.id) if _is_usable_certificate(row, at)]
        digests_by_use = {
            use: register.add_certificate_rows(row for row in usable if row.use == use)
            for use in ("signing", "encryption", "tls")
        }
        party = RegisteredParty(
            owner.id,
            digests_by_use["signing"],
            digests_by_use["encryption"],
            next(iter(digests_by_use["tls"]), None),
        )
        if owner.id == settings.hub.party:
            party = _add_own_certificates(
                register, settings, party, [pmode for pmode in pmodes if pmode.from_party == ids]
            )
        register.parties |= dict.fromkeys(ids, party)
    return register


def _is_usable_certificate(row: CertificateRow, at: datetime) -> bool:
    begins, ends = row.valid_from or row.not_before, row.valid_until or row.not_after
    return bool(max(begins, row.not_before) <= at < min(ends, row.not_after))


def _add_own_certificates(
    register: PartyRegister, settings: Settings, party: RegisteredParty, sent_pmodes: Sequence[PMode]
) -> RegisteredParty:
    """Return the party of this hub with the certificates of its settings."""
    clients = register.add_certificate_files(_list_client_certificates(settings, sent_pmodes))
    servers = register.add_certificate_files([settings.http.tls_certificate])
    return RegisteredParty(
        party.name,
        register.add_certificate_files([settings.pki.signing_certificate]) or party.signing_certificates,
        register.add_certificate_files(section.certificate for section in settings.decryption.values())
        or party.encryption_certificates,
        next(iter(clients), party.client_certificate),
        next(iter(servers), None),
    )


def _list_client_certificates(settings: Settings, sent_pmodes: Sequence[PMode]) -> Iterator[Path | None]:
    """Yield the client certificates that the hosts of the partner get, as `[tls]` names them."""
    sections = {name.lower(): section for name, section in settings.tls.items()}
    for pmode in sent_pmodes:
        parts = urlsplit((pmode.endpoint or "").lower())
        host_names = (parts.netloc, parts.netloc.rpartition(":")[0], parts.hostname or "", "*")
        section = next((sections[name] for name in host_names if name in sections), None)
        yield section.certificate if section is not None else None


class MissingCertificate(NamedTuple):
    """A use for which the certificate of a party is only named in a document."""

    party: str
    use: str


def list_missing_certificates(octets: bytes, *, is_profile: bool = False) -> list[MissingCertificate]:
    """Return the certificates that a CPA (a CPP with `is_profile`) only names; other products need them."""
    return [
        MissingCertificate(party.name, use)
        for party in read_cpa(octets, "export", is_profile=is_profile).parties
        for holder, use in list_certificate_uses(party)
        if not holder.chain
    ]


def describe_missing_certificates(missing: Sequence[MissingCertificate]) -> str:
    """Return the sentence about certificates that are only named in a document."""
    listed = " and of ".join(f"{entry.party} for {entry.use}" for entry in missing)
    return f"Other products do not load it: there is no certificate of {listed}."
