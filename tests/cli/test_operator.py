"""The operator's verbs, through the front door, on a home of their own."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.cli.added_verbs import list_verbs
from gateway.errors import PROBLEMS
from gateway.store import (
    NewDelivery,
    deliveries,
    get_head_revision,
    make_engine,
    read_transaction,
    write_transaction,
)
from gateway.wire.header_fields import read_http_message
from tests.kit.databases import BOTH
from tests.kit.house import House, Neighbour
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

VERBS = list_verbs()

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path, engine: Engine) -> Path:
    """Return a home folder whose settings name the test's database."""
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    return tmp_path


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str]:
        status = main([*words, "--home", str(home)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out or captured.err

    return run


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.night
@BOTH
def test_a_partner_is_registered_and_an_agreement_loaded(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pki", "demo", "--out", str(home / "pki"), "--party", "hub", "--party", "broker1"]) == 0
    assert "broker1.cert.pem" in capsys.readouterr().out
    certificate = str(home / "pki" / "broker1.cert.pem")
    words = (
        "party",
        "add",
        "broker1",
        "--name",
        "Broker One",
        "--id",
        "urn:example:party-type|broker1",
        "--certificate",
        certificate,
    )
    status, text = run(*words)
    assert status == 0
    assert text.startswith(
        "Registered party broker1 as applicant, known as urn:example:party-type|broker1, with certificate "
    )
    status, text = run("party", "show", "broker1")
    told = json.loads(text)
    assert (told["name"], told["status"], told["ids"]) == (
        "Broker One",
        "ACTIVE",
        ["urn:example:party-type|broker1"],
    )
    assert len(told["certificates"]) == 1
    assert run("party", "add", "hub", "--role", "hub", "--id", "urn:example:party-type|hub")[0] == 0
    status, text = run("agreement", "load", str(ROOT / "conformance" / "agreements" / "example.yaml"))
    assert (status, "with" in text, "broker1-submit" in text) == (0, True, True)
    assert rows(run("agreement", "list", "--json")[1])[0]["status"] == "ACTIVE"


def test_adding_a_known_party_says_what_was_changed(run: Run) -> None:
    assert run("party", "add", "desk", "--role", "agency")[1] == "Registered party desk as agency.\n"
    unchanged = "Party desk is registered already; nothing was changed.\n"
    assert run("party", "add", "desk") == (0, unchanged)
    assert run("party", "add", "desk", "--role", "agency", "--name", "desk") == (0, unchanged)
    status, text = run("party", "add", "desk", "--role", "applicant")
    told = "party desk is registered already with the role agency, which --role applicant does not change."
    assert (status, text.startswith(f"gateway: GW808 {told}")) == (2, True)
    assert run("party", "add", "desk", "--name", "Other")[0] == 2
    assert run("party", "add", "desk", "--id", "urn:t|D1") == (
        0,
        "Party desk (agency) was registered already; it is now also known as urn:t|D1.\n",
    )
    assert run("party", "resume", "desk")[1].endswith("accepted; nothing was changed.\n")
    assert len(rows(run("audit", "list", "--json")[1])) == 2, "a verb that changes nothing leaves no row"


def test_suspension_mandate_and_retirement_change_the_register(engine: Engine, run: Run) -> None:
    House(engine)
    assert run("party", "suspend", "broker1") == (
        0,
        "Party broker1 is suspended: its messages are refused, its people and its software are signed out.\n",
    )
    assert {row["id"]: row["status"] for row in rows(run("party", "list", "--json")[1])} == {
        "broker1": "SUSPENDED",
        "hub": "ACTIVE",
    }
    assert run("party", "resume", "broker1")[0] == 0
    status, told = run("party", "mandate", "add", "broker1", "hub", "--json")
    assert status == 0
    number = str(json.loads(told)["mandate"])
    assert run("party", "mandate", "revoke", number)[0] == 0
    assert run("party", "mandate", "revoke", number)[0] == 1
    assert [row["principal"] for row in rows(run("party", "mandate", "list", "--json")[1])] == ["hub"]
    (sha256,) = json.loads(run("party", "show", "broker1")[1])["certificates"]
    assert run("party", "certificate", "retire", sha256)[0] == 0
    assert json.loads(run("party", "show", "broker1")[1])["certificates"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("party", "suspend", "nobody"),
        ("party", "show", "nobody"),
        ("party", "mandate", "add", "nobody", "hub"),
        ("party", "certificate", "retire", "00" * 32),
        ("agreement", "suspend", "none"),
        ("case", "show", "SW1"),
        ("message", "show", "7"),
        ("message", "dump", "x@y"),
        ("queue", "requeue", "7"),
        ("queue", "show", "7"),
    ],
)
def test_what_is_not_there_is_said_and_found_wanting(run: Run, words: tuple[str, ...]) -> None:
    status, text = run(*words)
    assert status == 1
    assert text.startswith("gateway: ")


def test_a_stored_message_is_listed_shown_and_dumped_as_it_came(
    engine: Engine, home: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    unit = broker.message(content=b"<declaration/>")
    parcel = broker.seal(unit)
    answer = house.post(parcel)
    assert main(["message", "list", "--json", "--home", str(home)]) == 0
    assert json.loads(capsysbinary.readouterr().out)["message_id"] == unit.message_id
    assert main(["message", "show", unit.message_id, "--json", "--home", str(home)]) == 0
    assert json.loads(capsysbinary.readouterr().out)["payloads"][0]["size"] == len(b"<declaration/>")
    assert main(["message", "dump", unit.message_id, "--home", str(home)]) == 0
    head, _, body = capsysbinary.readouterr().out.partition(b"\r\n\r\n")
    assert body == parcel.body.open_stream().read()
    assert b"multipart/related" in head
    assert main(["message", "dump", "1", "--answer", "--home", str(home)]) == 0
    given = read_http_message(capsysbinary.readouterr().out)
    assert (given.start_line, given.body) == ("HTTP/1.1 200 OK", answer.body)
    assert main(["message", "dump", "1", "--answer", "--json", "--home", str(home)]) == 0
    told = json.loads(capsysbinary.readouterr().out)
    assert (told["status"], base64.b64decode(told["body_base64"])) == (200, answer.body)
    assert told["headers"]["Content-Type"] == answer.headers["Content-Type"]


@pytest.mark.parametrize("words", [("queue", "list", "--state", "FOO"), ("message", "list", "--state", "x")])
def test_a_state_that_there_is_not_is_misuse(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words)[0] == 2


def test_a_file_that_is_no_database_is_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gateway.sqlite3").write_bytes(b"this is not a database at all, " * 200)
    assert main(["case", "list", "--home", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    damaged = "GW805 the file of the database is damaged, restore it from a backup: file is not a database"
    assert damaged in told


def test_a_delivery_is_held_released_and_cancelled(engine: Engine, run: Run) -> None:
    house = House(engine)
    with write_transaction(engine) as conn:
        new = NewDelivery("soap", "AGENCY", "case", "1", "k1")
        number = str(deliveries.enqueue_delivery(conn, new, house.clock()))
    assert run("queue", "hold", number) == (0, "Held 1 delivery of lane AGENCY: 1.\n")
    shown = json.loads(run("queue", "show", number, "--json")[1])
    assert (shown["state"], len(shown["transitions"])) == ("HELD", 1)
    assert rows(run("queue", "list", "--json")[1])[0]["state"] == "HELD"
    status, told = run("queue", "release", number, "--json")
    assert (status, json.loads(told)["deliveries"]) == (0, [int(number)])
    assert run("queue", "cancel", number)[0] == 0
    assert run("queue", "requeue", number)[0] == 1
    with read_transaction(engine) as conn:
        assert deliveries.find_by_id(conn, int(number)).state == "CANCELLED"  # type: ignore[union-attr]


@pytest.mark.night
def test_a_database_of_another_version_is_said(home: Path, run: Run, empty_database_url: str) -> None:
    (home / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{empty_database_url}"\n')
    status, text = run("case", "list")
    assert (status, "GW802" in text) == (1, True)
    status, text = run("migrate")
    assert (status, "GW808" in text, ": if a hub was here" in text) == (2, True, True)
    assert run("migrate", "--new") == (
        0,
        f"The database is now at revision {get_head_revision()} (it was empty).\n",
    )
    told = json.loads(run("migrate", "--json")[1])
    assert (told["verb"], told["before"], told["after"]) == ("migrate", *[get_head_revision()] * 2)
    assert run("case", "list")[0] == 0
    make_engine(empty_database_url).dispose()


def test_settings_that_are_wrong_name_their_key_and_are_misuse(home: Path, run: Run) -> None:
    (home / "gateway.toml").write_text("[http]\nprot = 1\n")
    status, text = run("case", "list")
    assert (status, "http.prot" in text, "did you mean port" in text) == (2, True, True)


def test_each_problem_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["error", "gw206"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("GW206", "meaning", "cause", "remedy", "SecurityFailure"))
    assert main(["error", "GW999"]) == 2
    assert main(["error", "GW206", "--json"]) == 0
    (row,) = rows(capsys.readouterr().out)
    assert {"id", "title", "cause", "remedy", "ebms2", "ebms3", "soap", "http"} <= set(row)
    assert main(["error", "--json"]) == 0
    assert len(rows(capsys.readouterr().out)) >= 63


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["case"], ["case", "show"], ["--nope"]])
def test_misuse_is_exit_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "Usage:" in told or re.fullmatch(r"gateway: GW808 .*Try `gateway .*--help`\.\n", told), told


@pytest.mark.night
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert f"Usage: gateway {verb}" in told
    assert VERBS[verb].format_example(verb) in told


def test_a_list_says_that_the_database_cannot_be_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://nobody@127.0.0.1:{find_free_port()}/none"
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    assert main(["case", "list", "--home", str(tmp_path)]) != 0
    told = capsys.readouterr().err
    assert "GW806 the database cannot be reached now: " in told
    assert "accepts no writes" not in told
    assert main(["config", "show", "--home", str(tmp_path)]) == 0, "the remedy of GW806 needs no database"
    assert "gateway config show" in PROBLEMS["GW806"].remedy
