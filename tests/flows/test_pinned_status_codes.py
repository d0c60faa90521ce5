"""What a status code means for a case is what it meant when the case was opened, in both forms of a notice.

New mappings, in which codes are gone or mean something else, count for the cases that are opened with them.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, NamedFee, Notice, ReceiveAct
from gateway.errors import CODE_UNKNOWN, GatewayError
from gateway.hub import apply_call_back, list_application_history
from gateway.hub.answers.delivered_notices import read_agency_document
from gateway.share import get_data_folder
from gateway.store import make_engine, read_transaction
from tests.flows.craft import reference
from tests.flows.test_deadlines import rows, seoul
from tests.flows.test_delivered_notices import about, make_document, make_status
from tests.flows.test_fees import KRW, Provider, calls, fees_of, provider, story, told_of
from tests.flows.test_pinned_mappings import restart
from tests.kit.databases import BOTH, KINDS, Templates
from tests.kit.officers import ConsoleStory
from tests.kit.story import Story

__all__ = ["provider", "story"]  # fixtures

AGENCY = "NPQS"
DUE = seoul("2026-12-02T12:00")
#: The code whose meaning another one has in the new table; those without one are gone.
CHANGED = {"F12": "F01", "D01": "C04", "E01": "C04", "Y01": "C04", "Y02": "C04", "C02": "G01"}
GONE = ("E05", "E07", "Y08")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of mappings in which status codes are gone, or mean something else."""
    folder = tmp_path_factory.mktemp("changed") / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), folder)
    table = folder / "codelists" / "requirement-status.csv"
    lines = {line[:3]: line for line in table.read_text("utf-8").splitlines()}
    table.write_text(
        "".join(
            f"{code}{lines[CHANGED[code]][3:] if code in CHANGED else line[3:]}\n"
            for code, line in lines.items()
            if code not in GONE
        ),
        "utf-8",
    )
    return folder


def begin(story: Story) -> None:
    """Submit, with the mappings that the program comes with."""
    restart(story, Path(str(get_data_folder("mappings"))))
    story.submit()


def say(story: Story, code: str, *, own_form: bool, minute: int, **more: Any) -> None:
    """Let KPTA say a code of its application, in the hub's form or in the agency's own."""
    number, name = story.number_of("KPTA"), f"H-{code}"
    if own_form:
        root = make_document("GOVCBRRBH", make_status(code, about=about(number)).replace("H-1", name))
        said = read_agency_document(story.hub, "KPTA", root).callback
        answer = replace(said.answer, issued_at=story.clock() + timedelta(minutes=minute))
        apply_call_back(story.hub, "KPTA", replace(said, answer=answer))
        return
    story.hear("KPTA", Notice(name, story.clock() + timedelta(minutes=minute), code, **more))


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("own_form", [False, True], ids=["ours", "own"])
def test_an_open_case_keeps_its_codes_and_a_new_one_has_the_new_ones(
    engine: Engine, changed: Path, *, own_form: bool
) -> None:
    story = Story(engine)
    begin(story)
    story.tick(seconds=1)
    restart(story, changed)
    wanted = {"E05": "INSPECTION", "F12": "INSPECTION", "E07": "ACKNOWLEDGED", "D01": "INFORMATION_REQUIRED"}
    for minute, (code, state) in enumerate(wanted.items()):
        say(story, code, own_form=own_form, minute=minute)
        assert (story.request("KPTA").state, story.request("KPTA").status_code) == (state, code)
    with read_transaction(story.house.engine) as conn:
        history = list_application_history(story.hub, conn, story.request("KPTA"))
    assert "internal approval under way" in repr(history)
    story.soap.calls.clear()
    story.submit(story.submission(reference("AFTER-1")))
    story.tick(seconds=1)
    with pytest.raises(GatewayError) as refused:
        say(story, "E05", own_form=False, minute=5)
    assert refused.value.problem is CODE_UNKNOWN
    story.hear("KPTA", Notice("NEW", story.clock(), "F12"))
    assert story.request("KPTA").state == "DECIDED"


