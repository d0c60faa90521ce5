"""A decision is confirmed by the officer's passkey over the decision itself, or by the client certificate."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.accounts import (
    Passkey,
    PasskeyUser,
    RelyingParty,
    build_assertion_options,
    build_registration_options,
    derive_document_challenge,
    verify_assertion,
    verify_confirmation,
    verify_registration,
)
from gateway.cases import compute_act_digest, encode_act, encode_batch
from gateway.cli import main
from gateway.cli.registration import load_crls
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.pki import Certificate, ListSuccession, Verdict
from gateway.store import (
    AccountCertificate,
    NewPasskey,
    accounts,
    officer_work,
    payloads,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.web.officers import SESSION_ONLY, Confirmation, ConfirmationMethod, Officer, OfficerDesk
from gateway.web.officers.act_confirmation import check_confirmation
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_revocation_list
from tests.kit.authenticator import Authenticator
from tests.kit.databases import BOTH
from tests.kit.house import START, authority
from tests.kit.officers import ConsoleStory

PARTY = RelyingParty("localhost", "http://localhost:8081")


class PasskeyStory(ConsoleStory):
    """Decisions are confirmed by passkeys, which officers have."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        super().__init__(engine, confirm=["passkey", "certificate"], **options)
        self.passkeys: dict[int, tuple[Authenticator, Any]] = {}

    def new_desk(self) -> OfficerDesk:
        return OfficerDesk(self.hub, self.settings, self.keys, PARTY)

    def officer(self, name: str, role: str = "officer", agency: str | None = None) -> Officer:
        made = super().officer(name, role, agency)
        device = Authenticator()
        known = register(device, made.account)
        row = NewPasskey(made.account, known.credential_id, known.public_key, 0, "desk", False)
        with write_transaction(self.house.engine) as conn:
            sessions.insert_passkey(conn, row, self.clock())
        self.passkeys[made.account] = (device, known)
        return made

    def confirm(self, officer: Officer, document: bytes, party: RelyingParty = PARTY) -> bytes:
        """Return the evidence of a passkey over a document, used at the address of a relying party."""
        device, known = self.passkeys[officer.account]
        return sign_document(device, known, document, party)


def register(device: Authenticator, account: int) -> Passkey:
    """Return the new passkey of a device for an account; it is not stored."""
    options = build_registration_options(PARTY, b"c" * 32, PasskeyUser(account, "kim", "kim"), ())
    return verify_registration(PARTY, b"c" * 32, device.create(options))


def sign_document(device: Authenticator, known: Passkey, document: bytes, party: RelyingParty) -> bytes:
    """Return the evidence of a passkey over a document."""
    device.host, device.origin = party.id, party.origin
    challenge = derive_document_challenge(document)
    options = build_assertion_options(party, challenge, (known.credential_id,))
    return verify_assertion(party, challenge, device.get(options), known).evidence


def make_passkey_confirmation(octets: bytes, *digests: str) -> Confirmation:
    return Confirmation(ConfirmationMethod.PASSKEY, octets, digests=digests)


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


@BOTH
def test_the_passkey_confirms_the_decision_itself(engine: Engine) -> None:
    story = PasskeyStory(engine)
    kim, lee = story.officer("kim"), story.officer("lee")
    seen = story.arrive()
    act = story.decision()
    document = encode_act(seen.number, seen.shown_digest, act)
    other = story.confirm(kim, encode_act(seen.number, seen.shown_digest, story.decision(unit="KGM")))
    for octets, problem in (
        (other, "GW707.*did not confirm this act"),
        (story.confirm(lee, document), "GW707.*not the officer's"),
        (b"{}", "GW707.*did not confirm this act"),
    ):
        with refused(problem):
            story.desk.perform_act(
                kim, seen.number, act, seen.shown_digest, make_passkey_confirmation(octets)
            )
    octets = story.confirm(kim, document)
    bent = json.loads(octets) | {"origin": "http://localhost:9999"}
    with refused("GW707"):
        said = make_passkey_confirmation(json.dumps(bent).encode())
        story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said)
    done = story.desk.perform_act(kim, seen.number, act, seen.shown_digest, make_passkey_confirmation(octets))
    assert done.state == "PERFORMED"
    # The evidence alone proves who confirmed what.
    with read_transaction(engine) as conn:
        leaf = [row for row in list_subject_leaves(conn, "request", seen.request.id) if row.kind == "act"][-1]
        kept = payloads.get_payload_octets(conn, json.loads(leaf.data)["confirmed"]["octets"])
        decided = payloads.get_payload_octets(conn, leaf.digest)
    assert decided == document
    credential = story.passkeys[kim.account][1].credential_id
    assert verify_confirmation(decided, kept).credential_id == credential
    # It confirms nothing else: the application is another one now.
    with refused("GW70[56]"):
        story.desk.perform_act(kim, seen.number, act, seen.shown_digest, make_passkey_confirmation(octets))


