"""Homes for the conformance suite: its parties registered in an existing one, or a temporary hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.cli.home_folder import read_home_settings
from gateway.cli.registration import load_crls, register_certificate
from gateway.config import Settings
from gateway.errors import MISUSE, OUR_MISTAKE, GatewayError
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub import (
    CUSTOMS,
    RejectingComposer,
    build_engine,
    build_hub,
    get_current_time,
    list_own_periods,
    read_configured_lists,
    receive_parcel,
)
from gateway.message_model import PartyId
from gateway.operations import Act, DatabaseChange, load_unchecked_agreement
from gateway.pki import (
    Certificate,
    ListSuccession,
    read_certificate,
    read_revocation_lists,
    write_private_key,
)
from gateway.protocols import PROTOCOLS
from gateway.store import (
    NewAgencyRequest,
    NewCase,
    StateEvent,
    agency_requests,
    cases,
    fetched_lists,
    mark_new_store,
    messages,
    migrate_schema,
    parties,
    payloads,
    read_transaction,
    write_transaction,
)
from gateway.web import build_application
from gateway_conformance.hostile import (
    AGENCY,
    APPLICATION,
    LAW,
    MEMBERS,
    PARTY_TYPE,
    AttackerKit,
    PartnerFolder,
    WsgiTarget,
    make_partner_folder,
    read_attacker_kit,
)
from gateway_conformance.pki import (
    CertificateOrder,
    SandboxParty,
    issue_certificate,
    load_authority,
    make_sandbox,
)
from gateway_conformance.standard import InvitedGateway

#: The one item of the suite's case.
_ITEM: Final = 1
_CUSTOMS_NAME: Final = "Conformance suite, customs"
_HUB_ID: Final = PartyId("hub", PARTY_TYPE)
#: A suite makes a hub refuse more than partners do within an hour.
_SANDBOX: Final = """
[limits]
posted_refusals = 10000

