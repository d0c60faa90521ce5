"""An agreement that this version does not read, and what others agreed goes on.

While nodes are updated one after the other, a newer one may store a term that an older one does not know.
"""

from __future__ import annotations

import errno
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.cli.commands.process import log_expiries_daily
from gateway.cli.home_folder import read_home_settings
from gateway.cli.registration import register_certificate
from gateway.delivery.agents import list_pull_tasks
from gateway.errors import GatewayError
from gateway.hub import build_engine, load_pmode_texts
from gateway.hub.register import effective_pmodes
from gateway.message_model import Party, PartyId, Receipt
from gateway.operations import (
    find_mailbox_filings,
    find_resting_filings,
    find_unread_agreements,
    load_unchecked_agreement,
    read_endings,
)
from gateway.store import HttpResponse, read_transaction, write_transaction
from tests.flows.craft import without_applications
from tests.flows.test_as4 import read_errors
from tests.flows.test_as4_pull import CHANNEL, PULLED, ask, pull
from tests.flows.test_as4_pulling import PULLED as PULLED_BY_HUB
from tests.flows.test_encryption import ENCRYPTED
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, PARTY_TYPE, House, Neighbour, signer_named
from tests.kit.live import LiveHouse
from tests.kit.odd_rows import add_later_term, spoil_certificate
from tests.kit.story import Story

NAME = "urn:example:agreement:broker1-hub:as4:2026"
ODD = NAME.replace("broker1", "broker9")
EVERY = timedelta(minutes=1)


def load_odd(story: Story, agreement: bytes) -> None:
    """Load the agreement of broker1 as one of broker9, with terms that this version does not know."""
    story.register("broker9")
    load_other(story, agreement)
    add_later_term(story.house.engine, ODD)


def load_other(story: Story, agreement: bytes) -> None:
    with write_transaction(story.house.engine) as conn:
        load_unchecked_agreement(conn, agreement.replace(b"broker1", b"broker9"), "other.yaml", story.clock())


def ask_as_other(story: Story, **changes: Any) -> HttpResponse:
    """Return the answer to a PullRequest of broker9."""
    broker = Neighbour("broker9", story.clock, PULLED.replace(b"broker1", b"broker9"))
    party = Party((PartyId("broker9", PARTY_TYPE),), "Applicant")
    return pull(story.house, broker, ask(broker, sender=party, **changes))


def judge(answer: HttpResponse) -> tuple[str, str]:
    """Return the code of the one error in an answer, "503" for a Fault, and the number of its problem."""
    code = "503" if answer.status == 503 else read_errors(answer)[0]["errorCode"]
    return code, answer.body.decode().partition("GW")[2][:3]


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False, agreement=PULLED)


@BOTH
def test_who_pulls_from_the_channel_of_an_unread_agreement_gets_its_messages(story: Story) -> None:
    story.submit(story.submission(without_applications), attach=False, sync_reply=True)
    story.tick(seconds=1)
    load_odd(story, PULLED)
    assert b":PartyInfo" in pull(story.house, story.broker).body
    assert judge(ask_as_other(story)) == ("503", "906")


def test_the_channel_of_an_unread_agreement_alone_is_our_fault(story: Story) -> None:
    load_odd(story, PULLED.replace(CHANNEL.encode(), b"urn:example:channel:nine"))
    assert judge(ask_as_other(story, mpc="urn:example:channel:nine")) == ("503", "906")
    # From another channel it pulls nothing by any agreement.
    assert judge(ask_as_other(story))[1] == "340"
    assert read_errors(pull(story.house, story.broker))[0]["severity"] == "warning"


def test_a_party_with_an_unread_agreement_beside_a_readable_one_waits(story: Story) -> None:
    """Nobody knows whether the unread one wants a password: its messages wait in the same queue."""
    second = PULLED.replace(b"broker1-hub:as4", b"broker1-hub:second")
    with write_transaction(story.house.engine) as conn:
        load_unchecked_agreement(conn, second, "second.yaml", story.clock())
    add_later_term(story.house.engine, NAME.replace("as4", "second"))
    assert judge(pull(story.house, story.broker)) == ("503", "906")