def test_a_key_that_is_not_registered_confirms_nothing(engine: Engine) -> None:
    """Neither as a passkey of its own nor under the name of the officer's passkey."""
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    seen = story.arrive()
    act = story.decision()
    device = Authenticator()
    document = encode_act(seen.number, seen.shown_digest, act)
    unknown = sign_document(device, register(device, kim.account), document, PARTY)
    credential = story.passkeys[kim.account][1].credential_id
    renamed = json.dumps(json.loads(unknown) | {"credential_id": credential}).encode()
    for octets in (unknown, renamed):
        with refused("GW707.*not the officer's"):
            story.desk.perform_act(
                kim, seen.number, act, seen.shown_digest, make_passkey_confirmation(octets)
            )


def test_a_passkey_confirms_at_the_address_of_the_console_only(engine: Engine) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    seen = story.arrive()
    act = story.decision()
    document = encode_act(seen.number, seen.shown_digest, act)
    no_passkeys = OfficerDesk(story.hub, story.settings, story.keys)
    for desk, party in (
        (story.desk, replace(PARTY, id="other.example")),
        (story.desk, replace(PARTY, origin="http://localhost:9999")),
        (no_passkeys, PARTY),
    ):
        said = make_passkey_confirmation(story.confirm(kim, document, party))
        with refused("GW707.*at another address"):
            desk.perform_act(kim, seen.number, act, seen.shown_digest, said)
    assert story.look().state == "ACKNOWLEDGED"


@pytest.mark.parametrize("does_approve", [False, True])
def test_a_session_alone_confirms_no_decision_where_a_passkey_is_demanded(
    engine: Engine, does_approve: bool
) -> None:
    """Neither the officer who decides alone nor the second one who approves may confirm less."""
    story = PasskeyStory(engine, four_eyes=does_approve)
    kim, lee = story.officer("kim", "approver"), story.officer("lee", "approver")
    seen = story.arrive()
    if does_approve:
        story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
        proposal = story.look().proposal
        assert proposal is not None
        with refused("GW707.*not by session"):
            story.desk.approve_proposal(
                lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
            )
    else:
        with refused("GW707.*not by session"):
            story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest, SESSION_ONLY)
    assert story.look().state == "ACKNOWLEDGED"


def test_what_takes_the_answer_is_undone_with_the_act(engine: Engine) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    seen = story.arrive()
    act = story.decision()
    octets = story.confirm(kim, encode_act(seen.number, seen.shown_digest, act))
    taken: list[bool] = []

    def take(conn: Any) -> bytes:
        accounts.update_account(conn, kim.account, display_name="Taken")
        taken.append(True)
        return b"{}" if len(taken) == 1 else octets

    said = replace(make_passkey_confirmation(b""), verify_answer=take)
    with refused("GW707"):
        story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said)
    with read_transaction(engine) as conn:
        row = accounts.find_by_id(conn, kim.account)
        assert row is not None
        assert row.display_name == "Kim"
    assert story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said).state == "PERFORMED"


def test_a_batch_is_confirmed_once(engine: Engine) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    seen = story.arrive()
    act = story.decision()
    digests = ("0" * 64, compute_act_digest(seen.number, seen.shown_digest, act))
    octets = story.confirm(kim, encode_batch(digests))
    with refused("GW707.*other acts"):
        said = make_passkey_confirmation(octets, "0" * 64)
        story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said)
    said = make_passkey_confirmation(octets, *digests)
    assert story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said).state == "PERFORMED"


def test_the_client_certificate_of_the_officer_confirms(engine: Engine) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    registered = bind(story, kim, issue()).sha256
    seen = story.arrive()
    act = story.decision()
    for shown in (None, "cd" * 32):
        said = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=shown)
        with refused("GW707.*not the officer's"):
            story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said)
    said = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=registered)
    assert story.desk.perform_act(kim, seen.number, act, seen.shown_digest, said).state == "PERFORMED"


def bind(story: ConsoleStory, officer: Officer, certificate: Certificate) -> Certificate:
    """Bind a client certificate to an officer's account, and return it."""
    row = AccountCertificate(
        certificate.sha256, str(certificate.subject), certificate.not_after, certificate.der
    )
    with write_transaction(story.house.engine) as conn:
        accounts.set_certificate(conn, officer.account, row, story.clock())
    return certificate


def issue(days: int = 30) -> Certificate:
    """Return a client certificate of a person."""
    order = CertificateOrder("tls", days=days)
    return issue_certificate(authority(), "CN=kim", START - timedelta(hours=1), order).certificate


@pytest.mark.refusal("an officer confirms by a certificate that is revoked, or has expired")
@pytest.mark.parametrize("reason", ["GW206", "GW207"])
@BOTH
def test_a_certificate_that_is_not_valid_any_more_confirms_nothing(engine: Engine, reason: str) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    certificate = bind(story, kim, issue(days=1))
    seen, act = story.arrive(), story.decision()
    confirmation = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=certificate.sha256)
    end_certificate(story, certificate, reason)
    for perform in (story.desk.perform_act, story.desk.propose_act):
        with refused(f"GW707.*not accepted: {reason}"):
            perform(kim, seen.number, act, seen.shown_digest, confirmation)
    assert story.look().state == "ACKNOWLEDGED"