[decryption.suite]
key = { file = "pki/hub-decrypts.key.pem" }
certificate = "pki/hub-decrypts.cert.pem"
"""
#: Tells the hub which address is its own.
_PUBLIC: Final = '[http]\npublic_url = "http://hub.suite.invalid"\n'


def invite_suite(settings: Settings, out: Path, act: Act | None = None) -> PartnerFolder:
    """Register the suite's parties and agreements in a sandbox home, and write the partner folder.

    The home's sandbox authority issues the certificates; a second call issues new ones. The suite is
    customs as well, where the home has none. One case with one application to the suite's agency is opened,
    about which the agency and customs may call. `act` names the inviting person for the audit log; None in
    a hub of our own.
    """
    at = get_current_time()
    authority = load_authority(settings.home_folder / "pki")
    gateway = read_own_gateway(settings, "ebms2")
    engine = build_engine(settings)
    try:
        with read_transaction(engine) as conn:
            crl = _find_newest_crl(settings, conn, authority.certificate.der)
            customs = _find_free_customs(settings, conn)
        features = [
            *(("customs",) if customs else ()),
            *(("public-url",) if settings.http.public_url else ()),
            *(("encryption",) if gateway.receiver is not None else ()),
        ]
        partner_folder = make_partner_folder(
            authority, gateway.certificates, gateway.ids, at, crl, features, gateway.receiver
        )
        # The folder is written first: registered parties without their keys would be useless.
        partner_folder.write_files(out)
        with write_transaction(engine, "conformance.invite") as conn:
            _register_suite_members(conn, partner_folder, authority.certificate, at)
            if customs:
                _register_suite_customs(conn, customs, partner_folder, at)
            if act is not None:
                _record_invitation(DatabaseChange(conn, settings, act, at), partner_folder, customs)
    finally:
        engine.dispose()
    _send_first_message(settings, read_attacker_kit(out))
    return partner_folder


def read_own_gateway(settings: Settings, protocol: str) -> InvitedGateway:
    """Return the hub of a home as the gateway that a suite tests; raise GW808 where it has no party id.

    Its certificates are the one with which it signs now, and the next one if there is one.
    """
    hub = build_hub(settings, RejectingComposer(), at_work=False)
    try:
        at = get_current_time()
        valid = {period.sha256 for period in list_own_periods(hub) if period.ends > at}
        certificates = [signer.certificate for signer in hub.signers if signer.certificate.sha256 in valid]
        receiver = hub.decryption_keys[0].certificate if hub.decryption_keys else None
        with read_transaction(hub.engine) as conn:
            ids = parties.list_identifiers(conn, settings.hub.party)
    finally:
        hub.close()
    if not ids:
        hub_party = settings.hub.party
        detail = f"{hub_party} has no party id: `gateway party add {hub_party} --role hub --id …`"
        raise GatewayError(MISUSE, detail, "hub.party")
    return InvitedGateway(
        certificates, ids, f"http://127.0.0.1:{settings.http.port}/msh/{protocol}", receiver
    )


@contextmanager
def open_throwaway_hub() -> Iterator[tuple[AttackerKit, WsgiTarget]]:
    """Provide a hub in a temporary home, in this process, and an attacker kit that it knows."""
    with tempfile.TemporaryDirectory(prefix="gateway-conformance-") as folder:
        home = Path(folder)
        settings = make_suite_home(home, _PUBLIC)
        invite_suite(settings, home / "partner")
        attacker_kit = read_attacker_kit(home / "partner")
        yield (
            attacker_kit,
            WsgiTarget(build_application(settings), attacker_kit.faces, "a hub in the same process"),
        )


def make_suite_home(home: Path, extra_settings: str = "") -> Settings:
    """Make keys, settings (plus `extra_settings`), database and register of a hub without other parties."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "gateway.toml").write_text(f'[hub]\nhome = "."\n{extra_settings}{_SANDBOX}', encoding="utf-8")
    began = get_current_time() - timedelta(minutes=1)
    sandbox = make_sandbox(home / "pki", [SandboxParty("hub", key_kind="rsa-2048")], began)
    _make_decryption_key(home / "pki", began)
    settings = read_home_settings(home)
    engine = build_engine(settings)
    try:
        migrate_schema(engine)
        mark_new_store(engine, began)
        with write_transaction(engine, "conformance.home") as conn:
            parties.register_party(conn, settings.hub.party, "Hub", "hub", began, [_HUB_ID])
            register_certificate(conn, settings.hub.party, sandbox.signers["hub"].certificate.der, began)
    finally:
        engine.dispose()
    return settings


def _make_decryption_key(folder: Path, at: datetime) -> None:
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    issued = issue_certificate(load_authority(folder), "CN=hub decrypts", at, order)
    write_private_key(folder / "hub-decrypts.key.pem", issued.key)
    (folder / "hub-decrypts.cert.pem").write_bytes(issued.certificate.pem)


def _find_newest_crl(settings: Settings, conn: Connection, authority_der: bytes) -> bytes | None:
    """Return the newest complete list (DER) of the home's sandbox authority, from a file or the register."""
    authority = read_certificate(authority_der)
    held = [*read_configured_lists(settings).values()]
    held += [row.der for row in fetched_lists.list_crls_in_force(conn)]
    lists = [
        revocation_list
        for data in held
        for revocation_list in read_revocation_lists(data)
        if revocation_list.base_number is None and revocation_list.scope is None
        if revocation_list.is_signed_by(authority)
    ]
    # Of two lists of the same second, the one in the register is the later one.
    return sorted(lists, key=lambda revocation_list: revocation_list.this_update)[-1].der if lists else None


