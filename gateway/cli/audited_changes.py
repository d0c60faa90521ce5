"""The one way in which a verb changes a database: in one transaction with its row of audit.

The audit says who acted: the account of the operating system, and the name that ``--by`` gives.
A verb that ends without its row of audit is our mistake, and changes nothing.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.cli.result_output import format_value, print_json, print_sentence
from gateway.cli.settings import open_engine, read_home_settings, read_verb_settings
from gateway.cli.verb_groups import Arguments
from gateway.cli.verb_table import VERBS
from gateway.config import Settings
from gateway.errors import SCHEMA_VERSION_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.hub import build_engine, get_current_time
from gateway.store import AuditEntry, audit_log, check_schema_version, write_transaction

__all__ = [
    "Act",
    "DatabaseChange",
    "FileChange",
    "change_database",
    "change_files",
    "print_change",
    "read_act",
]

#: The role of everybody who acts by verbs.
_ROLE: Final = "operator"
#: The file of the database of a home without settings.
_DATABASE: Final = "gateway.sqlite3"


@dataclass(frozen=True, slots=True)
class Act:
    """A verb that somebody runs: its words, who acts, and the account that runs it."""

    verb: str
    by: str
    account: str

    def make_entry(self, what: str, before: Any, after: Any) -> AuditEntry:
        """Return the entry of the audit for a change of `what`; times become texts."""
        plain = (make_plain(before), make_plain(after))
        return AuditEntry(
            self.by, _ROLE, self.verb, what, before=plain[0], after=plain[1], account=self.account
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


@dataclass(slots=True)
class FileChange:
    """A change of files by a verb; `change` is None where the files belong to no home."""

    act: Act
    change: DatabaseChange | None

    def record_trust_change(self, what: str, *, before: Any = None, after: Any = None) -> None:
        """Record a change of whom we believe, where there is a home that records it."""
        if self.change is not None:
            self.change.record_trust_change(what, before=before, after=after)

    def describe_act(self, sentence: str, **more: Any) -> dict[str, Any]:
        """Return for JSON what was done, with the number of its row of audit."""
        told: dict[str, Any] = {"verb": self.act.verb, "done": sentence, "by": self.act.by}
        told["audit"] = self.change.number if self.change is not None else None
        return told | {name: make_plain(value) for name, value in more.items()}


def read_act(arguments: Arguments) -> Act:
    """Return who runs which verb; the verb must be declared as one that changes something."""
    words = arguments.verb_words
    if VERBS[words].effect == "reads":
        raise RuntimeError(f"gateway {words} is declared as reading only")
    account = find_account()
    return Act(words, getattr(arguments, "by", None) or account, account)


def find_account() -> str:
    """Return the name of the account that runs this process; its number where it has no name."""
    # The environment (LOGNAME, USER) says whatever its owner wants.
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@contextmanager
def change_database(arguments: Arguments) -> Iterator[DatabaseChange]:
    """Provide one transaction on the database of the settings, which is committed with its audit."""
    settings = read_verb_settings(arguments)
    with open_engine(settings) as engine, open_change(engine, settings, arguments) as change:
        yield change


@contextmanager
def open_change(
    engine: Engine, settings: Settings, arguments: Arguments, name: str = ""
) -> Iterator[DatabaseChange]:
    """Provide one transaction of an engine, which is committed with its audit; `name` names its commit."""
    act = read_act(arguments)
    with write_transaction(engine, name) as conn:
        change = DatabaseChange(conn, settings, act, get_current_time())
        yield change
        change.check_record()


@contextmanager
def change_files(arguments: Arguments, folder: Path) -> Iterator[FileChange]:
    """Provide the change of a folder; in the folder of a home it is recorded in the database of the home.

    The files are written before the commit: a change of files without its row of audit is possible
    when the process is killed between the two, a row without its change is not.
    """
    act = read_act(arguments)
    settings = _find_home_of_folder(folder)
    if settings is None:
        yield FileChange(act, None)
        return
    with open_engine(settings) as engine, open_change(engine, settings, arguments) as change:
        yield FileChange(act, change)


def _find_home_of_folder(folder: Path) -> Settings | None:
    """Return the settings of the home that the folder is, or is in; None where no database of it exists."""
    for home in (folder.absolute(), folder.absolute().parent):
        if (home / "gateway.toml").is_file() or (home / _DATABASE).is_file():
            settings = read_home_settings(home)
            return settings if _has_usable_database(settings) else None
    return None


def _has_usable_database(settings: Settings) -> bool:
    # A home may be prepared before its database: `pki demo` comes before `migrate`.
    kind, _, path = settings.database.url.partition(":///")
    if kind.startswith("sqlite") and not Path(path.partition("?")[0]).is_file():
        return False
    engine = build_engine(settings)
    try:
        check_schema_version(engine)
    except GatewayError as problem:
        if problem.problem is not SCHEMA_VERSION_WRONG:
            raise
        return False
    finally:
        engine.dispose()
    return True


def print_change(change: DatabaseChange, sentence: str, *, as_json: bool, **more: Any) -> None:
    """Print what a verb has done: one sentence, or one object with what was changed."""
    if not as_json:
        print_sentence(sentence)
        return
    print_json(change.describe_done(sentence, **more))


def make_plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON lacks becomes text."""
    if isinstance(value, Mapping):
        return {str(name): make_plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [make_plain(inner) for inner in value]
    if isinstance(value, datetime):
        # What is kept as evidence does not depend on the zone of the reader.
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = format_value(value)
    return told if told is None or isinstance(told, str | int) else str(told)
