"""The verbs of an agreement whose rows this version does not read, whatever stands in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.hub import load_register_snapshot
from gateway.operations import load_unchecked_agreement
from gateway.store import agreements, read_transaction, write_transaction
from tests.cli.test_agreement import NAME
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, START, House
from tests.kit.levels import at_night
from tests.kit.odd_rows import store_text

OTHER = NAME.replace("2026", "2027")
#: A version that begins later, while the agreement is in force.
LATER = AGREEMENT.replace(b"valid_from: 2026", b"valid_from: 2030")


def write_override(term: str, value: Any) -> str:
    """Return overrides of one term as they are stored."""
    override = {"term": term, "value": value, "reason": "x", "by": "y", "at": "z", "pmode": None, "party": []}
    return json.dumps([override])


def write_version(**changes: Any) -> str:
    """Return later versions as they are stored: one, which begins in 2030."""
    version = {
        "kind": "pmode",
        "source": "",
        "valid_from": "2030-01-01T00:00:00+00:00",
        "valid_until": "2031-01-01T00:00:00+00:00",
        "loaded_at": "2026-01-01T00:00:00+00:00",
        "loaded_by": "operator",
        "pmodes": [],
    }
    return json.dumps([version | changes])


ODD_OVERRIDES = [
    '[{"term": "of a later version"}]',
    *(write_override("mutual_tls", value) for value in ("yes", 1, None)),
    write_override("retries", float("nan")),
    write_override("deliver_to", "moon"),
]
ODD_TEXTS = {
    "parameters": ["7", *at_night("no JSON", "null", '"x"', "{}", "[]", '{"from_party": 7}')],
    "overrides": ["no JSON", write_override("retries", 1.5), *at_night("7", "[7]", *ODD_OVERRIDES)],
    "successors": [write_version(pmodes=[{"x": 1}]), *at_night("no JSON", "7", "[7]", "[{}]", "[" * 3000)],
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    (tmp_path / "same.yaml").write_bytes(AGREEMENT)
    (tmp_path / "later.yaml").write_bytes(LATER)
    house = House(engine)
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, AGREEMENT.replace(b":2026", b":2027"), "a.yaml", house.clock())

    def run(*words: Any) -> tuple[int, str, str]:
        status = main([*map(str, words), "--home", str(tmp_path)])
        captured = capsys.readouterr()
        assert "GW901" not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


def list_read(engine: Engine) -> tuple[set[str], list[str]]:
    """Return the agreements that are read, and those that are not."""
    with read_transaction(engine) as conn:
        book = load_register_snapshot(conn).book
    assert book.list_pull_pmodes(None, START) == ()
    return {pmode.agreement for pmode in book.pmodes}, list(book.list_unread_agreements())


def check_verbs_on_odd_row(run: Run, engine: Engine, folder: Path, column: str, text: str) -> None:
    store_text(engine, NAME, column, text)
    assert list_read(engine) == ({OTHER}, [NAME])
    status, out, _ = run("agreement", "list", "--json")
    assert (status, {json.loads(line)["id"] for line in out.splitlines()}) == (0, {NAME, OTHER})
    status, out, err = run("agreement", "show", NAME)
    assert (status, out) == (1, "")
    assert err.startswith(f"gateway: GW906 agreement '{NAME}' is not read by this version: ")
    assert run("agreement", "show", OTHER)[0] == 0
    assert run("agreement", "load", folder / "same.yaml", "--accept-warnings")[0] == 0
    assert list_read(engine) == ({OTHER, NAME}, [])
    assert run("agreement", "show", NAME)[0] == 0
    store_text(engine, NAME, column, text)
    status, _, err = run("agreement", "suspend", NAME)
    if status == 0:
        assert list_read(engine) == ({OTHER}, [])
    else:
        # Evidence states the columns of the row as values: that of no JSON has none.
        assert text.startswith(("no JSON", "[["))
        assert err.startswith("gateway: GW805 a value in the database is no JSON")


@BOTH
@pytest.mark.parametrize("text", ODD_TEXTS["parameters"])
def test_the_verbs_name_and_mend_odd_pmodes(run: Run, engine: Engine, tmp_path: Path, text: str) -> None:
    check_verbs_on_odd_row(run, engine, tmp_path, "parameters", text)


@BOTH
@pytest.mark.parametrize("text", ODD_TEXTS["overrides"])
def test_the_verbs_name_and_mend_odd_overrides(run: Run, engine: Engine, tmp_path: Path, text: str) -> None:
    check_verbs_on_odd_row(run, engine, tmp_path, "overrides", text)


@BOTH
@pytest.mark.parametrize("text", ODD_TEXTS["successors"])
def test_the_verbs_name_and_mend_odd_later_versions(
    run: Run, engine: Engine, tmp_path: Path, text: str
) -> None:
    check_verbs_on_odd_row(run, engine, tmp_path, "successors", text)


@pytest.mark.parametrize("text", ODD_TEXTS["overrides"])
def test_overrides_that_are_not_read_end_by_consent_alone(
    run: Run, engine: Engine, tmp_path: Path, text: str
) -> None:
    store_text(engine, NAME, "overrides", text)
    status, _, err = run("agreement", "load", tmp_path / "same.yaml")
    assert status == 1
    assert "warning overrides-unread: all overrides of the hub (" in err
    assert "GW314 not loaded" in err
    assert list_read(engine)[1] == [NAME]
    status, out, _ = run("agreement", "check", tmp_path / "same.yaml", "--json")
    assert "overrides-unread" in {finding["id"] for finding in json.loads(out)["findings"]}
    assert run("agreement", "load", tmp_path / "same.yaml", "--accept-warnings")[0] == 0
    with read_transaction(engine) as conn:
        row = agreements.find_agreement(conn, NAME)
    assert row is not None
    assert row.overrides is None


def test_the_audit_names_the_overrides_that_end(run: Run, engine: Engine, tmp_path: Path) -> None:
    assert run("agreement", "override", NAME, "--sign-status", "no", "--reason", "x")[0] == 0
    with read_transaction(engine) as conn:
        row = agreements.find_agreement(conn, NAME)
    assert row is not None
    odd = [*json.loads(str(row.overrides)), {"term": "of a later version"}]
    store_text(engine, NAME, "overrides", json.dumps(odd))
    err = run("agreement", "load", tmp_path / "same.yaml")[2]
    assert "all overrides of the hub (sign_status, of a later version) end at once" in err
    assert run("agreement", "load", tmp_path / "same.yaml", "--accept-warnings")[0] == 0
    newest = json.loads(run("audit", "list", "--json")[1].splitlines()[0])
    shown = json.loads(run("audit", "show", newest["id"], "--json")[1])
    assert shown["before"][NAME]["overrides"] == odd
    assert "overrides" not in shown["after"][NAME]


def test_a_later_version_does_not_hide_that_the_present_one_is_not_read(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    store_text(engine, NAME, "parameters", "{}")
    status, _, err = run("agreement", "load", tmp_path / "later.yaml", "--accept-warnings")
    assert (status, err.startswith("gateway: GW906 ")) == (1, True)
    with read_transaction(engine) as conn:
        row = agreements.find_agreement(conn, NAME)
    assert row is not None
    assert row.successors is None


def test_overrides_that_are_read_stay(run: Run, engine: Engine, tmp_path: Path) -> None:
    assert run("agreement", "override", NAME, "--retries", "7", "--reason", "slow line")[0] == 0
    store_text(engine, NAME, "parameters", "{}")
    assert run("agreement", "load", tmp_path / "same.yaml", "--accept-warnings")[0] == 0
    shown = json.loads(run("agreement", "show", NAME, "--json")[1])
    assert [(one["term"], one["value"]) for one in shown["overrides"]] == [("retries", 7)]


def test_an_override_of_a_value_that_is_not_known_ends_by_consent_alone(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    assert run("agreement", "override", NAME, "--signature-policy", "legacy-norway", "--reason", "x")[0] == 0
    with read_transaction(engine) as conn:
        row = agreements.find_agreement(conn, NAME)
    assert row is not None
    store_text(
        engine, NAME, "overrides", str(row.overrides).replace('"legacy-norway"', '"of-a-later-version"')
    )
    assert list_read(engine) == ({OTHER}, [NAME])
    assert "overrides-unread" in run("agreement", "load", tmp_path / "same.yaml")[2]
    assert run("agreement", "override", NAME, "--retries", "7", "--reason", "slow line")[0] == 1


@pytest.mark.parametrize(
    "text",
    [
        write_version(pmodes=None),
        *at_night(
            write_version(valid_from="2030-01-01T00:00:00"),
            write_version(valid_until=7),
            write_version(loaded_by=None, pmodes=7),
            json.dumps([{}]),
        ),
    ],
)
def test_a_later_version_of_another_form_is_found_before_it_begins(
    run: Run, engine: Engine, tmp_path: Path, text: str
) -> None:
    store_text(engine, NAME, "successors", text)
    assert list_read(engine) == ({OTHER}, [NAME])
    assert run("agreement", "show", NAME)[2].startswith("gateway: GW906 ")
    assert run("agreement", "load", tmp_path / "same.yaml")[0] == 0
    assert list_read(engine) == ({OTHER, NAME}, [])


def test_a_pmode_of_another_agreement_makes_it_unread(run: Run, engine: Engine) -> None:
    with read_transaction(engine) as conn:
        row = agreements.list_agreement_pmodes(conn, NAME)[0]
    store_text(engine, NAME, "parameters", row.parameters.replace(NAME, "urn:example:agreement:third"))
    assert list_read(engine) == ({OTHER}, [NAME])
    assert "is of agreement urn:example:agreement:third" in run("agreement", "show", NAME)[2]


@pytest.mark.parametrize("text", ODD_TEXTS["successors"])
def test_a_later_version_does_not_replace_later_versions_that_are_not_read(
    run: Run, engine: Engine, tmp_path: Path, text: str
) -> None:
    store_text(engine, NAME, "successors", text)
    status, _, err = run("agreement", "load", tmp_path / "later.yaml", "--accept-warnings")
    assert (status, err.startswith("gateway: GW906 ")) == (1, True)
    with read_transaction(engine) as conn:
        row = agreements.find_agreement(conn, NAME)
    assert row is not None
    assert row.successors == text
