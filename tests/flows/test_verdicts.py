"""What a verdict on a signer rests on is kept with it: judged again years later, it is the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from gateway.cases import AgencyCallback, SignedReply
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, list_verdict_references
from gateway.hub import apply_call_back
from gateway.message_model import ErrorSignal, Receipt
from gateway.pki import DEFAULT_POLICY, CertificateUse, KeySigner, RevocationData, TrustStore
from gateway.store import messages, read_transaction, verdicts, write_transaction
from gateway.wire import serialize_element
from gateway.xmlsec import sign_soap_envelope
from gateway_conformance.pki import issue_certificate, make_authority, make_revocation_list
from tests.flows.craft import supplement
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.house import EBMS2, START, House, Neighbour, authority, crl, signer_named
from tests.kit.story import Story
from tests.xmlsec.sample_messages import request as soap_request

DAY = timedelta(days=1)
Run = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def house(engine: Engine) -> House:
    house = House(engine)
    # As a hub at work has it; the process that judges apart is tried elsewhere.
    house.hub.judge.record_verdict = house.hub.verdicts.record_verdict
    return house


@pytest.fixture
def broker(house: House) -> Neighbour:
    return Neighbour("broker1", house.clock)


@pytest.fixture
def run(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')

    def run(*words: Any) -> tuple[int, list[dict[str, Any]]]:
        status = main(["evidence", "certificate", *map(str, words), "--json", "--home", str(tmp_path)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, [json.loads(line) for line in printed.out.splitlines()]

    return run


def told(house: House, broker: Neighbour, signer: KeySigner | None = None) -> str:
    """Send a message; return "" for a receipt, else the id of the problem."""
    context = broker.context()
    if signer is not None:
        context = replace(context, signers={"broker1": signer})
    unit = broker.message()
    pmode = next(one for one in context.agreements.pmodes if one.action == unit.action)
    unit_back = broker.open(house.post(EBMS2.seal((unit,), pmode, context))).unit
    if isinstance(unit_back, Receipt):
        return ""
    assert isinstance(unit_back, ErrorSignal)
    return unit_back.errors[0].description.split()[0]


def rows(house: House) -> list[Any]:
    with read_transaction(house.engine) as conn:
        return list(reversed(verdicts.list_verdicts(conn)))


def newest_message(house: House) -> Any:
    with read_transaction(house.engine) as conn:
        return messages.list_messages(conn, limit=1)[0]


def bring(house: House, octets: bytes) -> None:
    """Judge by another list from now on."""
    house.hub.judge.replace_trust(revocations=RevocationData([octets]))


@BOTH
def test_a_verdict_is_kept_once_and_every_message_names_it(house: House, broker: Neighbour) -> None:
    assert [told(house, broker) for _ in range(3)] == [""] * 3
    (row,) = rows(house)
    assert (row.leaf_sha256, row.use, row.status) == (
        signer_named("broker1").certificate.sha256,
        "signing",
        "valid",
    )
    assert row.judged_at == START
    with read_transaction(house.engine) as conn:
        leaves = [list_subject_leaves(conn, "message", one.id)[0] for one in messages.list_messages(conn)]
    assert [json.loads(leaf.data)["verdict"] for leaf in leaves] == [row.digest] * 3


def test_another_process_keeps_it_no_second_time_but_names_it(house: House, broker: Neighbour) -> None:
    told(house, broker)
    house.clock.forward(minutes=5)
    house.hub = house.new_hub()
    house.hub.judge.record_verdict = house.hub.verdicts.record_verdict
    assert told(house, broker) == ""
    (row,) = rows(house)
    with read_transaction(house.engine) as conn:
        (leaf,) = (
            one for one in list_subject_leaves(conn, "message", newest_message(house).id) if one.kind == "NRO"
        )
    assert json.loads(leaf.data)["verdict"] == row.digest


def test_revoked_and_over_it_is_judged_again_as_it_was(house: House, broker: Neighbour, run: Run) -> None:
    told(house, broker)
    good = newest_message(house)
    revoked = make_revocation_list(
        authority(), [signer_named("broker1").certificate.serial], START, START + 3000 * DAY
    )
    house.clock.forward(days=1)
    bring(house, revoked)
    assert told(house, broker) == "GW207"
    house.clock.forward(days=4000)
    octets = signer_named("broker1").certificate.der
    assert house.hub.judge(octets, CertificateUse.SIGNING, house.clock()).status == "invalid"
    status, (said,) = run(good.message_id)
    assert status == 0
    assert (said["for"], said["agree"], said["differences"]) == ("NRO", True, [])
    assert said["kept"]["status"] == said["again"]["status"] == "valid"
    assert datetime.fromisoformat(said["at"]) == START
    assert said["kept"]["mode"] == "anchor"
    # The refusals of a certificate of the register are kept too, and come out as refusals again.
    status, found = run("--certificate", signer_named("broker1").certificate.sha256)
    assert status == 0
    assert [one["kept"]["problem"] for one in found] == ["GW206", "GW207", None]
    assert [one["again"]["problem"] for one in found] == ["GW206", "GW207", None]


def test_a_changed_octet_is_found(house: House, broker: Neighbour, run: Run) -> None:
    told(house, broker)
    (row,) = rows(house)

    def octets(digest: str) -> bytes:
        held = select(tables.payloads.c.content).where(tables.payloads.c.sha256 == digest)
        with read_transaction(house.engine) as conn:
            return bytes(conn.execute(held).scalar_one())

    def write(digest: str, content: bytes) -> None:
        with write_transaction(house.engine) as conn:
            held = tables.payloads.c.sha256 == digest
            conn.execute(update(tables.payloads).where(held).values(content=content))

    document = json.loads(octets(row.digest))
    register = json.loads(octets(document["register"]))
    named = [row.digest, document["leaf"], *document["crls"], document["register"], register["policy"]]
    for digest in (*named, *register["anchors"]):
        kept = octets(digest)
        write(digest, bytes([kept[0] ^ 1]) + kept[1:])
        status, (said,) = run("--verdict", row.id)
        assert (status, said["agree"], said["problem"]) == (1, False, "GW805")
        assert digest in said["detail"]
        write(digest, kept)
    assert run("--verdict", row.id)[0] == 0


@pytest.mark.long
def test_a_changed_row_is_found(house: House, broker: Neighbour, run: Run) -> None:
    told(house, broker)
    (row,) = rows(house)
    for name, value in {
        "status": "invalid",
        "problem": "GW207",
        "use": "encryption",
        "judged_at": START + DAY,
        "valid_until": START + 9000 * DAY,
        "leaf_sha256": "0" * 64,
        "tolerated": True,
    }.items():
        for now in (value, getattr(row, name)):
            with write_transaction(house.engine) as conn:
                conn.execute(update(tables.verdicts).values({name: now}))
            status, (said,) = run("--verdict", row.digest)
            assert (status, said.get("problem")) == ((1, "GW805") if now == value else (0, None)), name


def test_a_row_without_its_leaf_of_evidence_is_found(house: House, broker: Neighbour, run: Run) -> None:
    told(house, broker)
    with write_transaction(house.engine) as conn:
        conn.execute(delete(tables.evidence).where(tables.evidence.c.kind == "verdict"))
    status, (said,) = run("--verdict", 1)
    assert (status, said["problem"]) == (1, "GW805")


@pytest.mark.long
def test_the_files_are_judged_alike_by_the_verb_for_everybody(
    house: House,
    broker: Neighbour,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    root = make_authority("CN=Root", START - DAY, path_length=1)
    sub = make_authority("CN=Sub", START - DAY, issuer=root)
    issued = issue_certificate(sub, "CN=Outland", START - DAY)
    lists = RevocationData([make_revocation_list(one, [], START, START + 30 * DAY) for one in (root, sub)])
    policy = replace(DEFAULT_POLICY, crl_age_most=timedelta(hours=72))
    trust = TrustStore((root.certificate, authority().certificate), (sub.certificate,), policy)
    house.hub.judge.replace_trust(trust, lists)
    assert house.hub.judge(issued.certificate.der, CertificateUse.SIGNING, START).status == "valid"
    (row,) = rows(house)
    out = tmp_path / "kept"
    status, (said,) = run("--verdict", row.id, "--out", out)
    assert (status, said["agree"]) == (0, True)
    assert len(said["kept"]["path"]) == 3
    folder = Path(said["folder"])
    document = json.loads((folder / "verdict.json").read_text())
    assert {one.name for one in folder.iterdir()} == {
        "verdict.json", *(name for names in document["files"].values() for name in names)
    }  # fmt: skip
    words = shlex.split(document["command"])[1:]
    monkeypatch.chdir(folder)

    def validated() -> dict[str, Any]:
        main([*words, "--json"])
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    again = validated()
    assert (again["verdict"], again["sha256"]) == ("valid", said["kept"]["path"])
    # It is the policy of then: by the one that is shipped the lists would do longer.
    late = (START + 4 * DAY).isoformat()
    words[words.index("--at") + 1] = late
    assert validated()["verdict"] == "indeterminate"


def test_of_certificates_nobody_knows_only_good_verdicts_are_kept(house: House, broker: Neighbour) -> None:
    unknown = issue_certificate(authority(), "CN=Nobody", START - DAY)
    stranger = issue_certificate(make_authority("CN=Else", START - DAY), "CN=Else", START - DAY)
    judge = house.hub.judge
    house.hub.refresh_snapshot()
    assert judge(stranger.certificate.der, CertificateUse.SIGNING, START).status == "invalid"
    assert judge(b"words", CertificateUse.SIGNING, START).status == "invalid"
    assert rows(house) == []
    assert judge(unknown.certificate.der, CertificateUse.SIGNING, START).status == "valid"
    assert [row.leaf_sha256 for row in rows(house)] == [unknown.certificate.sha256]


def test_a_refusal_is_kept_once_however_often_it_is_repeated(house: House, broker: Neighbour) -> None:
    bring(house, make_revocation_list(authority(), [signer_named("broker1").certificate.serial], START))
    house.hub.refresh_snapshot()
    bring(house, make_revocation_list(authority(), [signer_named("broker1").certificate.serial], START))
    for _ in range(3):
        assert told(house, broker) == "GW207"
        house.clock.forward(minutes=2)
    (row,) = rows(house)
    assert (row.status, row.problem) == ("invalid", "GW207")


@pytest.mark.long
def test_what_policy_tolerates_is_told_in_the_evidence(house: House, broker: Neighbour, run: Run) -> None:
    uses = {
        use: replace(rule, accept_indeterminate=use is CertificateUse.SIGNING)
        for use, rule in DEFAULT_POLICY.uses.items()
    }
    house.hub.refresh_snapshot()
    lax = TrustStore((authority().certificate,), (), replace(DEFAULT_POLICY, uses=uses))
    house.hub.judge.replace_trust(lax, RevocationData())
    assert told(house, broker) == ""
    (row,) = rows(house)
    assert (row.status, row.problem, row.tolerated) == ("indeterminate", "GW208", True)
    status, (said,) = run(newest_message(house).id)
    assert (status, said["for"], said["agree"]) == (0, "NRO", True)
    assert (said["kept"]["status"], said["kept"]["tolerated"], said["again"]["tolerated"]) == (
        "indeterminate", True, True
    )  # fmt: skip
    with read_transaction(house.engine) as conn:
        (leaf,) = list_subject_leaves(conn, "verdict", row.id)
    assert json.loads(leaf.data)["tolerated"] is True
    # Without the word of the policy it is what it is: not known.
    house.hub.judge.replace_trust(TrustStore((authority().certificate,)), RevocationData())
    assert told(house, broker) == "GW208"


def test_what_cannot_be_kept_is_believed_by_nobody(
    house: House, broker: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no database")

    monkeypatch.setattr(house.hub.verdicts, "_store_verdict", fail)
    with pytest.raises(OSError, match="no database"):
        told(house, broker)
    with read_transaction(house.engine) as conn:
        assert conn.execute(select(func.count()).select_from(tables.messages)).scalar_one() == 0
    monkeypatch.undo()
    assert told(house, broker) == ""
    assert len(rows(house)) == 1


def test_a_refusal_stands_though_it_cannot_be_kept(
    house: House, broker: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no database")

    house.hub.refresh_snapshot()
    monkeypatch.setattr(house.hub.verdicts, "_store_verdict", fail)
    bring(house, make_revocation_list(authority(), [signer_named("broker1").certificate.serial], START))
    assert told(house, broker) == "GW207"


def test_a_new_list_makes_a_new_row_and_each_message_its_own(
    house: House, broker: Neighbour, run: Run
) -> None:
    told(house, broker)
    first = newest_message(house)
    house.clock.forward(days=1)
    bring(house, make_revocation_list(authority(), [], START + DAY, START + 10 * DAY, number=2))
    assert told(house, broker) == ""
    house.clock.forward(days=1)
    bring(house, crl())
    assert told(house, broker) == ""
    old, new = rows(house)
    assert old.digest != new.digest
    assert [run(one)[1][0]["verdict"] for one in (first.id, newest_message(house).id)] == [old.id, old.id]


def test_what_is_not_there_is_said(run: Run, house: House) -> None:
    assert run("--verdict", "77") == (1, [])
    assert run("nobody@nowhere") == (1, [])
    assert run("1", "--verdict", "1") == (2, [])
    assert run() == (2, [])


def test_the_evidence_of_a_verdict_that_is_gone_is_missed(house: House, broker: Neighbour, run: Run) -> None:
    told(house, broker)
    with write_transaction(house.engine) as conn:
        conn.execute(delete(tables.verdicts))
    status, (said,) = run(newest_message(house).id)
    assert (status, said["for"], said["agree"], said["problem"]) == (1, "NRO", False, "GW805")


@pytest.mark.long
def test_a_case_rests_on_verdicts_on_broker_declarant_and_agencies(engine: Engine, run: Run) -> None:
    """The signer of the message, of the submission in it, and of what an agency said of it."""
    story = Story(engine)
    hub = story.hub
    hub.judge.record_verdict = hub.verdicts.record_verdict
    unit = story.submit()
    story.tick()
    agency = issue_certificate(authority(), "CN=NPQS", START - DAY).signer
    assert hub.judge(agency.certificate.der, CertificateUse.SIGNING, story.clock()).is_accepted
    said = AgencyCallback(story.notice("NPQS"), story.number_of("NPQS"))
    root = soap_request()
    sign_soap_envelope(root, agency, now=story.clock())
    apply_call_back(hub, "NPQS", said, SignedReply(serialize_element(root), agency.certificate.sha256))
    status, found = run(unit.message_id)
    kinds = [one["for"] for one in found]
    assert [kind for kind in kinds if not kind.startswith("reply")] == ["NRO", "admitted"]
    good = [one for one in found if one["agree"]]
    assert [one["for"] for one in good] == ["NRO", "admitted", "reply of NPQS"]
    assert good[-1]["certificate"] == agency.certificate.sha256
    # What the agencies of this story answered to our calls bears no signature: that is said too.
    assert status == 1
    assert {one["problem"] for one in found if one not in good} <= {"GW201", "GW105", "GW104"}


def test_each_message_of_a_case_rests_on_the_verdicts_on_its_own_signers(engine: Engine) -> None:
    story = Story(engine)
    story.hub.judge.record_verdict = story.hub.verdicts.record_verdict
    submitted = story.submit()
    story.tick()
    supplemented = story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    found = {}
    with read_transaction(engine) as conn:
        for unit in (submitted, supplemented):
            message = messages.find_by_message_id(conn, "in", "broker1", unit.message_id)
            assert message is not None
            found[unit.action] = [each.kind for each in list_verdict_references(conn, message)]
    assert found == {"Submit": ["NRO", "admitted"], "Supplement": ["NRO", "supplemented"]}


@pytest.mark.long
def test_a_reply_names_the_verdict_that_counted_though_another_came_between(engine: Engine, run: Run) -> None:
    """Lists come and go: what was said by the first ones again rests on the first verdict."""
    story = Story(engine)
    hub = story.hub
    hub.judge.record_verdict = hub.verdicts.record_verdict
    unit = story.submit()
    story.tick()
    agency = issue_certificate(authority(), "CN=NPQS", START - DAY).signer
    judged = []
    for lists in (crl(), make_revocation_list(authority(), [], START, START + 10 * DAY, number=2), crl()):
        hub.judge.replace_trust(revocations=RevocationData([lists]))
        story.clock.forward(minutes=1)
        assert hub.judge(agency.certificate.der, CertificateUse.SIGNING, story.clock()).is_accepted
        judged.append(hub.verdicts.find_verdict_digest(agency.certificate.sha256))
    assert judged[0] == judged[2] != judged[1]
    root = soap_request()
    sign_soap_envelope(root, agency, now=story.clock())
    spoken = SignedReply(serialize_element(root), agency.certificate.sha256)
    apply_call_back(hub, "NPQS", AgencyCallback(story.notice("NPQS"), story.number_of("NPQS")), spoken)
    _, found = run(unit.message_id)
    (said,) = (one for one in found if one["for"] == "reply of NPQS" and one["agree"])
    assert said["digest"] == judged[2]


def test_the_evidence_of_a_message_that_was_changed_is_found(
    house: House, broker: Neighbour, run: Run
) -> None:
    told(house, broker)
    with write_transaction(house.engine) as conn:
        named = tables.evidence.c.kind == "NRO"
        (data,) = conn.execute(select(tables.evidence.c.data).where(named)).scalars()
        other = json.dumps({**json.loads(data), "verdict": None})
        conn.execute(update(tables.evidence).where(named).values(data=other))
    status, (said,) = run(newest_message(house).id)
    assert (status, said["for"], said["problem"]) == (1, "NRO", "GW805")


def test_a_document_that_is_none_is_refused() -> None:
    from gateway.pki import load_material

    for content in (b"{", b"[]", b"{}"):
        with pytest.raises(GatewayError) as caught:
            load_material("0" * 64, lambda _digest, content=content: content)
        assert caught.value.problem.id == "GW805"
