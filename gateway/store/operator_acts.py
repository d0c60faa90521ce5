"""Stores acts of operators that are looked at, or that wait for a second person, before they are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from gateway.store.account_tables import accounts
from gateway.store.operations_tables import operator_acts

__all__ = [
    "ActDecision",
    "NewOperatorAct",
    "confirm_draft",
    "count_pending",
    "end_act",
    "find_act",
    "insert_act",
    "list_acts",
    "set_outcome",
]


@dataclass(frozen=True, slots=True)
class NewOperatorAct:
    """An act that somebody proposes; a DRAFT is not proposed yet."""

    act: str
    object: str
    parameters: Mapping[str, Any]
    proposed_by: int
    state: str = "PENDING"
    reason: str | None = None
    content: bytes | None = field(default=None, repr=False)
    content_name: str | None = None


@dataclass(frozen=True, slots=True)
class ActDecision:
    """Who ends an act, when, and why."""

    account: int
    at: datetime
    reason: str | None = None


_proposer: Final = accounts.alias("proposer")
_decider: Final = accounts.alias("decider")
_COLUMNS: Final[tuple[Any, ...]] = (
    *(column for column in operator_acts.c if column is not operator_acts.c.content),
    _proposer.c.name.label("proposer"),
    _decider.c.name.label("decider"),
)
_SOURCE: Final = operator_acts.join(_proposer, _proposer.c.id == operator_acts.c.proposed_by).outerjoin(
    _decider, _decider.c.id == operator_acts.c.decided_by
)


def insert_act(conn: Connection, new: NewOperatorAct, at: datetime) -> int:
    """Store an act; return its number."""
    row = asdict(new) | {"proposed_at": at}
    return int(conn.execute(insert(operator_acts), row).inserted_primary_key[0])  # type: ignore[index]


def find_act(conn: Connection, number: int) -> Row[Any] | None:
    """Return the act with the names of who proposed and who ended it, and its content."""
    columns: tuple[Any, ...] = (*_COLUMNS, operator_acts.c.content)
    found = select(*columns).select_from(_SOURCE)
    return conn.execute(found.where(operator_acts.c.id == number)).first()


def list_acts(conn: Connection, state: str, *, limit: int = 50) -> Sequence[Row[Any]]:
    """Return the acts in a state without their content, newest first."""
    found = select(*_COLUMNS).select_from(_SOURCE).where(operator_acts.c.state == state)
    return conn.execute(found.order_by(operator_acts.c.id.desc()).limit(limit)).all()


def count_pending(conn: Connection) -> int:
    """Return how many acts wait for a second person."""
    found = select(func.count()).where(operator_acts.c.state == "PENDING")
    return int(conn.execute(found).scalar_one())


def confirm_draft(conn: Connection, number: int, account: int, reason: str, at: datetime) -> bool:
    """Make a draft of a person a proposal; return False when it no longer is a draft of this person."""
    o = operator_acts.c
    mine = (o.id == number, o.state == "DRAFT", o.proposed_by == account)
    changed = update(operator_acts).where(*mine).values(state="PENDING", reason=reason, proposed_at=at)
    return conn.execute(changed).rowcount == 1


def end_act(conn: Connection, number: int, state: str, by: ActDecision, *, alone: bool = False) -> bool:
    """End an act that waits, as one statement; return False when it waits no longer, or not for this person.

    An act is DONE or REJECTED by another person than proposed it, unless it may be done `alone`;
    it is WITHDRAWN by the person who proposed it.
    """
    o = operator_acts.c
    waiting = [o.id == number, o.state.in_(("PENDING", "DRAFT") if state == "WITHDRAWN" else ("PENDING",))]
    if state == "WITHDRAWN":
        waiting.append(o.proposed_by == by.account)
    elif not alone:
        waiting.append(o.proposed_by != by.account)
    values = {"state": state, "decided_by": by.account, "decided_at": by.at, "decision_reason": by.reason}
    return conn.execute(update(operator_acts).where(*waiting).values(values)).rowcount == 1


def set_outcome(conn: Connection, number: int, sentence: str) -> None:
    """Store what an act has done, and remove the file that came with it."""
    changed = update(operator_acts).where(operator_acts.c.id == number)
    conn.execute(changed.values(outcome=sentence, content=None))