def list_steps(story: Story) -> dict[str, Callable[[], str]]:
    """Return what the agency says by steps that the new table does not know, each once."""
    base = story.clock()
    said = {
        "inspect": ("E01", 1, None, DUE),
        "ask": ("D01", 2, None, DUE),
        "levy": ("Y05", 3, NamedFee(KRW, payment_notice="F1"), DUE),
        "confirm": ("Y08", 4, NamedFee(payment_notice="F1"), None),
    }

    def make(name: str) -> Callable[[], str]:
        code, minute, fee, due = said[name]
        at = base + timedelta(minutes=minute)
        return lambda: story.hear(AGENCY, Notice(name, at, code, deadline=due, fee=fee))

    return {name: make(name) for name in said}


def live_through(templates: Templates, kind: str, order: tuple[str, ...], changed: Path, at: int) -> Any:
    """Return what stands after notices, where new mappings come into force before one of them."""
    url = templates.fresh(kind)
    engine = make_engine(url)
    story = Story(engine)
    begin(story)
    story.tick(hours=1)
    steps = list_steps(story)
    for place, name in enumerate(order):
        if place == at:
            restart(story, changed)
        steps[name]()
        story.tick(seconds=1)
    request = story.request(AGENCY)
    live = {one: [row.state for row in rows(story, AGENCY, one)] for one in ("inspect", "answer", "decide")}
    found = (request.state, request.status_code, [row.state for row in fees_of(story, AGENCY)], live)
    engine.dispose()
    templates.drop(url)
    return found


@pytest.mark.night
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize(
    "order", list(itertools.permutations(("inspect", "ask", "levy", "confirm"))), ids="-".join
)
def test_questions_inspections_and_fees_stand_by_the_codes_of_their_case_in_every_order(
    order: tuple[str, ...], at: int, kind: str, templates: Templates, changed: Path
) -> None:
    state, code, levied, live = live_through(templates, kind, order, changed, at)
    assert (state, code, levied) == ("INFORMATION_REQUIRED", "Y08", ["CONFIRMED"])
    assert live == {"inspect": ["OPEN"], "answer": ["OPEN"], "decide": ["HELD"]}


@pytest.mark.long
def test_the_gate_before_forwarding_is_opened_by_the_codes_of_the_case(
    story: Story, provider: Provider, changed: Path
) -> None:
    begin(story)
    story.tick(seconds=1)
    restart(story, changed)
    number = story.request("KPTA").number
    notice = Notice("W", story.clock(), "Y02")
    apply_call_back(story.hub, "KPTA", AgencyCallback(notice, number))
    story.tick(seconds=1)
    assert calls(story, "KPTA") == ["SubmitApplication"]
    assert [row.state for row in fees_of(story, "KPTA")] == ["CANCELLED"]


@pytest.mark.long
def test_the_applicant_is_told_of_a_fee_by_the_codes_of_the_case(
    story: Story, provider: Provider, changed: Path
) -> None:
    begin(story)
    story.tick(seconds=1)
    restart(story, changed)
    story.hear(AGENCY, Notice("L", story.clock(), "Y01", fee=NamedFee(KRW)))
    story.tick(seconds=1)
    # The agency's notice, and the hub's with the address.
    assert len(told_of(story, "Y01")) == 2


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_console_offers_and_performs_the_codes_of_the_case(
    kind: str, templates: Templates, changed: Path
) -> None:
    url = templates.fresh(kind)
    engine = make_engine(url)
    story = ConsoleStory(engine)
    begin(story)
    story.tick()
    seen = story.look()
    restart(story, changed)
    desk, kim = story.desk, story.officer("kim")
    offered = {kind: {one.code for one in desk.list_status_codes(kind, seen.number)} for kind in
               ("receive", "inspect", "fee")}  # fmt: skip
    assert {"C02", "F12"} <= offered["receive"]
    assert {"E05", "E07"} <= offered["inspect"]
    assert "Y01" in offered["fee"]
    done = desk.perform_act(kim, seen.number, ReceiveAct("F12"), seen.shown_digest)
    assert (done.state, story.look().state, story.look().request.status_code) == (
        "PERFORMED",
        "ACKNOWLEDGED",
        "F12",
    )
    engine.dispose()
    templates.drop(url)