def _register_suite_members(
    conn: Connection, partner_folder: PartnerFolder, authority: Certificate, at: datetime
) -> None:
    for member in MEMBERS:
        ids = [PartyId(f"suite-{member}", PARTY_TYPE)]
        parties.register_party(conn, f"suite-{member}", f"Conformance suite, {member}", "applicant", at, ids)
    for name, text in partner_folder.agreements.items():
        load_unchecked_agreement(conn, text, f"{name}.agreement.yaml", at)
    parties.register_party(conn, AGENCY, "Conformance suite, agency", "agency", at)
    owners = [("suite-a", certificate) for certificate in partner_folder.member_a_certificates]
    for party, issued in (
        *owners,
        ("suite-b", partner_folder.issued["b"]),
        (AGENCY, partner_folder.issued["agency"]),
    ):
        register_certificate(conn, party, issued.certificate.der, at)
    load_crls(conn, partner_folder.crl, ListSuccession((authority,), at))


def _find_free_customs(settings: Settings, conn: Connection) -> str:
    """Return the customs party of a home if it is not registered, or is the suite's; else an empty text.

    The suite never signs in the name of a customs party that is not its own.
    """
    party = settings.customs.party or CUSTOMS
    row = parties.find_party(conn, party)
    return party if row is None or row.name == _CUSTOMS_NAME else ""


def _register_suite_customs(
    conn: Connection, party: str, partner_folder: PartnerFolder, at: datetime
) -> None:
    parties.register_party(conn, party, _CUSTOMS_NAME, "customs", at)
    register_certificate(conn, party, partner_folder.issued["customs"].certificate.der, at)


def _record_invitation(change: DatabaseChange, partner_folder: PartnerFolder, customs: str) -> None:
    names = [*(f"suite-{member}" for member in MEMBERS), AGENCY, *([customs] if customs else ())]
    added = [
        issued_certificate.certificate.sha256
        for issued_certificate in (*partner_folder.member_a_certificates, *partner_folder.issued.values())
    ]
    after = {"parties": names, "certificates": sorted(set(added))}
    change.record_trust_change("parties of the conformance suite", after=after)


def _send_first_message(settings: Settings, attacker_kit: AttackerKit) -> None:
    """Open a case with an honest message of member A, with one application to the suite's agency."""
    hub = build_hub(settings, RejectingComposer(), at_work=False)
    try:
        with read_transaction(hub.engine) as conn:
            if agency_requests.find_by_number(conn, APPLICATION) is not None:
                return
        unit = attacker_kit.make_unit()
        answer = receive_parcel(hub, PROTOCOLS["ebms2"], attacker_kit.build_parcel(unit))
        with write_transaction(hub.engine, "conformance.application") as conn:
            message = messages.find_by_message_id(conn, "in", "suite-a", unit.message_id)
            if message is None:
                raise GatewayError(
                    OUR_MISTAKE, f"the suite's first message was refused: {answer.body[:300]!r}"
                )
            at = attacker_kit.get_current_time()
            _open_suite_case(conn, message.id, at)
    finally:
        hub.close()


def _open_suite_case(conn: Connection, message: int, at: datetime) -> None:
    """Open the case of a message with one item, for which the suite's agency must decide under one law."""
    new = NewCase(
        APPLICATION, "SUITE", "9", "suite-a", "suite-a", APPLICATION, message, detail={"items": [_ITEM]}
    )
    stored_case = cases.open_case(conn, new, at)
    case = stored_case.id
    digest = payloads.store_payload(conn, b"<nothing/>", at)
    request = NewAgencyRequest(case, APPLICATION, "1", AGENCY, "SUITE", 1, "SUITE", "1", digest, digest)
    agency_requests.insert_request(conn, replace(request, required=[(_ITEM, LAW)]))
    stored_rows = {
        "cases": digest_rows("cases", [stored_case.values]),
        "agency_requests": digest_rows("agency_requests", agency_requests.list_by_case(conn, case)),
    }
    data = {"number": APPLICATION, "declarant": "suite-a", "reference": APPLICATION, STORED: stored_rows}
    record_evidence(conn, "admitted", "case", case, None, data, at)
    cases.apply_event(conn, case, StateEvent("dispatch", at, AGENCY))
