from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.hub.register.trusted_register import load_register_snapshot
from gateway.message_model import PartyId
from gateway.store import (
    AuditEntry,
    AuditFilter,
    ListFilter,
    NewAgreement,
    NewCertificate,
    NewPMode,
    NewRevocationList,
    agreements,
    audit_log,
    fetched_lists,
    parties,
    read_transaction,
    register_version,
    write_transaction,
)
from tests.kit.audited import list_actions
from tests.kit.rows import NOW, later

BRN = PartyId("123-45-67890", "urn:kr:brn")
URI = PartyId("urn:broker:1")


def certificate(number=1, **changes):
    values = {
        "sha256": f"{number:064x}",
        "use": "signing",
        "subject": "CN=Broker",
        "issuer": "CN=Authority",
        "serial": "0a0b",
        "not_before": later(-1000),
        "not_after": later(1000 + number),
        "der": b"\x30\x82",
    }
    return NewCertificate(**(values | changes))


@pytest.fixture
def registry(engine):
    with write_transaction(engine) as conn:
        assert parties.register_party(conn, "broker", "Broker Ltd", "applicant", NOW, (BRN, URI))
        assert parties.register_party(conn, "importer", "Importer Ltd", "applicant", NOW)
        parties.add_certificate(conn, "broker", certificate(), NOW)
    return engine


def list_owners(conn: Connection, sha256: str) -> dict[str, str]:
    """Return which party may use a certificate, by its use."""
    rows = parties.list_certificate_terms(conn)
    return {row.use: row.party_id for row in rows if row.sha256 == sha256}


def test_a_party_is_found_by_its_names_and_certificates(registry):
    with read_transaction(registry) as conn:
        row = parties.find_party(conn, "broker")
        assert (row.name, row.role, row.status, row.created_at) == ("Broker Ltd", "applicant", "ACTIVE", NOW)
        assert parties.find_by_identifier(conn, BRN) == row
        assert parties.find_by_identifier(conn, URI) == row
        assert list_owners(conn, certificate().sha256) == {"signing": "broker"}
        assert set(parties.list_identifiers(conn, "broker")) == {BRN, URI}
        assert [found.id for found in parties.list_parties(conn)] == ["broker", "importer"]
        assert parties.list_parties(conn, "agency") == []


@pytest.mark.long
@pytest.mark.parametrize("wrong", [PartyId(BRN.value), PartyId(URI.value, "urn:kr:brn"), PartyId("", "")])
def test_an_identifier_counts_with_its_type_only(registry, wrong):
    with read_transaction(registry) as conn:
        assert parties.find_by_identifier(conn, wrong) is None


def test_a_certificate_counts_for_its_use_until_it_is_retired(registry):
    with write_transaction(registry) as conn:
        digest = certificate().sha256
        assert list_owners(conn, digest) == {"signing": "broker"}
        parties.add_certificate(conn, "broker", certificate(use="tls"), NOW)
        assert list_owners(conn, digest) == {"signing": "broker", "tls": "broker"}
        assert parties.retire_certificate(conn, digest)
        assert list_owners(conn, digest) == {}
        assert parties.list_certificates(conn, "broker") == []
        assert not parties.retire_certificate(conn, digest)
        parties.add_certificate(conn, "broker", certificate(), NOW)
        assert list_owners(conn, digest) == {"signing": "broker"}


def test_the_certificate_that_lasts_longest_comes_first(registry):
    with write_transaction(registry) as conn:
        parties.add_certificate(conn, "broker", certificate(2), NOW)
        parties.add_certificate(conn, "broker", certificate(3, use="tls"), NOW)
        found = parties.list_certificates(conn, "broker", "signing")
        assert [row.sha256 for row in found] == [certificate(2).sha256, certificate(1).sha256]
        assert len(parties.list_certificates(conn, "broker")) == 3


def test_adding_again_changes_nothing(registry):
    with write_transaction(registry) as conn:
        assert not parties.register_party(conn, "broker", "Other", "customs", later(1), (BRN,))
        parties.add_certificate(conn, "broker", certificate(), NOW)
        assert parties.find_party(conn, "broker").name == "Broker Ltd"


def test_names_and_certificates_belong_to_one_party(registry):
    with write_transaction(registry) as conn:
        with pytest.raises(GatewayError, match=r"GW302 .*another party"):
            parties.add_identifier(conn, "importer", BRN)
        with pytest.raises(GatewayError, match=r"GW209 .*another party"):
            parties.add_certificate(conn, "importer", certificate(), NOW)


@pytest.mark.parametrize(
    "act",
    [
        lambda conn: parties.add_identifier(conn, "nobody", BRN),
        lambda conn: parties.add_certificate(conn, "nobody", certificate(9), NOW),
        lambda conn: parties.set_party_status(conn, "nobody", "SUSPENDED"),
    ],
)
def test_a_party_that_is_not_registered_is_a_problem(registry, act):
    with write_transaction(registry) as conn, pytest.raises(GatewayError, match=r"GW302 .*nobody"):
        act(conn)