@BOTH
def test_the_hub_pulls_by_the_agreements_that_it_reads(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story(engine, customs=False, agreement=PULLED_BY_HUB)
    (before,) = list_pull_tasks(story.house.hub, EVERY)
    load_odd(story, PULLED_BY_HUB)
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        assert list_pull_tasks(story.house.hub, EVERY) == [before]
    (line,) = (record.getMessage() for record in caplog.records if "GW906" in record.getMessage())
    assert ODD in line
    assert "the term term_of_a_later_version is unknown" in line


def test_no_agreement_counts_as_unread_for_a_lack_of_memory(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(_: Any) -> Any:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(effective_pmodes, "pmode_from_json", lack)
    book = story.house.hub.refresh_snapshot().book
    for question in (
        lambda: book.pmodes,
        lambda: book.list_pull_pmodes(CHANNEL, story.clock()),
        book.list_unread_agreements,
    ):
        with pytest.raises(GatewayError, match="GW806"):
            question()
    monkeypatch.undo()
    assert len(book.pmodes) > 0
    assert book.list_unread_agreements() == {}
    with read_transaction(story.house.engine) as conn:
        texts = load_pmode_texts(conn)
    monkeypatch.setattr(effective_pmodes, "_make_pull_route", lambda *_: lack(None))
    with pytest.raises(GatewayError, match="GW806"):
        texts.list_pull_routes()


@BOTH
def test_messages_of_others_are_taken_and_those_of_the_unread_agreement_wait(engine: Engine) -> None:
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    name = broker.message().agreement
    with write_transaction(engine) as conn:
        other = AGREEMENT.replace(b"broker1-hub:2026", b"broker1-hub:2027")
        load_unchecked_agreement(conn, other, "other.yaml", house.clock())
    add_later_term(engine, name.replace("2026", "2027"))
    assert isinstance(broker.open(house.post(broker.seal(broker.message()))).unit, Receipt)
    waiting = broker.message(agreement=name.replace("2026", "2027"))
    told = house.post(broker.seal(waiting)).body
    assert b"GW906 " in told
    assert b'errorCode="Unknown"' in told


@BOTH
def test_each_unread_agreement_is_named_and_the_others_are_checked(engine: Engine, tmp_path: Path) -> None:
    to_mailbox = PULLED.replace(b"Supplement, deliver_to: case", b"Supplement, deliver_to: mailbox")
    story = Story(engine, customs=False, agreement=to_mailbox)
    load_odd(story, to_mailbox)
    (tmp_path / "gateway.toml").write_text('[hub]\nhome = "."\n')
    settings = read_home_settings(tmp_path)
    hub = story.house.hub
    register = hub.refresh_snapshot()
    assert {pmode.agreement for pmode in register.book.pmodes} == {NAME}
    (problem,) = find_unread_agreements(register, "hub")
    assert (problem.problem.id, problem.location) == ("GW906", ODD)
    assert problem.detail.startswith(f"agreement '{ODD}' is not read by this version: ")
    assert problem.detail.endswith(": the term term_of_a_later_version is unknown (with broker9)")
    with read_transaction(engine) as conn:
        (warning,) = find_mailbox_filings(conn, settings, story.clock())
    assert f"agreement {NAME} with broker1 delivers Supplement" in warning
    assert [one.location for one in read_endings(hub, settings).problems if one.problem.id == "GW906"] == [
        ODD
    ]


def test_messages_that_rest_under_an_unread_agreement_take_no_warning_about_others(engine: Engine) -> None:
    to_mailbox = PULLED.replace(b"Supplement, deliver_to: case", b"Supplement, deliver_to: mailbox")
    story = Story(engine, customs=False, agreement=to_mailbox)
    second = NAME.replace("as4", "second")
    with write_transaction(engine) as conn:
        renamed = to_mailbox.replace(b"broker1-hub:as4", b"broker1-hub:second")
        load_unchecked_agreement(conn, renamed, "second.yaml", story.clock())
    for agreement in (NAME, second):
        unit = story.broker.message("Supplement", agreement=agreement)
        assert b"Receipt" in story.house.post(story.broker.seal(unit)).body
    story.tick(seconds=1)
    add_later_term(engine, second)
    with read_transaction(engine) as conn:
        warnings = list(find_resting_filings(conn, story.clock()))
    # A Supplement in the service of the contract is a submission by any agreement.
    assert [words.partition(": 1 message of Supplement rests")[0] for words in warnings] == [
        f"agreement {NAME}",
        f"agreement {second}",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"from_party": 7},
        {"to_party": [[1, 2, 3]]},
        {"to_party": [[["x"], None]]},
        {"to_party": [[{}, None]]},
        {"to_party": [["x", ["y"]]]},
        {"to_party": ["xy"]},
        {"mpc": ["x"]},
        {"pull": {"sub_channel": ["x"]}},
        {"pull": 1},
    ],
)
def test_an_agreement_of_another_form_is_left_out(story: Story, changes: dict[str, Any]) -> None:
    story.register("broker9")
    load_other(story, PULLED)
    add_later_term(story.house.engine, ODD, **changes)
    book = story.house.hub.refresh_snapshot().book
    assert {pmode.agreement for pmode in book.list_pull_pmodes(CHANNEL, story.clock())} == {NAME}
    assert list_pull_tasks(story.house.hub, EVERY) == []
    assert read_errors(pull(story.house, story.broker))[0]["severity"] == "warning"
    assert list(book.list_unread_agreements()) == [ODD]
    assert len(list(find_unread_agreements(story.house.hub.refresh_snapshot(), "hub"))) == 1
    unnamed = story.broker.message("Store", agreement="")
    assert b"Receipt" in story.house.post(story.broker.seal(unnamed)).body


