"""The hub holds the rules on the declaration: an error reaches no agency, a warning is kept with the case."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.store import cases, read_transaction
from tests.flows.craft import reference
from tests.kit.databases import BOTH
from tests.kit.story import Story

FIRST = "30041010"


def set_tariff_code(root: etree._Element, code: str) -> None:
    """Change the tariff code of the first item."""
    next(one for one in root.iter("{*}ID") if one.text == FIRST).text = code


@pytest.mark.long
@BOTH
@pytest.mark.parametrize(
    ("code", "problem"), [("9905320X", "GW404"), ("00000000", "GW403"), ("99053200", "GW403")]
)
def test_no_request_carries_a_malformed_tariff_code(engine: Engine, code: str, problem: str) -> None:
    story = Story(engine)
    story.submit(story.submission(lambda root: set_tariff_code(root, code)))
    story.tick()
    assert problem in {found for found, _ in story.problems()}
    assert not [call for call in story.soap.calls if call.destination != "customs"]


def test_a_warning_is_kept_and_shown_with_the_case(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(engine)
    story.submit(story.submission(lambda root: set_tariff_code(root, "30048899")))
    story.tick()
    with read_transaction(engine) as conn:
        (row,) = cases.list_cases(conn, limit=5)
    warning, superfluous = row.detail["warnings"]
    # The rules of need do not know the code either.
    assert superfluous["id"] == "GW511"
    assert warning["id"] == "GW403"
    assert "'3004889900' begins with 300488, which is no code of WCO" in warning["text"]
    assert {call.destination for call in story.soap.calls} >= {"KPTA", "KFDA", "NPQS"}
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", row.number, "--home", str(tmp_path)]) == 0
    assert "  warning GW403 The HS code is not in HS 2022 (" in capsys.readouterr().out


def test_a_good_submission_has_no_warning(engine: Engine) -> None:
    story = Story(engine)
    story.submit(story.submission(reference("GOOD-1")))
    story.tick()
    with read_transaction(engine) as conn:
        (row,) = cases.list_cases(conn, limit=5)
    assert "warnings" not in row.detail
