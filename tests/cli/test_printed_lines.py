"""What is printed of a value that a stranger wrote stays on its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from gateway.cli import main
from gateway.cli.result_output import (
    ReportedFailure,
    format_named_values,
    print_failure,
    print_line,
    print_problem,
    print_sentence,
    print_table,
)
from gateway.store import make_engine, write_transaction
from tests.kit import tables

HOSTILE = "Ann\nbroker9  ACTIVE\r\x1b[2Jand more"
SHOWN = "Ann\\nbroker9  ACTIVE\\u000d\\u001b[2Jand more"


@pytest.mark.parametrize(
    "show",
    [
        lambda: print_line(f"party {HOSTILE}"),
        lambda: print_sentence(f"Party {HOSTILE} is there."),
        lambda: print_table([{"name": HOSTILE}], as_json=False, columns=("name",)),
        lambda: print(format_named_values({"name": HOSTILE})),
        lambda: print_failure(ReportedFailure(f"there is no {HOSTILE}", "GW808", "party", "gateway party")),
        lambda: print_problem(f"GW808 {HOSTILE}"),
    ],
)
def test_a_line_stays_one_line(show: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    show()
    told = capsys.readouterr()
    (line,) = [one for one in (told.out + told.err).splitlines() if one != "NAME"]
    assert SHOWN in line


@pytest.mark.night
def test_names_that_are_stored_already_stay_on_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were stored before names had to be one line."""
    home = tmp_path / "home"
    for verb in (["migrate", "--new"], ["party", "add", "broker1", "--name", "Ann"]):
        main([*verb, "--home", str(home)])
    engine = make_engine(f"sqlite:///{home}/gateway.sqlite3")
    with write_transaction(engine) as conn:
        conn.execute(update(tables.parties).values(name=HOSTILE))
    engine.dispose()
    capsys.readouterr()
    for verb in (["party", "list"], ["party", "show", "broker1"]):
        main([*verb, "--home", str(home)])
        told = capsys.readouterr().out
        assert not [line for line in told.splitlines() if line.startswith("broker9")]
        assert SHOWN in told or json.dumps(HOSTILE) in told
