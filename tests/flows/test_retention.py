"""Octets of ended cases are removed when nothing keeps them; rows, evidence and repeats stay right."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, update

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.errors import GatewayError
from gateway.evidence import (
    EvidenceReader,
    TrustedEvidence,
    list_subject_leaves,
    record_evidence,
    verify_all_evidence,
)
from gateway.hub import Hub
from gateway.hub.register import effective_pmodes
from gateway.message_model import ErrorSignal, Payload, Receipt, read_octets
from gateway.operations import Act, load_unchecked_agreement, purge_octets, read_retention_report
from gateway.store import messages, octet_removal, payloads, read_transaction, write_transaction
from gateway.web.case_bundle import make_case_bundle
from gateway.wire import serialize_element
from tests.flows.craft import reference, without_applications
from tests.flows.test_results import result_delivery
from tests.kit import tables
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH, in_turn
from tests.kit.house import signer_named
from tests.kit.kills import die_at
from tests.kit.odd_rows import add_later_term
from tests.kit.story import QUIET, Story

ACT = Act("retention purge", "Kim")


class Kept:
    """A story with an ended case, and the settings of retention."""

    def __init__(self, engine: Engine, home: Path) -> None:
        url = engine.url.render_as_string(hide_password=False)
        (home / "gateway.toml").write_text(
            f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n[retention]\noctets = "10d"\ndrafts = "10d"\n'
        )
        self.home = home
        self.engine = engine
        self.settings = read_home_settings(home)
        self.story = Story(engine, customs=False, agreement=QUIET)
        self.unit, self.parcel, self.receipt = self.file()

    def file(self, name: str = "") -> Any:
        """File a submission with a large attachment, which ends at once; return it and its receipt."""

        def change(root: Any) -> None:
            without_applications(root)
            if name:
                reference(name)(root)

        story = self.story
        root = story.submission(change)
        unit = story.broker.message("Submit", serialize_element(root))
        parcel = story.broker.seal(unit)
        answer = story.house.post(parcel)
        story.tick()
        assert story.case().state == "CLOSED"
        return unit, parcel, answer

    def remove_after_a_day(self) -> None:
        """Let the settings keep octets for a day only."""
        text = (self.home / "gateway.toml").read_text().replace('octets = "10d"', 'octets = "1d"')
        (self.home / "gateway.toml").write_text(text)
        self.settings = read_home_settings(self.home)

    def purge(self, **words: Any) -> Any:
        return purge_octets(self.engine, self.settings, ACT, now=self.story.clock(), **words)

    def list_bundle(self) -> dict[str, bytes]:
        """Return the files of the bundle of the case by name, for its applicant."""
        with read_transaction(self.engine) as conn:
            body = make_case_bundle(conn, self.story.case(), EvidenceReader("broker1"))
        with zipfile.ZipFile(io.BytesIO(read_octets(body))) as bundle:
            return {name: bundle.read(name) for name in bundle.namelist()}

    def report(self) -> Any:
        with read_transaction(self.engine) as conn:
            return read_retention_report(conn, self.settings, self.story.clock())

    def count_octets(self) -> int:
        """Return the octets that are there, of messages and payloads."""
        inside = func.coalesce(func.length(tables.messages.c.parcel), 0)
        answers = func.coalesce(func.length(tables.messages.c.answer_body), 0)
        with read_transaction(self.engine) as conn:
            rows = conn.execute(select(func.sum(inside + answers))).scalar() or 0
            apart = conn.execute(select(func.sum(func.length(tables.payloads.c.content)))).scalar() or 0
        return int(rows) + int(apart)

    def verify(self) -> Any:
        with read_transaction(self.engine) as conn:
            return verify_all_evidence(
                conn, TrustedEvidence(frozenset({signer_named("hub").certificate.sha256}))
            )


@pytest.fixture
def kept(engine: Engine, tmp_path: Path) -> Kept:
    return Kept(engine, tmp_path)


@pytest.mark.long
@in_turn
def test_what_would_go_is_told_before_and_goes_then(kept: Kept) -> None:
    assert (kept.report().cases, kept.report().octets) == (0, 0)
    kept.story.clock.forward(days=11)
    told, before = kept.report(), kept.count_octets()
    assert (told.cases, told.letters, told.messages) == (1, 0, 2)
    assert told.oldest is not None
    done = kept.purge()
    assert (done.cases, done.messages) == (1, 2)
    assert before - kept.count_octets() == done.octets == told.octets > 3000
    assert kept.report().cases == 0
    assert kept.purge().cases == 0
    with read_transaction(kept.engine) as conn:
        entries = [row for row in list_actions(conn, limit=50) if row.action == "retention purge"]
    assert [row.actor for row in entries] == ["Kim"]
    assert entries[0].before["octets"] == done.octets


def test_nothing_goes_without_a_time(kept: Kept) -> None:
    (kept.home / "gateway.toml").write_text('[hub]\nhome = "."\n')
    kept.settings = read_home_settings(kept.home)
    kept.story.clock.forward(days=1000)
    before = kept.count_octets()
    assert kept.purge().cases == 0
    assert kept.count_octets() == before


def test_the_agreement_keeps_what_it_must(kept: Kept) -> None:
    kept.remove_after_a_day()
    kept.story.clock.forward(days=4)
    assert kept.purge().cases == 0, "PersistDuration is five days"
    kept.story.clock.forward(days=2)
    assert kept.purge().cases == 1


@pytest.mark.parametrize("seconds", [1200, 4_320_000], ids=["shorter", "longer"])
def test_a_later_version_of_the_agreement_does_not_change_how_long_messages_are_kept(
    kept: Kept, seconds: int
) -> None:
    kept.remove_after_a_day()
    begins = kept.story.clock() + timedelta(days=3)
    later = QUIET.replace(b"valid_from: 2026-01-01T00:00:00Z", f"valid_from: {begins.isoformat()}".encode())
    later = later.replace(b"persist_duration: 432000", f"persist_duration: {seconds}".encode())
    with write_transaction(kept.engine) as conn:
        load_unchecked_agreement(conn, later, "later.yaml", kept.story.clock())
    kept.story.clock.forward(days=4)
    assert kept.purge().cases == 0
    kept.story.clock.forward(days=2)
    assert kept.purge().cases == 1


@pytest.mark.long
def test_a_case_that_goes_on_keeps_its_octets(engine: Engine, tmp_path: Path) -> None:
    kept = Kept(engine, tmp_path)
    kept.story.submit(kept.story.submission(reference("GOES-ON")))
    kept.story.tick()
    kept.story.clock.forward(days=100)
    assert kept.purge().cases == 1
    with read_transaction(engine) as conn:
        for row in messages.list_messages(conn, direction="in"):
            if row.purged_at is None:
                assert messages.load_payloads(conn, row.id)
            else:
                with pytest.raises(GatewayError) as gone:
                    messages.load_parcel(conn, row.id)
                assert gone.value.problem.id == "GW320"


def test_the_evidence_is_verified_after_the_purge(kept: Kept) -> None:
    before = kept.verify()
    kept.story.clock.forward(days=11)
    done = kept.purge()
    after = kept.verify()
    assert (after.removed > 0, after.octets + after.removed) == (True, before.octets)
    with read_transaction(kept.engine) as conn:
        (leaf,) = [
            one for one in list_subject_leaves(conn, "case", kept.story.case().id) if one.kind == "purged"
        ]
    assert str(done.octets) in leaf.data
    # Octets that somebody else takes away are missed.
    with write_transaction(kept.engine) as conn:
        left = select(tables.payloads.c.sha256).where(tables.payloads.c.purged_at.is_(None)).limit(1)
        digest = payloads.store_payload(conn, b"something", kept.story.clock())
        assert conn.execute(left).first() is not None
        gone = update(tables.payloads).where(tables.payloads.c.sha256 == digest)
        conn.execute(gone.values(content=b"", purged_at=kept.story.clock()))
    with pytest.raises(GatewayError) as broken:
        kept.verify()
    assert "no evidence says why" in broken.value.detail


def test_the_bundle_of_a_case_has_its_proofs_after_the_purge(kept: Kept) -> None:
    names = kept.list_bundle()
    assert any(name.endswith("/document.xml") for name in names)
    kept.story.clock.forward(days=11)
    kept.purge()
    after = kept.list_bundle()
    removed = sorted(name.rpartition("/")[0] for name in names if name.endswith("/message.bin"))
    assert after.keys() == {name for name in names if not name.startswith("messages/") or name in after}
    assert not [name for name in after if name.endswith(("message.bin", "document.xml"))]
    assert [name for name in after if name.startswith(("proofs/", "agencies/"))] == [
        name for name in names if name.startswith(("proofs/", "agencies/"))
    ]
    readme = after["README.txt"].decode().partition("Removed by retention:\n")[2]
    assert sorted(readme.splitlines()) == removed


def test_a_repeat_gets_a_new_receipt_and_is_not_processed_again(kept: Kept) -> None:
    kept.story.clock.forward(days=11)
    kept.purge()
    answers = [kept.story.house.post(kept.parcel) for _ in range(2)]
    assert answers[0].body == answers[1].body != kept.receipt.body
    unit = kept.story.broker.open(answers[0], kept.parcel).unit
    assert isinstance(unit, Receipt)
    assert unit.ref_to_message_id == kept.unit.message_id
    queued = len(kept.story.deliveries())
    kept.story.tick()
    assert len(kept.story.deliveries()) == queued
    other = kept.story.broker.seal(
        kept.story.broker.message("Submit", b"<other/>", message_id=kept.unit.message_id)
    )
    refused = kept.story.broker.open(kept.story.house.post(other)).unit
    assert isinstance(refused, ErrorSignal)
    assert "GW312" in refused.errors[0].description


def test_a_repeat_is_refused_where_the_settings_say_so(kept: Kept) -> None:
    kept.story.clock.forward(days=11)
    kept.purge()
    kept.story.hub.refuses_late_repeats = True
    refused = kept.story.broker.open(kept.story.house.post(kept.parcel)).unit
    assert isinstance(refused, ErrorSignal)
    assert (refused.errors[0].code, refused.errors[0].description[:5]) == ("TimeToLiveExpired", "GW321")


@pytest.mark.long
def test_octets_with_another_use_stay_until_that_ends(kept: Kept) -> None:
    """A large attachment of two cases is stored once: it goes with the second."""
    large = b"%PDF-" + b"x" * 200_000
    story = kept.story

    def send(name: str) -> None:
        unit = story.broker.message("Store", b"<a/>")
        pdf = Payload(f"pdf.{name}", "application/pdf", large)
        assert story.house.post(
            story.broker.seal(story.broker.message("Store", payloads=(*unit.payloads, pdf)))
        )

    send("1")
    story.clock.forward(days=8)
    send("2")
    story.clock.forward(days=3)
    done = kept.purge()
    assert (done.cases, done.letters) == (1, 1)
    with read_transaction(kept.engine) as conn:
        (second,) = [row for row in messages.list_messages(conn, action="Store") if row.purged_at is None]
        assert messages.load_payloads(conn, second.id)[1].content == large
    story.clock.forward(days=8)
    assert kept.purge().octets > 200_000
    # The same octets come again: they are stored anew.
    send("3")
    with read_transaction(kept.engine) as conn:
        (third,) = [row for row in messages.list_messages(conn, action="Store") if row.purged_at is None]
        assert messages.load_payloads(conn, third.id)[1].content == large
    kept.verify()


def test_signed_words_of_an_agency_are_never_gone_though_evidence_says_that_they_were_removed(
    kept: Kept,
) -> None:
    """Retention removes what parties sent; who removes a decision writes the leaf of a removal in vain."""
    story = kept.story
    story.submit(story.submission(reference("DECIDED")))
    story.tick()
    story.decide_all()
    request = story.request("KFDA")
    with write_transaction(kept.engine, "test.remove") as conn:
        leaves = list_subject_leaves(conn, "request", request.id)
        digest = next(row.digest for row in leaves if row.kind == "reply")
        removed_content = update(tables.payloads).where(tables.payloads.c.sha256 == digest)
        conn.execute(removed_content.values(content=b"", purged_at=story.clock()))
        removal = {"digests": [digest], "octets": 9, "by": "Kim"}
        record_evidence(conn, "purged", "case", story.case().id, None, removal, story.clock())
    story.tick()
    with pytest.raises(GatewayError, match=f"GW805.*{digest}.*gone"):
        kept.verify()


@pytest.mark.long
def test_a_removal_asks_as_often_for_many_payloads_as_for_few(kept: Kept) -> None:
    """The fragments of a group, thousands, are removed together: one question for each would be minutes."""
    story = kept.story

    def count_statements(letters: int) -> int:
        for n in range(letters):
            large = Payload(
                f"{letters}.{n}", "application/pdf", f"%PDF-{letters}/{n}".encode() + b"x" * 70_000
            )
            unit = story.broker.message("Store", b"<a/>")
            parcel = story.broker.seal(story.broker.message("Store", payloads=(*unit.payloads, large)))
            assert story.house.post(parcel).status == 200
        statements: list[str] = []

        def note(*arguments: Any) -> None:
            statements.append(arguments[2])

        with write_transaction(kept.engine, "test.remove") as conn:
            kept_letters = [
                row.id for row in messages.list_messages(conn, action="Store") if row.purged_at is None
            ]
            event.listen(conn, "before_cursor_execute", note)
            removed = octet_removal.remove_octets(conn, (), kept_letters, story.clock())
        assert (len(kept_letters), len(removed.digests)) == (letters, letters)
        assert removed.octets > letters * 70_000
        return len(statements)

    assert count_statements(2) == count_statements(9)


@pytest.mark.long
@in_turn
def test_a_limit_ends_the_purge(kept: Kept) -> None:
    kept.file("SECOND")
    kept.story.clock.forward(days=11)
    assert kept.purge(limit=1).cases == 1
    assert kept.report().cases == 1


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_kill_in_the_middle_leaves_all_or_nothing(kept: Kept, side: str) -> None:
    kept.story.clock.forward(days=11)
    before = kept.count_octets()

    def purge(hub: Hub) -> None:
        purge_octets(hub.engine, kept.settings, ACT, now=kept.story.clock())

    die_at(kept.story, f"retention.purge.{side}_commit", purge)
    assert (kept.count_octets() < before) == (side == "after")
    kept.verify()
    assert kept.purge().cases == (1 if side == "before" else 0)
    kept.verify()
    assert result_delivery(kept.story).state == "DELIVERED"


@pytest.mark.long
def test_the_verbs(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """By the clock of this machine the story has not ended: the verbs are asked at another time."""
    with write_transaction(kept.engine) as conn:
        long_ago = kept.story.clock() - timedelta(days=400)
        conn.execute(update(tables.cases).values(opened_at=long_ago, closed_at=long_ago))
        conn.execute(update(tables.messages).values(received_at=long_ago))
    at = ["--home", str(kept.home)]
    assert main(["retention", "show", *at]) == 0
    out = capsys.readouterr().out
    assert "1 case, and 0 messages in mailboxes" in out
    assert "a repeat of a removed message: acknowledge" in out
    assert main(["retention", "purge", "--compact", "--by", "Kim", *at]) == 0
    assert "of 2 messages in 1 case, and of 0 drafts. The database had" in capsys.readouterr().out
    number = kept.story.case().number
    assert main(["case", "show", number, *at]) == 0
    assert main(["message", "dump", "1", *at]) != 0
    assert "GW320" in capsys.readouterr().err


@pytest.mark.long
def test_the_space_is_given_back(kept: Kept) -> None:
    story = kept.story
    for number in range(3):
        content = bytes([number]) * 3_000_000
        pdf = Payload(f"pdf.{number}", "application/pdf", content)
        assert story.house.post(story.broker.seal(story.broker.message("Store", payloads=(pdf,))))
    story.clock.forward(days=11)
    kept.purge()
    before, after = octet_removal.compact_database(kept.engine)
    assert after < before
    if kept.engine.dialect.name == "sqlite":
        assert before - after > 8_000_000


@BOTH
def test_a_message_of_an_unread_agreement_stays_and_those_of_others_go(
    kept: Kept, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows how long the unread agreement keeps its messages."""
    story, other = kept.story, "urn:example:agreement:broker1-hub:2027"
    with write_transaction(kept.engine) as conn:
        load_unchecked_agreement(
            conn, QUIET.replace(b"broker1-hub:2026", b"broker1-hub:2027"), "other.yaml", story.clock()
        )
    for content in (b"<a/>", b"<b/>"):
        letter = story.broker.message("Store", content, agreement=other)
        story.house.post(story.broker.seal(letter))
    story.tick()
    add_later_term(kept.engine, other)
    story.clock.forward(days=11)
    told, before = kept.report(), kept.count_octets()
    assert (told.cases, told.letters, told.unread) == (1, 0, [other])
    done = kept.purge()
    assert (done.cases, done.letters, done.unread) == (1, 0, [other])
    assert before - kept.count_octets() == done.octets == told.octets > 3000
    lines = [record.getMessage() for record in caplog.records if "octets of its messages stay" in record.msg]
    assert len(lines) == 2
    assert all(other in line and "GW906" in line for line in lines)
    capsys.readouterr()
    for verb in (("show",), ("purge", "--by", "Kim")):
        assert main(["retention", *verb, "--home", str(kept.home)]) == 0
        assert f"agreement {other} is not read by this version (GW906)" in capsys.readouterr().out
    with write_transaction(kept.engine) as conn:
        load_unchecked_agreement(
            conn, QUIET.replace(b"broker1-hub:2026", b"broker1-hub:2027"), "other.yaml", story.clock()
        )
    assert (kept.purge().letters, kept.report().unread) == (2, [])


def test_no_octets_count_as_unread_for_a_lack_of_memory(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(_: Any) -> Any:
        raise MemoryError

    kept.story.clock.forward(days=11)
    monkeypatch.setattr(effective_pmodes, "pmode_from_json", lack)
    for act in (kept.report, kept.purge):
        with pytest.raises(GatewayError, match="GW806"):
            act()
    monkeypatch.undo()
    assert kept.purge().cases == 1
