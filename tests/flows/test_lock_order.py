"""Every transaction locks the case before certificates, and certificates in one order.

With any other order an amendment and a decision could wait for each other. PostgreSQL tells who waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Final

import pytest
from lxml import etree
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from gateway.cases import Decision, DecisionCode, Notice
from gateway.hub import admit_submission
from gateway.store import make_engine, read_transaction, requirement_quantities
from gateway.wire import WCO_DEC
from tests.flows.craft import Change, all_of, at, reference
from tests.flows.item_changes import amendment
from tests.flows.test_requirement_ledger import register
from tests.kit.story import QUIET, Story

CASE: Final = "cases"
CERTIFICATE: Final = "requirements"


@pytest.fixture
def story(postgresql_url: str) -> Iterator[Story]:
    """Return a story with an open case whose item 2 uses the later one of two certificates."""
    engine = make_engine(postgresql_url)
    made = Story(engine, customs=False, agreement=QUIET)
    register(made, "C-1", "100", "KGM")
    register(made, "C-2", "100", "KGM")
    made.submit(made.submission(using(("C-2", "10"))))
    made.tick()
    yield made
    engine.dispose()


def using(*lines: tuple[str, str]) -> Change:
    """Let item 2 use certificates: number and kilograms."""

    def change(root: Any) -> None:
        goods = root.findall(".//{*}GovernmentAgencyGoodsItem")[1]
        for number, quantity in lines:
            made = etree.Element(f"{{{WCO_DEC}}}AdditionalDocument")
            etree.SubElement(made, f"{{{WCO_DEC}}}ID").text = number
            off = etree.SubElement(made, f"{{{WCO_DEC}}}WriteOff")
            etree.SubElement(off, f"{{{WCO_DEC}}}QuantityQuantity", unitCode="KGM").text = quantity
            at(goods, "Commodity").addprevious(made)

    return all_of(reference("LOCKS-1"), change)


def amend(story: Story) -> Callable[[], object]:
    """Return the amendment by which item 2 uses the earlier certificate too."""
    change = amendment(using(("C-1", "5"), ("C-2", "5")))
    story.submit(story.submission(change), action="Amend")
    (task,) = [one for one in story.deliveries(state="QUEUED") if one.subject_type == "message"]
    return lambda: admit_submission(story.hub, int(task.subject_id), lambda conn: None)


def reject(story: Story) -> Callable[[], object]:
    """Return the last decision: it gives back what item 2 uses, and names the earlier certificate."""
    story.decide("KPTA")
    story.decide("NPQS")
    said = Decision(2, "05", DecisionCode.REJECTED, "C-1", quantity=Decimal(1), unit="KGM")
    notice = Notice("KFDA-N9", story.clock(), "R04", (said,))
    return lambda: story.hear("KFDA", notice)


ACTS = {"amendment": amend, "decision": reject}


def is_free(engine: Engine, table: str, row: int) -> bool:
    """Return whether nobody has locked a row."""
    with engine.connect() as conn:
        try:
            conn.execute(text(f"SELECT id FROM {table} WHERE id = :row FOR UPDATE NOWAIT"), {"row": row})
        except OperationalError:
            return False
        finally:
            conn.rollback()
    return True


def wait_until_blocked(engine: Engine, done: Future[object]) -> None:
    """Wait until another session waits for a lock; the act must not end before."""
    asked = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as conn:
        while not conn.execute(asked).scalar():
            conn.rollback()
            assert not done.done(), "it waited for nothing"
            time.sleep(0.01)


def find_rows(story: Story) -> dict[str, int]:
    with read_transaction(story.house.engine) as conn:
        rows = requirement_quantities.find_requirements(conn, ["C-1", "C-2"])
    return {row.number: int(row.id) for row in rows}


@pytest.mark.long
@pytest.mark.parametrize("act", ACTS)
def test_the_case_is_locked_before_any_certificate(story: Story, act: str) -> None:
    engine, rows, case = story.house.engine, find_rows(story), story.case().id
    run = ACTS[act](story)
    with engine.connect() as held, ThreadPoolExecutor(1) as pool:
        held.execute(text("SELECT id FROM cases WHERE id = :row FOR UPDATE"), {"row": case})
        done = pool.submit(run)
        wait_until_blocked(engine, done)
        found = [is_free(engine, CERTIFICATE, row) for row in rows.values()]
        held.rollback()
        done.result(60)
    assert found == [True, True]


@pytest.mark.long
@pytest.mark.parametrize("act", ACTS)
def test_certificates_are_locked_in_the_order_of_their_rows(story: Story, act: str) -> None:
    """While the first one is waited for, the second one is free, though it is used and given back."""
    engine, rows, case = story.house.engine, find_rows(story), story.case().id
    assert rows["C-1"] < rows["C-2"]
    run = ACTS[act](story)
    with engine.connect() as held, ThreadPoolExecutor(1) as pool:
        held.execute(text("SELECT id FROM requirements WHERE id = :row FOR UPDATE"), {"row": rows["C-1"]})
        done = pool.submit(run)
        wait_until_blocked(engine, done)
        found = is_free(engine, CASE, case), is_free(engine, CERTIFICATE, rows["C-2"])
        held.rollback()
        done.result(60)
    assert found == (False, True)
