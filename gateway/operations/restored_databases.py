"""Judges whether a database lacks data that the hub has acknowledged, and begins its next generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import make_application_number, make_case_number
from gateway.errors import MISUSE, GatewayError
from gateway.evidence import parse_head_text, record_evidence, tree_heads
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import (
    DatabaseMark,
    acquire_named_locks,
    delivery_maintenance,
    find_mark_problem,
    list_generations,
    make_database_mark,
    parties,
    register_version,
    state_counts,
)

#: The numbers left out above the last known one, which may not be the last one that was given.
SKIPPED_NUMBERS: Final = 10_000_000
_HOLD_REASON: Final = "the database was restored: it may have been done before"


@dataclass(frozen=True, slots=True)
class JudgedHead:
    """A head that was kept elsewhere, with the number of leaves that it covers.

    Its verdict is `kept` where the evidence under it is unchanged, `later` where the database has sealed
    fewer leaves, `other` where it has sealed others, and `confirmed` where an operator has given up its
    evidence before. `root` is the root hash of its tree, in hexadecimal.
    """

    leaves: int
    root: str
    verdict: str

    @property
    def shows_loss(self) -> bool:
        """Whether evidence under the head is missing, which nobody has confirmed."""
        return self.verdict in ("later", "other")


@dataclass(frozen=True, slots=True)
class RestoreJudgment:
    """A database (`current`, None without evidence) beside its mark, and heads that were kept elsewhere.

    `problem` is the problem that the mark shows, None where there is none.
    """

    current: DatabaseMark | None
    mark: DatabaseMark | None
    problem: GatewayError | None
    heads: tuple[JudgedHead, ...]
    leaves: int

    @property
    def is_older(self) -> bool:
        """Whether something that was acknowledged is not in the database."""
        return self.problem is not None or any(head.shows_loss for head in self.heads)

    def count_lost_numbers(self) -> int:
        """Return how many serial numbers above the last one of the database were given, as far as known."""
        lost_leaves = max((head.leaves for head in self.heads), default=0) - self.leaves
        marked_serial = 0 if self.mark is None else self.mark.serial
        return max(0, lost_leaves, marked_serial - (0 if self.current is None else self.current.serial))


@dataclass(frozen=True, slots=True)
class RestoreOutcome:
    """The outcome of a confirmed restore.

    `first_case` is the lowest number that a new case may have. `held` are the tasks of the hub
    that wait for an operator, `waiting` is the number of deliveries that are sent, with their old ids.
    `partners` have to be asked for the messages that they sent and got since the backup.
    """

    generation: int
    first_case: str
    held: tuple[int, ...]
    waiting: int
    partners: tuple[str, ...]


def compare_database_with_mark(
    conn: Connection, mark: DatabaseMark | None, heads: Sequence[str]
) -> RestoreJudgment:
    """Compare a database with the mark of its hub, and with the texts of heads that were kept elsewhere.

    Mark and heads were read before the transaction began: its snapshot lacks later evidence.
    Raises GW808 for a mark of another hub, GW805 for text that is no head.
    """
    problem = None if mark is None else find_mark_problem(conn, mark)
    if problem is not None and problem.problem is MISUSE:
        raise problem
    last_head = tree_heads.find_latest_head(conn)
    sealed_count = 0 if last_head is None else int(last_head.last_seq)
    return RestoreJudgment(
        make_database_mark(conn),
        mark,
        problem,
        tuple(_compare_head(conn, head_text, sealed_count) for head_text in heads),
        sealed_count + tree_heads.count_unsealed_leaves(conn),
    )


def _compare_head(conn: Connection, head_text: str, sealed_count: int) -> JudgedHead:
    leaf_count, root_hash = parse_head_text(head_text)
    root = root_hash.hex()
    if leaf_count <= sealed_count and tree_heads.compute_tree(conn, leaf_count).root_hash == root_hash:
        return JudgedHead(leaf_count, root, "kept")
    if any(root in generation.lost_roots for generation in list_generations(conn)):
        return JudgedHead(leaf_count, root, "confirmed")
    return JudgedHead(leaf_count, root, "later" if leaf_count > sealed_count else "other")


def lock_restore(conn: Connection) -> None:
    """Wait until no other transaction confirms a restore of this database, before this one compares it."""
    acquire_named_locks(conn, "restored database")


def confirm_restore(
    change: DatabaseChange, judgment: RestoreJudgment, skipped_numbers: int, *, has_proof: bool = True
) -> RestoreOutcome:
    """Begin the next generation of a restored database, in the transaction of the change.

    Raises GW808 for a database of which nothing shows that it is older, unless `has_proof` is false: an
    operator knows it.

    New numbers begin `skipped_numbers` above the highest one that is known. Tasks of the hub that were due
    are held, because they may have been done: they would open cases and send results anew. Calls and messages
    that wait keep their ids, by which partners know them, and are sent.
    """
    if has_proof and not judgment.is_older:
        raise GatewayError(MISUSE, _describe_missing_proof(judgment), "--without-proof")
    conn, current = change.conn, judgment.current
    generation_before = 1 if current is None else current.generation
    new_generation = max(generation_before, 0 if judgment.mark is None else judgment.mark.generation) + 1
    last_message = 0 if current is None else current.message
    serial = (0 if current is None else current.serial) + judgment.count_lost_numbers() + skipped_numbers
    first_case_number = _make_first_case_number(serial + 1, change.at.year)
    held_tasks = delivery_maintenance.hold_due_tasks(conn, change.at, change.actor, _HOLD_REASON)
    register_version.raise_all_versions(conn)
    evidence_fields = {
        "generation": new_generation,
        "after_message": last_message,
        "shift": serial - last_message,
        "by": change.actor,
        "reason": change.act.reason,
        "mark": None if judgment.mark is None else _describe_mark(judgment.mark),
        "restored": None if current is None else _describe_mark(current),
        "heads": [asdict(head) for head in judgment.heads],
        "held": list(held_tasks),
    }
    record_evidence(conn, "restored", "database", new_generation, None, evidence_fields, change.at)
    change.record_change(
        "database",
        before={"generation": generation_before, "serial": 0 if current is None else current.serial},
        after={"generation": new_generation, "serial": serial, "held": held_tasks},
    )
    states = state_counts.count_deliveries(conn)
    return RestoreOutcome(
        new_generation,
        first_case_number,
        held_tasks,
        states["QUEUED"] + states["AWAITING_RECEIPT"],
        tuple(row.id for row in parties.list_parties(conn) if row.role != "hub"),
    )


def _describe_missing_proof(judgment: RestoreJudgment) -> str:
    seen = (
        "this home has no mark"
        if judgment.mark is None
        else "the database goes on from the mark of this home"
    )
    heads = ", and no head shows a loss that is not confirmed" if judgment.heads else ""
    return (
        f"nothing shows that the database is older than what was acknowledged: {seen}{heads}. Confirm it on "
        "a node whose `gateway restore check` says older, or with a later head; add --without-proof only if "
        "processes are held although it says nothing, or if you know that the database was restored, and its "
        "mark with it or the mark is lost"
    )


def _make_first_case_number(serial: int, year: int) -> str:
    """Return the lowest number that a case may have now; raises GW806 where none is left for applications."""
    make_application_number(serial, year, 1)
    return make_case_number(serial, year)


def _describe_mark(mark: DatabaseMark) -> dict[str, Any]:
    return {**asdict(mark), "at": mark.at.isoformat()}