def test_a_suspended_party_is_still_found_as_what_it_is(registry):
    with write_transaction(registry) as conn:
        parties.set_party_status(conn, "broker", "SUSPENDED")
        assert parties.find_by_identifier(conn, BRN).status == "SUSPENDED"
        assert list_owners(conn, certificate().sha256) == {"signing": "broker"}
        assert parties.list_certificates_in_use(conn) == []


def _crl(number="1", seconds=0.0):
    return NewRevocationList("ab" * 32, number, later(seconds), later(seconds + 60), b"\x30")


def _agreement(**changes):
    values = {
        "id": "A-1",
        "kind": "pmode",
        "source": b"id: A-1\n",
        "valid_from": NOW,
        "valid_until": later(100),
    }
    return NewAgreement(**(values | changes))


def _mode(number=1, **changes):
    values = {
        "id": f"A-1/{number}",
        "protocol": "ebms2",
        "from_party": "broker",
        "to_party": "hub",
        "service": "urn:s",
        "action": f"Submit{number}",
        "parameters": {"signed": True},
    }
    return NewPMode(**(values | changes))


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        lambda conn: parties.register_party(conn, "new", "New", "agency", NOW),
        lambda conn: parties.add_identifier(conn, "importer", PartyId("x")),
        lambda conn: parties.add_certificate(conn, "broker", certificate(2), NOW),
        lambda conn: parties.retire_certificate(conn, certificate().sha256),
        lambda conn: parties.set_party_status(conn, "broker", "SUSPENDED"),
        lambda conn: parties.insert_mandate(conn, "broker", "importer", NOW),
        lambda conn: parties.revoke_mandate(conn, 1, NOW),
        lambda conn: agreements.activate_agreement(conn, _agreement(), [_mode()], NOW, "operator"),
        lambda conn: fetched_lists.insert_crl(conn, _crl(), NOW),
    ],
)
def test_whatever_changes_trust_raises_the_epoch(registry, change):
    with write_transaction(registry) as conn:
        before = register_version.get_register_version(conn)
        change(conn)
        assert register_version.get_register_version(conn) > before


def test_epochs_rise_one_by_one_and_apart(engine):
    with write_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 0
        assert [register_version.increment_register_version(conn) for _ in range(3)] == [1, 2, 3]
        assert register_version.increment_register_version(conn, "mappings") == 1
        assert register_version.get_register_version(conn) == 3


def may_file(conn, holder, principal, seconds):
    filing = load_register_snapshot(conn).make_filing_register(later(seconds))
    return filing.has_mandate(holder, principal)


def test_a_mandate_covers_its_time(registry):
    with write_transaction(registry) as conn:
        mandate = parties.insert_mandate(conn, "broker", "importer", later(10), later(20))
        for seconds, covered in ((9, False), (10, True), (19, True), (20, False)):
            assert may_file(conn, "broker", "importer", seconds) is covered
        assert not may_file(conn, "importer", "broker", 15)
        assert parties.revoke_mandate(conn, mandate, later(15))
        assert not parties.revoke_mandate(conn, mandate, later(16))
        assert may_file(conn, "broker", "importer", 14)
        assert not may_file(conn, "broker", "importer", 15)
        assert [row.id for row in parties.list_mandates_of(conn, "importer")] == [mandate]


@pytest.mark.parametrize("status", ["SUSPENDED", "RETIRED"])
def test_who_is_not_active_acts_for_nobody(registry, status):
    with write_transaction(registry) as conn:
        parties.insert_mandate(conn, "broker", "importer", NOW)
        assert may_file(conn, "broker", "importer", 1e6)
        parties.set_party_status(conn, "broker", status)
        assert not may_file(conn, "broker", "importer", 1e6)


def test_a_mandate_needs_both_parties(registry):
    with pytest.raises(IntegrityError), write_transaction(registry) as conn:
        parties.insert_mandate(conn, "broker", "nobody", NOW)


def test_the_modes_of_an_active_agreement_are_in_force(engine):
    with write_transaction(engine) as conn:
        agreements.activate_agreement(conn, _agreement(), [_mode(1), _mode(2)], NOW, "operator")
        assert len(agreements.list_active_pmode_texts(conn)) == 2
        row = agreements.find_agreement(conn, "A-1")
        assert (row.kind, row.source, row.loaded_by, row.status) == (
            "pmode",
            b"id: A-1\n",
            "operator",
            "ACTIVE",
        )
        mode = agreements.list_agreement_pmodes(conn, "A-1")[0]
        assert (mode.agreement_id, mode.id, mode.parameters) == ("A-1", _mode(1).id, '{"signed":true}')
        agreements.set_agreement_status(conn, "A-1", "SUSPENDED")
        assert agreements.list_active_pmode_texts(conn) == []
        with pytest.raises(GatewayError, match=r"GW301 .*nothing"):
            agreements.set_agreement_status(conn, "nothing", "ACTIVE")
        assert agreements.find_agreement(conn, "nothing") is None


