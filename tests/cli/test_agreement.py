"""The verbs of agreements: what is told before one is loaded, and how a loaded one is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.store import (
    ListFilter,
    agreements,
    list_searches,
    parties,
    read_transaction,
    write_transaction,
)
from tests.agreements.test_peer_pmodes import HOLODECK, MORE
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, House

Run = Callable[..., tuple[int, str, str]]
NAME = "urn:example:agreement:broker1-hub:2026"
NEW = AGREEMENT.replace(b"broker1-hub:2026", b"new")
ENDPOINT = b"    endpoint: http://127.0.0.1:8901/msh/ebms2\n"
BROKEN = NEW.replace(ENDPOINT, b"").replace(b"value: broker1}", b"value: nobody}")
DOUBTFUL = NEW.replace(b"    sign: true", b"    sign: false")


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    House(engine)

    def run(*words: Any) -> tuple[int, str, str]:
        status = main([*map(str, words), "--home", str(tmp_path)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


def write(folder: Path, data: bytes) -> Path:
    file = folder / "new.yaml"
    file.write_bytes(data)
    return file


def loaded(engine: Engine) -> set[str]:
    with read_transaction(engine) as conn:
        return {row["id"] for row in list_searches.search_agreements(conn, ListFilter()).rows}


@pytest.mark.night
@BOTH
def test_an_agreement_that_cannot_work_is_refused_and_every_error_is_told(
    tmp_path: Path, run: Run, engine: Engine
) -> None:
    status, out, err = run("agreement", "load", write(tmp_path, BROKEN))
    assert (status, out) == (1, "")
    assert "gateway: error party-unknown: no party is registered as urn:example:party-type|nobody" in err
    assert "(new.yaml:11)" in err
    assert "error endpoint-missing: the partner has no endpoint" in err
    assert err.splitlines()[-1].startswith("gateway: GW313 not loaded: 2 errors at new.yaml")
    assert run("agreement", "load", write(tmp_path, BROKEN), "--accept-warnings")[0] == 1
    assert loaded(engine) == {NAME}


@pytest.mark.night
def test_warnings_are_told_and_must_be_accepted(tmp_path: Path, run: Run, engine: Engine) -> None:
    file = write(tmp_path, DOUBTFUL)
    status, out, err = run("agreement", "load", file)
    assert (status, out) == (1, "")
    assert "warning unsigned: P-Mode broker1-submit accepts messages that nobody signed" in err
    assert "GW314 not loaded: 5 warnings" in err
    assert "--accept-warnings" in err
    assert loaded(engine) == {NAME}
    status, out, err = run("agreement", "load", file, "--accept-warnings")
    assert (status, err) == (0, "")
    assert "warning unsigned" in out
    assert "Agreement urn:example:agreement:new is loaded with 7 P-Modes: broker1-submit" in out
    assert len(loaded(engine)) == 2


@pytest.mark.night
def test_a_file_is_checked_without_loading_it(tmp_path: Path, run: Run, engine: Engine) -> None:
    status, out, err = run("agreement", "check", write(tmp_path, BROKEN))
    assert (status, err) == (1, "")
    assert out.endswith("2 errors found\n")
    status, out, _ = run("agreement", "check", write(tmp_path, AGREEMENT))
    assert (status, out) == (0, "nothing found\n")
    status, out, _ = run("agreement", "check", write(tmp_path, DOUBTFUL), "--json")
    told = json.loads(out)
    assert (status, told["ok"]) == (0, True)
    assert {"id", "severity", "place", "text"} == set(told["findings"][0])
    assert loaded(engine) == {NAME}


@pytest.mark.night
def test_loading_says_in_json_what_it_did(tmp_path: Path, run: Run) -> None:
    status, out, err = run("agreement", "load", write(tmp_path, BROKEN), "--json")
    told = json.loads(err)
    assert (status, out, told["loaded"], told["problem"]) == (1, "", False, "GW313")
    assert told["detail"].startswith("not loaded: ")
    assert told["location"]
    assert {"error"} <= {one["severity"] for one in told["findings"]}
    status, out, _ = run("agreement", "load", write(tmp_path, NEW), "--json")
    told = json.loads(out)
    assert (status, told["loaded"], told["problem"]) == (0, True, None)
    assert told["pmodes"][0] == "broker1-submit"
    assert "suspended" not in told["done"]
    assert run("agreement", "suspend", told["agreement"])[0] == 0
    assert run("agreement", "load", write(tmp_path, NEW))[1].endswith(" It is no longer suspended.\n")
    assert {one["id"] for one in told["findings"]} == {"same-messages"}


@pytest.mark.night
def test_a_loaded_agreement_is_shown(run: Run, engine: Engine) -> None:
    status, out, err = run("agreement", "show", NAME)
    assert (status, err) == (0, "")
    for words in (NAME, "in force", "broker1", "http://127.0.0.1:8901/msh/ebms2", "broker1-result", "Notice"):
        assert words in out
    assert out.endswith("nothing is wrong with it\n")
    with write_transaction(engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
        agreements.set_agreement_status(conn, NAME, "SUSPENDED")
    status, out, _ = run("agreement", "show", NAME, "--json")
    told = json.loads(out)
    assert (status, told["id"], told["state"]) == (0, NAME, "SUSPENDED")
    applicant = {one["party"]: one for one in told["parties"]}["broker1"]
    assert applicant == {
        "party": "broker1",
        "status": "SUSPENDED",
        "ids": ["urn:example:party-type|broker1"],
        "role": "Applicant",
        "endpoint": "http://127.0.0.1:8901/msh/ebms2",
    }
    assert [one["id"] for one in told["pmodes"]] == sorted(one["id"] for one in told["pmodes"])
    assert told["pmodes"][0]["reliability"]["message_order"] is False
    assert told["certificates"] == []
    (found,) = told["findings"]
    assert (found["id"], found["place"]) == ("party-suspended", "loaded file:11")


def test_an_agreement_that_is_not_loaded_is_not_shown(run: Run) -> None:
    status, out, err = run("agreement", "show", "none")
    assert (status, out) == (1, "")
    assert err == "gateway: GW301 no agreement is loaded as none\n"


@pytest.mark.night
def test_the_pmode_of_another_product_is_loaded_and_shown(tmp_path: Path, run: Run, engine: Engine) -> None:
    clear = HOLODECK[: HOLODECK.index("    <SecurityConfiguration>\n      <Encryption>")]
    clear += HOLODECK[HOLODECK.index("  </Responder>") :]
    file = tmp_path / "orders.xml"
    # The key of the hub of the tests is an elliptic one.
    file.write_text(clear.replace(f"<Algorithm>{MORE}rsa-sha256</Algorithm>", ""), encoding="utf-8")
    status, _, err = run("agreement", "load", file)
    assert status == 1
    assert "warning peer-unsaid: Leg1/Protocol/UseHTTPCompression (true) cannot be said" in err
    status, out, _ = run("agreement", "load", file, "--accept-warnings")
    assert (status, "urn:example:orders" in loaded(engine)) == (0, True)
    assert "Agreement urn:example:orders is loaded with 1 P-Mode: orders." in out
    status, out, _ = run("agreement", "show", "urn:example:orders", "--json")
    shown = json.loads(out)
    assert (status, shown["pmodes"][0]["protocol"], shown["pmodes"][0]["reliability"]["retries"]) == (
        0,
        "as4",
        4,
    )
    assert "peer-filled" in json.dumps(shown["findings"])
    status, out, _ = run("agreement", "check", file)
    assert (status, "peer-filled" in out) == (0, True)
    later = tmp_path / "later.xml"
    later.write_text(
        file.read_text(encoding="utf-8").replace("<MaxRetries>4", "<MaxRetries>6"), encoding="utf-8"
    )
    status, out, _ = run("agreement", "diff", file, later)
    assert (status, "retries of Order: 4 becomes 6" in out or "retries: 4 becomes 6" in out) == (0, True)
    status, _, err = run("agreement", "export", "urn:example:orders", "--out", tmp_path / "orders.cpa")
    assert (status, "GW313" in err) == (1, True)


@pytest.mark.night
def test_a_pulled_message_is_shown_with_a_receipt_by_a_post(tmp_path: Path, run: Run) -> None:
    pulled = HOLODECK.replace("200704/push", "200704/pull").replace("<Action>", "<Mpc>urn:x:y</Mpc><Action>")
    for pattern in ("RESPONSE", "CALLBACK"):
        file = tmp_path / "pulled.xml"
        file.write_text(pulled.replace("RESPONSE", pattern), encoding="utf-8")
        status, _, err = run("agreement", "load", file, "--accept-warnings")
        assert (status, "error" in err) == (0, False), err
        status, out, _ = run("agreement", "show", "urn:example:orders")
        assert (status, "by a POST" in out, "in the answer" in out) == (0, True, False)
