"""`gateway evidence` from the shell, on what a delivering process has sealed and had stamped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from gateway.cli import main
from gateway.evidence import list_subject_leaves, record_evidence
from gateway.store import make_engine, read_transaction, time_stamps, write_transaction
from gateway.store.transitions import evidence
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.kit import tables
from tests.kit.gateway import RunningGateway
from tests.kit.house import START, authority, signer_named
from tests.kit.live import LiveHouse
from tests.kit.story import Story
from tests.kit.tsa import POLICY, Tsa
from tests.kit.waiting import until

Print = pytest.CaptureFixture[str]


@pytest.fixture
def tsa() -> Iterator[Tsa]:
    order = CertificateOrder(profile="time-stamping", days=3600)
    issued = issue_certificate(authority(), "CN=Stamps", START - timedelta(hours=1), order)
    made = Tsa(issued, lambda: datetime.now(UTC)).up()
    yield made
    made.down()


@pytest.fixture
def house(tmp_path: Path, sqlite_url: str, tsa: Tsa) -> LiveHouse:
    more = (
        f'[time_stamps]\nauthorities = ["http://127.0.0.1:9/none", "{tsa.url}"]\n'
        f'anchors = ["pki/tsa.pem"]\npolicy = "{POLICY}"\n'
    )
    made = LiveHouse(tmp_path, sqlite_url, more=more)
    (made.home / "pki" / "tsa.pem").write_bytes(authority().certificate.pem)
    return made


def recorded(house: LiveHouse, ago: timedelta = timedelta()) -> None:
    """Record three pieces of evidence about one message, and one about another."""
    engine = make_engine(house.database_url)
    at = datetime.now(UTC) - ago
    with write_transaction(engine) as conn:
        for number, kind in ((1, "forwarded"), (2, "forwarded"), (1, "sent"), (1, "closed")):
            record_evidence(conn, kind, "message", number, None, {"number": number}, at)
    engine.dispose()


def worked(house: LiveHouse) -> None:
    """Let a process deliver until a stamp is stored."""
    engine = make_engine(house.database_url)
    with RunningGateway(house.home, "work"):
        until(lambda: list_stamps(engine), every=0.1)
    engine.dispose()


def list_stamps(engine: Engine) -> list[Any]:
    with read_transaction(engine) as conn:
        return list(time_stamps.list_time_stamps(conn))


def said(capsys: Print, *words: str) -> tuple[int, Any]:
    """Return exit status and printed JSON of a verb."""
    capsys.readouterr()
    status = main(list(words))
    out = capsys.readouterr().out
    return status, json.loads(out) if out.startswith("{") else out


@pytest.mark.long
def test_evidence_is_sealed_stamped_checked_and_proved(house: LiveHouse, tsa: Tsa, capsys: Print) -> None:
    recorded(house)
    worked(house)
    home = ("--home", str(house.home))
    status, head = said(capsys, "evidence", "list", "--json", *home)
    assert (status, head["leaves"], head["signed"], head["authorities"]) == (0, 4, True, [tsa.url])
    assert head["root"] in said(capsys, "evidence", "list", *home)[1]
    status, found = said(capsys, "evidence", "check", "--json", *home)
    assert (status, found["leaves"], found["signed"], found["stamps"]) == (0, 4, 1, 1)
    assert (found["vouched"], found["stamped"], found["unsealed"]) == (4, 4, 1)
    told = said(capsys, "evidence", "check", *home)[1]
    assert told.startswith(
        "4 leaves under 1 heads, 1 not yet under a head: all digests match\n1 heads signed by the gateway"
    )

    proof, pki = house.home.parent / "proof.json", house.home / "pki"
    status, words = said(capsys, "evidence", "prove", "message", "1", "--to", str(proof), *home)
    assert (status, words) == (0, f"Wrote the proof of 3 leaves with 1 time stamp to {proof}.\n")
    assert said(capsys, "evidence", "prove", "message", "1", *home)[1] == json.loads(proof.read_text())
    # Without the home: whoever has the file and the two certificates can judge it.
    believed = ("--anchor", str(pki / "tsa.pem"), "--signer", str(pki / "hub.cert.pem"))
    status, judged = said(capsys, "evidence", "verify", str(proof), "--json", *believed)
    assert status == 0
    assert [one["kind"] for one in judged["leaves"]] == ["forwarded", "sent", "closed"]
    assert judged["signer"] == signer_named("hub").certificate.subject
    assert judged["stamps"][0]["policy"] == POLICY
    told = said(capsys, "evidence", "verify", str(proof), *believed)[1]
    assert "stamped at" in told
    assert "unproved" not in told
    for half, other in ((believed[:2], "signer"), (believed[2:], "anchor")):
        assert (
            f"(not verified: no --{other} was given)"
            in said(capsys, "evidence", "verify", str(proof), *half)[1]
        )
    # A proof is its own witness: whoever believes nobody is told nothing.
    assert main(["evidence", "verify", str(proof)]) == 2
    assert "GW808" in capsys.readouterr().err
    # Who kept it finds out when all of it was made anew.
    assert main(["evidence", "check", "--head", str(proof), *home]) == 0
    assert_not_believed(proof, pki, capsys)


def assert_not_believed(proof: Path, pki: Path, capsys: Print) -> None:
    for wrong in (("--anchor", str(pki / "hub.cert.pem")), ("--signer", str(pki / "ca.pem"))):
        assert main(["evidence", "verify", str(proof), *wrong]) == 1
        assert "GW205" in capsys.readouterr().err
    changed = json.loads(proof.read_text())
    changed["leaves"][0]["leaf"] = changed["leaves"][0]["leaf"].replace("forwarded", "forwarder")
    for text in (json.dumps(changed), "[]", "{}", "no JSON", '{"version":1}', "[" * 9999):
        proof.write_text(text)
        assert main(["evidence", "verify", str(proof), "--signer", str(pki / "hub.cert.pem")]) == 1
        assert "GW805" in capsys.readouterr().err


@pytest.mark.long
def test_check_says_that_stamping_is_stale(house: LiveHouse, capsys: Print) -> None:
    recorded(house, timedelta(hours=5))
    status, found = said(capsys, "check", "--json", "--home", str(house.home))
    assert (status, [one["id"] for one in found["problems"]]) == (1, ["GW804"])
    settings = house.home / "gateway.toml"
    settings.write_text(settings.read_text() + 'when_stale = "warn"\n')
    status, found = said(capsys, "check", "--json", "--home", str(house.home))
    assert (status, found["problems"]) == (0, [])
    assert any(warning.startswith("GW804") for warning in found["warnings"])


@pytest.mark.long
def test_evidence_is_sealed_at_once(house: LiveHouse, capsys: Print) -> None:
    for _ in range(251):
        recorded(house)
    home, kept = ("--home", str(house.home)), house.home.parent / "head.txt"
    told = said(capsys, "evidence", "seal", *home)
    assert told == (
        0,
        "1004 leaves have no head yet: a delivering process makes it in its turn, --now at once.\n",
    )
    assert said(capsys, "evidence", "prove", "message", "1", *home)[0] == 1
    # A head adds at most 1,000 leaves.
    status, told = said(capsys, "evidence", "seal", "--now", "--to", str(kept), "--json", *home)
    assert (status, told["before"], told["after"]) == (0, {"leaves": 0}, {"leaves": 1004})
    assert len(told["audit"]) == 2
    assert kept.read_text().splitlines()[:2] == ["hub/evidence", "1004"]
    status, found = said(capsys, "evidence", "check", "--head", str(kept), "--json", *home)
    assert (status, found["vouched"], found["unsealed"]) == (0, 1004, 0)
    assert said(capsys, "evidence", "prove", "message", "1", *home)[0] == 0
    # Nothing is new: nothing is changed, and the head is written all the same.
    kept.unlink()
    told = said(capsys, "evidence", "seal", "--now", "--to", str(kept), *home)
    assert told == (0, f"All 1004 leaves were sealed before: nothing was changed. The head is in {kept}.\n")
    assert kept.read_text().splitlines()[1] == "1004"


def test_nothing_is_sealed_without_the_key(house: LiveHouse, capsys: Print) -> None:
    recorded(house)
    (house.home / "pki" / "hub.key.pem").unlink()
    assert main(["evidence", "seal", "--now", "--home", str(house.home)]) == 1
    assert "GW803" in capsys.readouterr().err


def test_a_row_that_was_changed_by_sql_is_named(house: LiveHouse, capsys: Print) -> None:
    """The signed octets of a filing are as they were; only who filed it is another one."""
    home = ("--home", str(house.home))
    engine = make_engine(house.database_url)
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide("KPTA")
    status, report = said(capsys, "evidence", "check", "--json", *home)
    assert report["rows"]["differences"] == []
    assert report["rows"]["chosen"]["messages"] == {"compared": 1, "stored": 1}
    with write_transaction(engine) as conn:
        conn.execute(update(tables.messages).values(from_party="broker2"))
        conn.execute(update(tables.decisions).values(decision="REJECTED", number="C-1"))
    for rows in ((), ("--rows",)):
        status, report = said(capsys, "evidence", "check", "--json", *rows, *home)
        assert status == 1
        differences = report["rows"]["differences"]
        assert [each["table"] for each in differences] == ["messages", "decisions"]
        assert report["rows"]["different"] == 2
    assert main(["evidence", "check", *home]) == 1
    told = capsys.readouterr()
    assert "messages 1: its content is not what evidence row " in told.out
    assert "(1 of 1 messages, 1 of 1 cases, 0 of 0 requirements): 2 differences" in told.out
    assert "GW805 2 rows differ from the evidence; the first: " in told.err
    engine.dispose()


def test_a_proof_beside_a_changed_leaf_is_written_and_it_is_told(house: LiveHouse, capsys: Print) -> None:
    recorded(house)
    home, proof = ("--home", str(house.home)), house.home.parent / "proof.json"
    assert main(["evidence", "seal", "--now", *home]) == 0
    engine = make_engine(house.database_url)
    with write_transaction(engine) as conn:
        conn.execute(update(evidence).where(evidence.c.kind == "sent").values(data="[1]"))
    engine.dispose()
    assert main(["evidence", "prove", "message", "1", "--to", str(proof), *home]) == 1
    assert "GW805 the proof has only the hash of 1 leaf" in capsys.readouterr().err
    signer = str(house.home / "pki" / "hub.cert.pem")
    status, judged = said(capsys, "evidence", "verify", str(proof), "--json", "--signer", signer)
    assert (status, [each["kind"] for each in judged["leaves"]]) == (0, ["forwarded", "closed"])
    assert len(judged["withheld"]) == 1


def test_rows_are_compared_beside_a_leaf_with_other_fields(house: LiveHouse, capsys: Print) -> None:
    """Its hash is made anew, too: only its own fields show that it is none of the gateway."""
    engine = make_engine(house.database_url)
    Story(engine).submit()
    with write_transaction(engine) as conn:
        record_evidence(conn, "purged", "message", 1, None, {"digests": 1}, datetime.now(UTC))
        conn.execute(update(tables.messages).values(from_party="broker2"))
    assert main(["evidence", "check", "--home", str(house.home)]) == 1
    told = capsys.readouterr()
    assert "messages 1: its content is not what evidence row " in told.out
    assert "GW805 its data are not those of a leaf purged" in told.err
    engine.dispose()


def test_rows_are_compared_beside_evidence_that_is_broken(house: LiveHouse, capsys: Print) -> None:
    home = ("--home", str(house.home))
    engine = make_engine(house.database_url)
    story = Story(engine)
    story.submit()
    story.tick()
    with write_transaction(engine) as conn:
        broken = list_subject_leaves(conn, "case", story.case().id)[0].id
        conn.execute(update(evidence).where(evidence.c.id == broken).values(data="no JSON"))
        conn.execute(update(tables.messages).values(from_party="broker2"))
    status, report = said(capsys, "evidence", "check", "--json", *home)
    assert status == 1
    assert "leaves" not in report
    rows = {(each["table"], each["row"]) for each in report["rows"]["differences"]}
    assert {("evidence", str(broken)), ("messages", "1")} <= rows
    assert main(["evidence", "check", *home]) == 1
    told = capsys.readouterr()
    assert f"evidence {broken}: the data of a leaf of evidence is no JSON object" in told.out
    assert "messages 1: its content is not what evidence row " in told.out
    assert "all digests match" not in told.out
    assert "GW805 a leaf does not match its hash" in told.err
    engine.dispose()
