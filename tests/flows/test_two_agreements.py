"""Two agreements of one partner whose P-Modes have the same ids: each message stays with its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.operations import load_unchecked_agreement
from gateway.store import messages, read_transaction, write_transaction
from tests.flows.craft import without_applications
from tests.kit.databases import in_turn
from tests.kit.house import AGREEMENT
from tests.kit.paths import ROOT
from tests.kit.story import Story

NAME = b"urn:example:agreement:broker1-hub:2026"
NEXT = NAME.replace(b"2026", b"2027")
#: The other agreement has the same ids, and says otherwise where its results go.
OTHER = AGREEMENT.replace(NAME, NEXT).replace(b"http://127.0.0.1:8901", b"http://127.0.0.1:8999")


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("first", [AGREEMENT, OTHER], ids=["first", "second"])
def test_a_result_goes_by_the_agreement_of_its_submission(engine: Engine, first: bytes) -> None:
    story = Story(engine, customs=False, agreement=first)
    with write_transaction(engine) as conn:
        load_unchecked_agreement(
            conn, OTHER if first is AGREEMENT else AGREEMENT, "other.yaml", story.clock()
        )
    story.inbox.answers.append(HttpAnswer(204, {}, b""))
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    wanted = (NAME if first is AGREEMENT else NEXT).decode()
    with read_transaction(engine) as conn:
        found = {(row.direction, row.agreement_id, row.pmode_id) for row in messages.list_messages(conn)}
    assert found == {("in", wanted, "broker1-submit"), ("out", wanted, "broker1-result")}
    (delivery,) = (row for row in story.deliveries(agent="msh") if row.parameters["action"] == "Result")
    assert delivery.parameters["agreement"] == wanted
    assert ("8999" in delivery.parameters["endpoint"]) == (first is OTHER)
    story.tick(seconds=301)
    assert story.case().state == "CLOSED"


def test_the_renamed_sample_is_loaded_beside_itself(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    Story(engine)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{engine.url.render_as_string(False)}"\n')
    sample = (ROOT / "conformance" / "agreements" / "example.yaml").read_bytes()
    for name in ("broker1-hub:2026", "broker1-hub:2027"):
        file = tmp_path / "agreement.yaml"
        file.write_bytes(sample.replace(b"broker1-hub:2026", name.encode()))
        status = main(["agreement", "load", str(file), "--home", str(tmp_path)])
        assert (status, capsys.readouterr().err) == (0, "")
    assert main(["agreement", "list", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("ACTIVE") == 2


def test_two_pmodes_that_differ_in_the_type_of_the_service_are_loaded(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    Story(engine)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{engine.url.render_as_string(False)}"\n')
    more = b"""
  - {id: other-store, from: applicant, to: hub, service: {type: other, value: store}, action: Store}
"""
    file = tmp_path / "agreement.yaml"
    file.write_bytes(AGREEMENT.rstrip() + more)
    assert main(["agreement", "load", str(file), "--home", str(tmp_path)]) == 0
    assert "other-store" in capsys.readouterr().out