def test_an_agreement_loaded_again_replaces_its_modes(engine):
    with write_transaction(engine) as conn:
        agreements.activate_agreement(conn, _agreement(), [_mode(1), _mode(2)], NOW, "operator")
        agreements.activate_agreement(conn, _agreement(source=b"new"), [_mode(3)], later(1), "another")
        assert [row.id for row in agreements.list_agreement_pmodes(conn, "A-1")] == [_mode(3).id]
        row = agreements.find_agreement(conn, "A-1")
        assert (row.loaded_by, row.loaded_at) == ("another", later(1))
        assert row.source == b"new"
        agreements.activate_agreement(conn, _agreement(), [], later(2), "another")
        assert agreements.list_agreement_pmodes(conn, "A-1") == []


def test_the_id_of_a_mode_is_unique_within_its_agreement(engine):
    with write_transaction(engine) as conn:
        agreements.activate_agreement(conn, _agreement(), [_mode(1)], NOW, "operator")
        agreements.activate_agreement(conn, _agreement(id="A-2"), [_mode(1)], NOW, "operator")
        found = [(row.agreement_id, row.id) for row in agreements.list_active_pmode_texts(conn)]
        assert found == [("A-1", _mode(1).id), ("A-2", _mode(1).id)]
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        agreements.activate_agreement(conn, _agreement(), [_mode(1), _mode(1)], NOW, "operator")


def test_lists_are_in_force_until_they_are_replaced(engine):
    other = NewRevocationList("cd" * 32, "1", NOW, None, b"\x31")
    with write_transaction(engine) as conn:
        assert fetched_lists.list_crls_in_force(conn) == []
        assert fetched_lists.insert_crl(conn, _crl("2", 20), NOW)
        assert fetched_lists.insert_crl(conn, _crl("1", 10), NOW)
        assert not fetched_lists.insert_crl(conn, _crl("2", 20), later(9))
        assert fetched_lists.insert_crl(conn, other, NOW)
        assert fetched_lists.insert_crl(conn, replace(_crl("0"), replaced_at=NOW), NOW)
        before = register_version.get_register_version(conn)
        fetched_lists.replace_crls(conn, "ab" * 32, ["1"], NOW)
        assert register_version.get_register_version(conn) > before
        in_force = fetched_lists.list_crls_in_force(conn)
        of_one = fetched_lists.list_crls_in_force(conn, "ab" * 32)
    assert [(row.issuer_key_sha256, row.crl_number, row.next_update) for row in in_force] == [
        ("cd" * 32, "1", None),
        ("ab" * 32, "2", later(80)),
    ]
    assert [row.crl_number for row in of_one] == ["2"]


def test_what_operators_do_is_kept(engine):
    with write_transaction(engine) as conn:
        done = AuditEntry(
            "lee", "operator", "party.suspend", "broker", before={"status": "ACTIVE"}, remote="::1"
        )
        audit_log.record_action(conn, done, NOW)
        audit_log.record_action(conn, AuditEntry("kim", "viewer", "queue.hold", "7", "refused"), later(1))
        newest, oldest = list_actions(conn)
        assert (newest.actor, newest.outcome, newest.before, newest.at) == ("kim", "refused", None, later(1))
        assert (oldest.before, oldest.remote, oldest.role) == ({"status": "ACTIVE"}, "::1", "operator")
        assert [row.actor for row in list_actions(conn, actor="lee")] == ["lee"]
        older = audit_log.search_actions(conn, AuditFilter(), ListFilter(after=newest.id))
        assert [row["id"] for row in older.rows] == [oldest.id]


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE parties SET status = 'GONE'",
        "DELETE FROM parties",
        "UPDATE party_ids SET party_id = 'nobody'",
        "UPDATE certificates SET party_id = 'nobody'",
        "UPDATE certificates SET use = 'anything'",
        "UPDATE certificates SET status = 'GONE'",
        "UPDATE agreements SET status = 'GONE'",
        "UPDATE agreements SET kind = 'handshake'",
        "UPDATE pmodes SET agreement_id = 'none'",
    ],
)
def test_the_database_itself_refuses_nonsense(registry, change):
    with write_transaction(registry) as conn:
        agreements.activate_agreement(conn, _agreement(), [_mode()], NOW, "operator")
    with pytest.raises(IntegrityError), write_transaction(registry) as conn:
        conn.execute(text(change))
