"""The one way in which an operator changes a database: in one transaction with its row of audit.

The audit says who acted, and why where a reason is given. An act that ends without its row of audit is
our mistake, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.config import Settings
from gateway.evidence import record_evidence
from gateway.hub import get_current_time
from gateway.operations.plain_values import make_plain
from gateway.store import AuditEntry, audit_log, read_database_time, write_transaction

__all__ = ["Act", "DatabaseChange", "open_change"]

#: The role of everybody who acts by verbs, or on the pages of operators.
_ROLE: Final = "operator"


@dataclass(frozen=True, slots=True)
class Act:
    """A verb that somebody runs, or the same act on a page: its words, who acts, and why.

    `account` is that of the operating system that runs a verb; None for a person of the console, whose
    network is `remote`.
    """

    verb: str
    by: str
    account: str | None = None
    reason: str | None = None
    remote: str | None = None

    def make_entry(self, what: str, before: Any, after: Any) -> AuditEntry:
        """Return the entry of the audit for a change of `what`; times become texts."""
        return AuditEntry(
            self.by,
            _ROLE,
            self.verb,
            what,
            remote=self.remote,
            before=make_plain(before),
            after=make_plain(after),
            account=self.account,
            reason=self.reason,
        )


@dataclass(slots=True)
class DatabaseChange:
    """A transaction of a verb, which must record what it changes, or state that nothing changes."""

    conn: Connection
    settings: Settings
    act: Act
    at: datetime
    entry: AuditEntry | None = None
    #: The number of the row of audit.
    number: int | None = None
    _is_unchanged: bool = field(default=False, repr=False)

    @property
    def by(self) -> str:
        """Return who acts."""
        return self.act.by

    def record_change(self, what: str, *, before: Any = None, after: Any = None) -> None:
        """Record the one change of this verb: `what` it acts on, and how that was and is."""
        if self.entry is not None:
            raise RuntimeError(f"gateway {self.act.verb} records two changes")
        self.entry = self.act.make_entry(what, before, after)
        self.number = audit_log.record_action(self.conn, self.entry, self.at)

    def record_trust_change(self, what: str, *, before: Any = None, after: Any = None) -> None:
        """Record a change of whom we believe: in the audit, and as evidence."""
        self.record_change(what, before=before, after=after)
        assert self.entry is not None
        data = {
            "verb": self.act.verb,
            "by": self.act.by,
            "account": self.act.account,
            **({"reason": self.act.reason} if self.act.reason else {}),
            "audit": self.number,
            "before": self.entry.before,
            "after": self.entry.after,
        }
        record_evidence(self.conn, "register", "register", what, None, data, self.at)

    def leave_unchanged(self) -> None:
        """State that this verb changes nothing, so that nothing is recorded."""
        self._is_unchanged = True

    def describe_done(self, sentence: str, **more: Any) -> dict[str, Any]:
        """Return for JSON what was done to what, with the number of its row of audit."""
        told = {"verb": self.act.verb, "done": sentence, "audit": self.number, "by": self.act.by}
        if self.entry is not None:
            told |= {"object": self.entry.object, "before": self.entry.before, "after": self.entry.after}
        return told | {name: make_plain(value) for name, value in more.items()}

    def check_record(self) -> None:
        """Raise unless the change is recorded, or there is none."""
        if (self.entry is None) != self._is_unchanged:
            raise RuntimeError(f"gateway {self.act.verb} does not record what it changes")


@contextmanager
def open_change(
    engine: Engine, settings: Settings, act: Act, name: str = "", at: datetime | None = None
) -> Iterator[DatabaseChange]:
    """Provide one transaction of an engine, which is committed with its audit.

    `name` names its commit; `at` is the time of the change, if it is not now.
    """
    with write_transaction(engine, name) as conn:
        change = DatabaseChange(conn, settings, act, at or read_database_time(conn) or get_current_time())
        yield change
        change.check_record()