@pytest.mark.parametrize("reason", ["GW206", "GW207"])
def test_a_certificate_that_is_not_valid_any_more_approves_nothing(engine: Engine, reason: str) -> None:
    story = PasskeyStory(engine, four_eyes=True)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    certificate = bind(story, lee, issue(days=1))
    seen = story.arrive()
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    confirmation = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=certificate.sha256)
    end_certificate(story, certificate, reason)
    with refused(f"GW707.*not accepted: {reason}"):
        story.desk.approve_proposal(
            lee, proposal.row.id, proposal.row.content, seen.shown_digest, confirmation
        )
    assert story.look().state == "ACKNOWLEDGED"


@pytest.mark.parametrize("when", ["after the verdict", "while the act is checked"])
@BOTH
def test_a_list_that_is_loaded_while_an_act_is_confirmed_counts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    certificate = bind(story, kim, issue())
    seen, act = story.arrive(), story.decision()
    confirmation = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=certificate.sha256)
    validate = story.hub.judge

    def validate_and_revoke(*values: Any) -> Verdict:
        verdict = validate(*values)
        end_certificate(story, certificate, "GW207")
        return verdict

    with monkeypatch.context() as meanwhile:
        if when == "after the verdict":
            meanwhile.setattr(story.hub, "judge", validate_and_revoke)
        else:
            meanwhile.setattr(
                story.desk, "_check_act", lambda *_: end_certificate(story, certificate, "GW207")
            )
        with refused("GW806.*confirm again"):
            story.desk.perform_act(kim, seen.number, act, seen.shown_digest, confirmation)
    with refused("GW707.*GW207"):
        story.desk.perform_act(kim, seen.number, act, seen.shown_digest, confirmation)
    assert story.look().state == "ACKNOWLEDGED"


def test_a_certificate_that_nobody_has_validated_confirms_nothing(engine: Engine) -> None:
    story = PasskeyStory(engine)
    kim = story.officer("kim")
    certificate = bind(story, kim, issue())
    confirmation = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=certificate.sha256)
    with read_transaction(engine) as conn, refused("GW707.*not validated"):
        check_confirmation(conn, kim.account, "0" * 64, b"", confirmation, PARTY)


def end_certificate(story: ConsoleStory, certificate: Certificate, reason: str) -> None:
    """Let a certificate expire (GW206), or load a list that revokes it (GW207)."""
    if reason == "GW206":
        story.clock.forward(days=1)
        return
    listed = make_revocation_list(authority(), [certificate.serial], START, START + timedelta(days=1))
    with write_transaction(story.house.engine) as conn:
        load_crls(conn, listed, ListSuccession((authority().certificate,), story.clock()))


def test_an_officer_without_a_certificate_confirms_by_none(engine: Engine) -> None:
    """Neither over a connection without a client certificate nor by the certificate of another officer."""
    story = PasskeyStory(engine)
    kim, lee = story.officer("kim"), story.officer("lee")
    with write_transaction(engine) as conn:
        accounts.update_account(conn, lee.account, certificate_sha256="cd" * 32)
    seen = story.arrive()
    for shown in (None, "cd" * 32):
        said = Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=shown)
        with refused("GW707.*not the officer's"):
            story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest, said)
    assert story.look().state == "ACKNOWLEDGED"


def test_the_approver_confirms_what_was_proposed(engine: Engine) -> None:
    story = PasskeyStory(engine, four_eyes=True)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    seen = story.arrive()
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    document = encode_act(seen.number, proposal.row.shown_sha256, proposal.act)
    said = make_passkey_confirmation(story.confirm(lee, document))
    done = story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, seen.shown_digest, said)
    assert done.state == "PERFORMED"


def test_the_proofs_of_an_application_are_verified_by_a_verb(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = PasskeyStory(engine, four_eyes=True)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    seen = story.arrive()
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    said = make_passkey_confirmation(
        story.confirm(lee, encode_act(seen.number, proposal.row.shown_sha256, proposal.act))
    )
    story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, seen.shown_digest, said)
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    assert main(["agency", "acts", seen.number, "--home", str(tmp_path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["officer"], row["confirmed"], row["approver"]) == ("kim", "session", "lee")
    assert row["approval"] == "passkey, proof right"
    assert row["decided"]["decisions"][0]["decision"] == "APPROVED"
    other = story.confirm(lee, b"another document")
    with write_transaction(engine) as conn:
        kept = payloads.store_payload(conn, other, story.clock())
        act = officer_work.find_act(conn, row["act"])
        assert act is not None
        bent = dict(act.approver_confirmation) | {"octets": kept}
        officer_work.change_act(conn, act.id, "PERFORMED", "PERFORMED", approver_confirmation=bent)
    assert main(["agency", "acts", seen.number, "--home", str(tmp_path)]) == 1
    assert "proof WRONG" in capsys.readouterr().out
    assert main(["agency", "acts", "A1", "--home", str(tmp_path)]) != 0