class Stop:
    """A stop signal that comes after the first day."""

    def wait(self, _: float) -> bool:
        return True


@pytest.mark.long
def test_check_and_the_daily_log_name_what_is_unread_and_go_on(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    home = LiveHouse(
        tmp_path, sqlite_url, ENCRYPTED, '[agency.KR-A]\nendpoint = "http://127.0.0.1:9/"\n'
    ).home
    settings = read_home_settings(home)
    engine = build_engine(settings)
    odd = "urn:example:agreement:broker1-hub:2027"
    with write_transaction(engine) as conn:
        now = datetime.now(UTC)
        other = ENCRYPTED.replace(b"broker1-hub:2026", b"broker1-hub:2027")
        load_unchecked_agreement(conn, other, "other.yaml", now)
        register_certificate(conn, "broker1", signer_named("second").certificate.der, now)
    add_later_term(engine, odd)
    spoil_certificate(engine, signer_named("second").certificate.sha256)
    assert main(["check", "--json", "--home", str(home)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert sorted((one["id"], one["location"]) for one in report["problems"]) == [
        ("GW205", "party broker1"),
        ("GW906", odd),
    ]
    assert sum("agrees encrypted payloads" in words for words in report["warnings"]) == 2
    log_expiries_daily(settings, Stop(), engine)  # type: ignore[arg-type]
    engine.dispose()
    lines = [
        record.getMessage() for record in caplog.records if record.name == "gateway.cli.commands.process"
    ]
    assert sum(f"GW906 agreement '{odd}'" in line for line in lines) == 1
    assert sum("GW205 this version refuses certificate" in line for line in lines) == 1


def test_an_unread_agreement_is_loaded_again(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy of GW906: it needs nothing of the stored one."""
    house = House(engine)
    name = Neighbour("broker1", house.clock).message().agreement
    add_later_term(engine, name)
    assert list(house.hub.refresh_snapshot().book.list_unread_agreements()) == [name]
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{engine.url.render_as_string(False)}"\n')
    (tmp_path / "agreement.yaml").write_bytes(AGREEMENT)
    assert main(["agreement", "load", str(tmp_path / "agreement.yaml"), "--home", str(tmp_path)]) == 0
    assert list(house.hub.refresh_snapshot().book.list_unread_agreements()) == []
