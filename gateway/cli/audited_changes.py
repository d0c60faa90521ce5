"""The one way in which a verb changes a database: in one transaction with its row of audit.

The audit says who acted: the account of the operating system, and the name that ``--by`` gives.
A verb that ends without its row of audit is our mistake, and changes nothing.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.settings import open_engine, read_home_settings, read_verb_settings
from gateway.cli.verb_groups import Arguments
from gateway.cli.verb_table import VERBS
from gateway.config import Settings
from gateway.errors import SCHEMA_VERSION_WRONG, GatewayError
from gateway.hub import build_engine
from gateway.operations import Act, DatabaseChange, make_plain, open_change
from gateway.store import check_schema_version

__all__ = [
    "FileChange",
    "change_database",
    "change_files",
    "print_change",
    "read_act",
]

#: The file of the database of a home without settings.
_DATABASE: Final = "gateway.sqlite3"


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
def change_database(arguments: Arguments, reason: str | None = None) -> Iterator[DatabaseChange]:
    """Provide one transaction on the database of the settings, which is committed with its audit."""
    settings = read_verb_settings(arguments)
    act = replace(read_act(arguments), reason=reason)
    with open_engine(settings) as engine, open_change(engine, settings, act) as change:
        yield change


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
    with open_engine(settings) as engine, open_change(engine, settings, act) as change:
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
