"""The only way in which a verb changes a database: in one transaction with its row in the audit log.

The audit log records who acted: the account of the operating system, and the name of option ``--by``.
A verb that ends without its audit row is a mistake in the program, and changes nothing. The functions import
the modules for changes themselves, as verbs that only read are in the same files as verbs that change data.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.home_folder import open_engine, read_home_settings, read_verb_settings
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.errors import SCHEMA_VERSION_WRONG, GatewayError
from gateway.hub import build_engine
from gateway.operations import make_json_value
from gateway.store import check_schema_version

if TYPE_CHECKING:
    from gateway.operations import Act, DatabaseChange

#: The file of the database of a home without settings.
_DATABASE: Final = "gateway.sqlite3"


@dataclass(slots=True)
class FileChange:
    """A change of files by a verb; `database_change` is None where the files belong to no home."""

    act: Act
    database_change: DatabaseChange | None

    def record_trust_change(self, subject: str, *, before: Any = None, after: Any = None) -> None:
        """Record a change of the trusted authorities in the audit log of the home, if there is a home."""
        if self.database_change is not None:
            self.database_change.record_trust_change(subject, before=before, after=after)

    def describe_act(self, sentence: str, **more: Any) -> dict[str, Any]:
        """Return the act for JSON, with the sentence about it and the number of its row in the audit log."""
        description: dict[str, Any] = {"verb": self.act.verb, "done": sentence, "by": self.act.actor}
        description["audit"] = self.database_change.audit_number if self.database_change is not None else None
        return description | {name: make_json_value(value) for name, value in more.items()}


def read_act(arguments: Arguments) -> Act:
    """Return the verb and its person; raise RuntimeError for a verb without ``--by``, which only reads."""
    if not hasattr(arguments, "by"):
        raise RuntimeError(f"gateway {arguments.verb_words} is declared as reading only")
    return make_act(arguments.verb_words, arguments.by)


def make_act(verb_words: str, by: str | None = None) -> Act:
    """Return the act of a verb by a person, or by the account of this process."""
    from gateway.operations import Act

    account = find_account()
    return Act(verb_words, by or account, account)


def find_account() -> str:
    """Return the name of the account that runs this process, or its number if it has no name."""
    # The environment (LOGNAME, USER) is not read: its owner can set any name there.
    user_id = os.getuid()
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


@contextmanager
def change_database(arguments: Arguments, reason: str | None = None) -> Iterator[DatabaseChange]:
    """Provide one transaction on the database of the settings, committed with its row in the audit log."""
    from gateway.operations import open_change

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
    from gateway.operations import open_change

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
    """Return whether the database of a home exists and has the schema version of this program."""
    # A home may be prepared before its database: `pki demo` comes before `migrate`.
    url_scheme, _, path = settings.database.url.partition(":///")
    if url_scheme.startswith("sqlite") and not Path(path.partition("?")[0]).is_file():
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


def print_change(change: DatabaseChange, *sentences: str, as_json: bool, **more: Any) -> None:
    """Print the result of a verb: sentences, each on its line, or one JSON object with the changes."""
    if as_json:
        print_json(change.describe_performed_act("\n".join(sentences), **more))
    else:
        for sentence in sentences:
            print_sentence(sentence)
