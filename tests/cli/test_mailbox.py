"""What goes to the mailbox: submissions that open no case are told, and an override delivers them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.hub.completion import operator_actions
from gateway.hub.intake.message_order import OrderedArrival, release_or_hold_message
from gateway.message_model import SequenceNumber
from gateway.monitor import metrics
from gateway.store import SequenceKey, deliveries, read_transaction, write_transaction
from tests.agreements.test_peer_pmodes import PHASE4
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, House
from tests.kit.rows import NOW, stored
from tests.kit.story import Story

Run = Callable[..., tuple[int, str, str]]
NAME = "urn:example:agreement:broker1-hub:2026"
FILING = ("Amend", "Submit", "Supplement", "Withdraw")
#: The agreement of the house as a partner's file has it that says nothing of cases.
SILENT = AGREEMENT.replace(b", deliver_to: case", b"")
SERVICE = "urn:single-window:services:declaration"


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')

    def run(*words: Any, home: bool = True) -> tuple[int, str, str]:
        status = main([*map(str, words), *(["--home", str(tmp_path)] if home else [])])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


def write(folder: Path, data: bytes, name: str = "silent.yaml") -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


def show(run: Run, name: str = NAME) -> dict[str, Any]:
    status, out, _ = run("agreement", "show", name, "--json")
    assert status == 0
    return dict(json.loads(out))


def list_case_actions(run: Run, name: str = NAME) -> list[str]:
    return sorted(one["action"] for one in show(run, name)["pmodes"] if one["deliver_to"] == "case")


def list_told(run: Run, name: str = NAME) -> list[str]:
    return [one["id"] for one in show(run, name)["findings"]]


def list_warnings(run: Run) -> list[str]:
    _, out, _ = run("check", "--json")
    return [one for one in json.loads(out)["warnings"] if "to the mailbox" in one]


@pytest.mark.long
@BOTH
@pytest.mark.usefixtures("house")
def test_submissions_that_open_no_case_are_told_until_an_override_delivers_them(
    tmp_path: Path, run: Run
) -> None:
    file = write(tmp_path, SILENT)
    status, out, _ = run("agreement", "lint", file, "--json", home=False)
    assert (status, [one["id"] for one in json.loads(out)["findings"]]) == (0, ["filing-in-mailbox"] * 4)
    status, _, err = run("agreement", "load", file)
    assert (status, err.count("warning filing-in-mailbox: P-Mode broker1-")) == (1, 4)
    assert list_warnings(run) == [], "the agreement that is loaded delivers to cases"
    assert run("agreement", "load", file, "--accept-warnings")[0] == 0
    (warning,) = list_warnings(run)
    assert warning.startswith(f"agreement {NAME} with broker1 delivers Amend, Submit, Supplement, Withdraw ")

    status, out, err = run("agreement", "override", NAME, "--deliver-to", "case", "--reason", "theirs")
    assert (status, out, err) == (0, f"Agreement {NAME} is in force with deliver to case.\n", "")
    assert list_case_actions(run) == list(FILING)
    assert (list_warnings(run), list_told(run)) == ([], [])
    assert [(one["term"], one["value"]) for one in show(run)["overrides"]] == [("deliver_to", "case")]
    # Loaded again it is judged with its override, and keeps it.
    assert run("agreement", "load", file)[0] == 0
    assert list_case_actions(run) == list(FILING)
    original = tmp_path / "original.yaml"
    assert run("agreement", "export", NAME, "--out", original, "--original")[0] == 0
    assert original.read_bytes() == SILENT
    audit = [json.loads(line) for line in run("audit", "list", "--json")[1].splitlines()]
    assert [one["verb"] for one in audit].count("agreement override") == 1

    one = ("--deliver-to", "mailbox", "--pmode", "broker1-amend", "--reason", "not yet")
    status, out, _ = run("agreement", "override", NAME, *one)
    assert (status, "warning filing-in-mailbox: P-Mode broker1-amend delivers Amend" in out) == (0, True)
    assert list_case_actions(run) == ["Submit", "Supplement", "Withdraw"]
    assert run("agreement", "override", NAME, "--remove", "deliver_to", "--reason", "r")[0] == 0
    assert list_case_actions(run) == []


@pytest.mark.long
@pytest.mark.usefixtures("house")
def test_a_cpa_that_lacks_one_term_is_told_with_its_path(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "theirs.xml"
    assert run("agreement", "export", NAME, "--out", file)[0] == 0
    text = file.read_text()
    amend = text.index('tp:id="broker1-amend"')
    term = re.compile(r'(?:, )?(?:"|&quot;)deliver_to(?:"|&quot;): (?:"|&quot;)case(?:"|&quot;)').search(
        text, amend
    )
    assert term is not None
    assert text.count("ThisPartyActionBinding", amend, term.start()) == 0, "it is of this binding"
    lacking = text[: term.start()] + text[term.end() :]
    theirs = write(tmp_path, lacking.encode(), "lacking.xml")
    status, out, _ = run("agreement", "lint", theirs, "--json", home=False)
    (told,) = [one for one in json.loads(out)["findings"] if one["id"] == "filing-in-mailbox"]
    assert (status, told["severity"]) == (0, "warning")
    assert "ThisPartyActionBinding" in told["xpath"]
    assert "Amend" in told["message"]
    assert "filing-in-mailbox" in run("agreement", "load", theirs)[2]
    assert run("agreement", "load", theirs, "--accept-warnings")[0] == 0
    assert "filing-in-mailbox" in list_told(run)
    assert " delivers Amend to the mailbox" in list_warnings(run)[0]
    one = ("--deliver-to", "case", "--pmode", "broker1-amend", "--reason", "as agreed by mail")
    assert run("agreement", "override", NAME, *one)[0] == 0
    assert (list_warnings(run), "filing-in-mailbox" in list_told(run)) == ([], False)


def make_peer(binding: str = "oneway") -> dict[str, Any]:
    """Return a P-Mode of phase4 that files submissions: alone, or with the Result on its way back."""
    leg = json.loads(json.dumps(PHASE4["Leg1"]))
    leg["BusinessInfo"] |= {"Service": SERVICE, "Action": "Submit"}
    leg["BusinessInfo"].pop("ServiceType")
    for name in [one for one in leg["Security"] if one.startswith("X509")]:
        leg["Security"].pop(name)
    legs: dict[str, Any] = {"Leg1": leg}
    if binding == "twoway":
        back = json.loads(json.dumps(leg))
        back["BusinessInfo"]["Action"] = "Result"
        back["Protocol"]["Address"] = "https://broker1.example/msh/as4"
        legs |= {"Leg2": back}
    mep = {"MEP": binding, "MEPBinding": "push" if binding == "oneway" else "pushandpush"}
    return PHASE4 | legs | mep


@pytest.mark.usefixtures("house")
def test_a_pmode_of_another_product_files_after_its_override(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, json.dumps(make_peer("twoway")).encode(), "peer.json")
    _, out, _ = run("agreement", "lint", file, "--json", home=False)
    assert "filing-in-mailbox" in {one["id"] for one in json.loads(out)["findings"]}
    assert run("agreement", "load", file, "--accept-warnings")[0] == 0
    name = "urn:example:orders"
    words = ("--deliver-to", "case", "--reason", "phase4 has no word for it")
    assert run("agreement", "override", name, *words)[0] == 0
    assert list_case_actions(run, name) == ["Submit"]
    assert "filing-in-mailbox" not in list_told(run, name)


@pytest.mark.usefixtures("house")
def test_an_override_by_which_nothing_would_be_answered_is_refused(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, json.dumps(make_peer()).encode(), "peer.json")
    assert run("agreement", "load", file, "--accept-warnings")[0] == 0
    name = "urn:example:orders"
    status, _, err = run("agreement", "override", name, "--deliver-to", "case", "--reason", "r")
    assert (status, "GW313 not overridden: P-Mode orders accepts submissions" in err) == (1, True)
    assert (list_case_actions(run, name), show(run, name)["overrides"]) == ([], [])


@pytest.mark.usefixtures("house")
def test_what_files_nothing_is_no_override_of_the_agreement(tmp_path: Path, run: Run) -> None:
    file = write(
        tmp_path, json.dumps(PHASE4 | {"Leg1": make_peer()["Leg1"]}).replace('"Submit"', '"Order"').encode()
    )
    assert run("agreement", "load", file, "--accept-warnings")[0] == 0
    words = ("agreement", "override", "urn:example:orders", "--reason", "r")
    status, _, err = run(*words, "--deliver-to", "case")
    assert (status, "no P-Mode by which submissions are filed" in err) == (2, True)
    assert run(*words, "--deliver-to", "nowhere")[0] == 2
    assert run(*words, "--pull-authorization", "username")[0] == 2, "nothing is pulled"


@pytest.mark.usefixtures("house")
def test_what_a_file_has_no_word_for_is_said_by_an_override(run: Run) -> None:
    stated = {"signature-policy": "legacy-norway", "sign-status": "no", "mutual-tls": "yes"}
    words = [word for name, value in stated.items() for word in (f"--{name}", value)]
    assert run("agreement", "override", NAME, *words, "--reason", "an old product")[0] == 1, "no key for TLS"
    words = words[:-2]
    assert run("agreement", "override", NAME, *words, "--reason", "an old product")[0] == 0
    for pmode in show(run)["pmodes"]:
        assert (pmode["security"]["policy"], pmode["security"]["sign_status"]) == ("legacy-norway", False)
    assert run("agreement", "override", NAME, "--remove", "sign_status", "--reason", "r")[0] == 0
    assert {one["security"]["sign_status"] for one in show(run)["pmodes"]} == {True}


def list_mailbox(run: Run) -> list[dict[str, Any]]:
    status, out, _ = run("message", "list", "--mailbox", "--json")
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


OVERRIDE = ("agreement", "override", NAME, "--deliver-to", "case", "--reason", "they cannot say it")
RESTS = "nothing: it rests in the mailbox"


@pytest.mark.long
def test_a_submission_that_rests_is_told_and_becomes_a_case(run: Run, engine: Engine) -> None:
    story = Story(engine, agreement=SILENT)
    story.submit()
    story.tick()
    (row,) = list_mailbox(run)
    told = f"{RESTS} (`gateway message admit 1` opens its case)"
    assert (row["id"], row["state"], row["action"], row["waits_for"]) == (1, "ACCEPTED", "Submit", told)
    assert 'gateway_mailbox_messages{action="Submit"} 1.0' in metrics.render_metrics(engine)
    _, resting = list_warnings_of_mailbox(run)
    assert resting.startswith(f"agreement {NAME}: 1 message of Submit rests in the mailbox, ")
    status, _, err = run("message", "admit", 1, "--reason", "r")
    assert (status, "GW705" in err, f"override {NAME} --deliver-to case" in err) == (1, True, True)

    assert run(*OVERRIDE)[0] == 0
    (resting,) = list_warnings_of_mailbox(run)
    assert ", message 1 (see " in resting, "what rests goes on to rest"
    with write_transaction(engine) as conn:
        operator_actions.admit_resting_message(conn, 1, story.clock(), "Kim", "lost until now")
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    assert (list_mailbox(run), list_warnings_of_mailbox(run)) == ([], [])
    assert "gateway_mailbox_messages{" not in metrics.render_metrics(engine)
    # The next one opens its case by itself.
    status, _, err = run("message", "admit", 1, "--reason", "r")
    assert (status, "does not rest in the mailbox" in err) == (1, True)


@pytest.mark.long
def test_a_submission_is_admitted_after_its_pmode_got_another_name(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    story = Story(engine, agreement=SILENT)
    story.submit()
    renamed = write(tmp_path, SILENT.replace(b"broker1-submit", b"broker1-file"))
    assert run("agreement", "load", renamed, "--accept-warnings")[0] == 0
    status, _, err = run("message", "admit", 1, "--reason", "r")
    assert (status, "delivers Submit to the mailbox" in err) == (1, True)
    assert run(*OVERRIDE)[0] == 0
    with write_transaction(engine) as conn:
        operator_actions.admit_resting_message(conn, 1, story.clock(), "Kim", "the file lacked it")
    story.tick()
    assert story.case().state == "IN_PROGRESS"


def test_what_its_agreement_has_no_pmode_for_any_more_is_told(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    story = Story(engine, agreement=SILENT)
    story.submit(action="Withdraw", attach=False)
    lines = SILENT.splitlines(keepends=True)
    file = write(tmp_path, b"".join(line for line in lines if b"broker1-withdraw" not in line))
    assert run("agreement", "load", file, "--accept-warnings")[0] == 0
    status, _, err = run("message", "admit", 1, "--reason", "r")
    assert (status, "has no P-Mode for Withdraw any more" in err, "override" in err) == (1, True, False)


def list_warnings_of_mailbox(run: Run) -> list[str]:
    _, out, _ = run("check", "--json")
    return [one for one in json.loads(out)["warnings"] if "the mailbox" in one]


@pytest.mark.long
def test_what_is_no_submission_rests_without_a_warning(run: Run, engine: Engine) -> None:
    story = Story(engine)
    assert story.house.post(story.broker.seal(story.broker.message("Store"))).status in (200, 204)
    (row,) = list_mailbox(run)
    assert (row["action"], row["waits_for"], list_warnings_of_mailbox(run)) == ("Store", RESTS, [])
    assert 'gateway_mailbox_messages{action="Store"} 1.0' in metrics.render_metrics(engine)


@pytest.mark.usefixtures("house")
def test_the_verb_admits_all_or_none_and_leaves_its_name(run: Run, engine: Engine) -> None:
    same = {"agreement_id": NAME, "pmode_id": "broker1-submit"}
    with write_transaction(engine) as conn:
        first, second = stored(conn, **same), stored(conn, **same)
        gone = stored(conn, agreement_id=NAME, pmode_id="no longer there", action="Order")
    words = ("--reason", "the file lacked it", "--by", "Kim")
    assert run("message", "admit", first, gone, *words)[0] == 1
    assert run("message", "admit", first, 99, *words)[0] == 1
    assert len(list_mailbox(run)) == 3
    status, out, _ = run("message", "admit", second, first, *words)
    assert (status, out) == (0, f"Queued the admission of 2 messages: {first}, {second}.\n")
    assert [row["id"] for row in list_mailbox(run)] == [gone]
    with read_transaction(engine) as conn:
        (act,) = list_actions(conn, limit=1)
        tasks = deliveries.list_deliveries(conn, limit=9)
    assert (act.action, act.object, act.actor, act.reason) == (
        "message admit",
        f"message {first}, {second}",
        "Kim",
        "the file lacked it",
    )
    assert {(one.dedupe_key, one.state) for one in tasks} == {
        (f"admit:{first}", "QUEUED"),
        (f"admit:{second}", "QUEUED"),
    }


def test_a_message_is_admitted_by_the_pmode_that_files_where_another_one_has_its_action(
    run: Run, engine: Engine
) -> None:
    line = next(line for line in AGREEMENT.splitlines(keepends=True) if b"broker1-submit" in line)
    back = f"  - {{id: broker1-back, from: hub, to: applicant, service: {SERVICE}, action: Submit}}\n"
    House(engine, agreement=AGREEMENT.replace(line, back.encode() + line))
    with write_transaction(engine) as conn:
        message = stored(conn, agreement_id=NAME, pmode_id="no longer there")
        task = operator_actions.admit_resting_message(conn, message, NOW, "Kim", "it has another name")
        row = deliveries.find_by_id(conn, task)
    assert row is not None
    assert (row.dedupe_key, list_mailbox(run)) == (f"admit:{message}", [])


@pytest.mark.usefixtures("house")
def test_messages_of_an_order_are_admitted_one_after_the_other(engine: Engine) -> None:
    key = SequenceKey("in", "broker", NAME, "talk")
    with write_transaction(engine) as conn:
        rows = []
        for number in (0, 1):
            rows.append(stored(conn, agreement_id=NAME, pmode_id="broker1-submit"))
            place = SequenceNumber(number, "Continue" if number else "Reset")
            release_or_hold_message(
                conn, key, OrderedArrival(rows[-1], place, NOW + timedelta(days=9), False, 9), NOW
            )
        tasks = [operator_actions.admit_resting_message(conn, one, NOW, "Kim") for one in rows]
        place = SequenceNumber(2, "Continue")
        later = stored(conn)
        release_or_hold_message(
            conn, key, OrderedArrival(later, place, NOW + timedelta(days=9), True, 9), NOW
        )
        follows = [row.follows for row in deliveries.list_deliveries(conn, limit=9)]
    assert sorted(follows, key=lambda one: one or 0) == [None, *tasks]
