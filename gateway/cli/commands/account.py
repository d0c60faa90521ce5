"""``gateway account add|list|show|role|password|suspend|resume``: people who sign in to the console.

A password is never an argument: other users of the machine would see it. It is read from the terminal,
or as one line from standard input.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click
from sqlalchemy import Connection, Row

from gateway.accounts import (
    ROLES,
    Organisation,
    OrganisationKind,
    find_password_problem,
    hash_password,
    list_roles,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.result_output import print_json, print_table, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.store import NewAccount, accounts, sessions

__all__ = [
    "add_account",
    "list_accounts",
    "resume_account",
    "set_account_password",
    "set_account_roles",
    "show_account",
    "suspend_account",
]

_COLUMNS: Final = ("name", "display_name", "status", "roles")
_SALT: Final = 16


class _OrganisationType(click.ParamType[Organisation]):
    """``agency/CODE``, ``party/ID`` or ``operator/hub``."""

    name = "kind/code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Organisation:
        """Return the organisation; a kind that does not exist is misuse."""
        kind, _, code = str(value).partition("/")
        if kind not in set(OrganisationKind) or not code:
            kinds = ", ".join(OrganisationKind)
            self.fail(f"{value!r} is not KIND/CODE with a kind of: {kinds}", param, ctx)
        return Organisation(OrganisationKind(kind), code)


_ORGANISATION: Final = _OrganisationType()


@verb
@click.argument("name", help="the name to sign in with")
@click.option("--display-name", help="the name that others see (default: the name)")
@click.option("--organisation", type=_ORGANISATION, required=True, help="where the person works")
@click.option("--role", "roles", multiple=True, required=True, help="a role there; may be repeated")
@click.option("--language", type=click.Choice(["en", "ko"]), default="en", help="language of the pages")
@change_options()
def add_account(arguments: Arguments) -> int:
    """Add a person with roles in one organisation, and a password that is read from the terminal."""
    _check_roles(arguments.organisation, arguments.roles)
    shown = arguments.display_name or arguments.name
    hashed = hash_password(_read_password((arguments.name, shown)), os.urandom(_SALT))
    with change_database(arguments) as change:
        if accounts.find_by_name(change.conn, arguments.name) is not None:
            change.leave_unchanged()
            return report_wrong_row(f"there is an account {arguments.name} already")
        new = NewAccount(arguments.name, shown, change.by, hashed, language=arguments.language)
        number = accounts.insert_account(change.conn, new, change.at)
        _store_roles(change.conn, number, arguments.organisation, arguments.roles, change.at)
        after = _describe_account(change.conn, number)
        change.record_trust_change(f"account {arguments.name}", after=after)
    sentence = f"Account {arguments.name}: {shown} may sign in, with {after['roles']}."
    print_change(change, sentence, as_json=arguments.json)
    return 0


@verb
@click.argument("name", help="the name of the account")
@click.option("--organisation", type=_ORGANISATION, required=True, help="where the roles are")
@click.option("--role", "roles", multiple=True, help="a role there; without any, all are taken away")
@change_options()
def set_account_roles(arguments: Arguments) -> int:
    """Set the roles of a person in one organisation; the sessions of the person there end."""
    _check_roles(arguments.organisation, arguments.roles)

    def apply(conn: Connection, row: Row[Any], at: Any) -> str:
        _store_roles(conn, row.id, arguments.organisation, arguments.roles, at)
        place = f"{arguments.organisation.kind}/{arguments.organisation.code}"
        return f"Account {row.name} has now in {place}: {', '.join(arguments.roles) or 'no role'}."

    return _change_account(arguments, apply)


@verb
@click.argument("name", help="the name of the account")
@change_options()
def set_account_password(arguments: Arguments) -> int:
    """Set the password of a person, read from the terminal; the sessions of the person end."""
    hashed = hash_password(_read_password((arguments.name,)), os.urandom(_SALT))

    def apply(conn: Connection, row: Row[Any], at: Any) -> str:
        accounts.set_password(conn, row.id, hashed, at)
        return f"Account {row.name} has a new password."

    return _change_account(arguments, apply)


@verb
@click.argument("name", help="the name of the account")
@change_options()
def suspend_account(arguments: Arguments) -> int:
    """Suspend a person; the sessions of the person end at once."""
    return _set_account_status(arguments, "SUSPENDED", "is suspended and can no longer sign in")


@verb
@click.argument("name", help="the name of the account")
@change_options()
def resume_account(arguments: Arguments) -> int:
    """Let a suspended person sign in again."""
    return _set_account_status(arguments, "ACTIVE", "can sign in again")


@verb
@click.option("--organisation", type=_ORGANISATION, help="only the people of this organisation")
@home_options()
def list_accounts(arguments: Arguments) -> int:
    """Print the accounts with their roles."""
    where: Organisation | None = arguments.organisation
    with read_database(arguments) as conn:
        found = accounts.list_accounts(conn, *((where.kind.value, where.code) if where else ()))
        rows = [_describe_account(conn, row.id) for row in found]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("name", help="the name of the account")
@home_options()
def show_account(arguments: Arguments) -> int:
    """Print an account with its sessions."""
    with read_database(arguments) as conn:
        row = accounts.find_by_name(conn, arguments.name)
        if row is None:
            return report_wrong_row(f"there is no account {arguments.name}")
        told = _describe_account(conn, row.id)
        told["sessions"] = [
            {"began": one.created_at, "seen": one.seen_at, "ended": one.ended_at, "method": one.method}
            for one in sessions.list_by_account(conn, row.id)
        ]
    print_json(told)
    return 0


def _set_account_status(arguments: Arguments, status: str, told: str) -> int:
    """Set the status of the account of the arguments; `told` says of it what this means."""

    def apply(conn: Connection, row: Row[Any], at: Any) -> str:
        accounts.set_status(conn, row.id, status, at)
        return f"Account {row.name} {told}."

    return _change_account(arguments, apply)


def _change_account(arguments: Arguments, apply: Any) -> int:
    """Apply a change to the account of the arguments, with its row of audit."""
    with change_database(arguments) as change:
        row = accounts.find_by_name(change.conn, arguments.name)
        if row is None:
            change.leave_unchanged()
            return report_wrong_row(f"there is no account {arguments.name}")
        before = _describe_account(change.conn, row.id)
        sentence = apply(change.conn, row, change.at)
        after = _describe_account(change.conn, row.id)
        change.record_trust_change(f"account {row.name}", before=before, after=after)
    print_change(change, sentence, as_json=arguments.json)
    return 0


def _store_roles(conn: Connection, account: int, where: Organisation, roles: Sequence[str], at: Any) -> None:
    accounts.set_roles(conn, account, (where.kind.value, where.code), roles, at)


def _check_roles(where: Organisation, roles: Sequence[str]) -> None:
    """Raise misuse for a role that this kind of organisation does not have."""
    known = list_roles(where.kind)
    for role in roles:
        if role not in known:
            what = "belongs to another kind of organisation" if role in ROLES else "does not exist"
            raise click.BadParameter(f"the role {role} {what}; {where.kind} has: {', '.join(known)}")


def _read_password(names: tuple[str, ...]) -> str:
    """Return a new password from the terminal, asked twice, or from the first line of standard input."""
    if sys.stdin.isatty():
        password = str(click.prompt("New password", hide_input=True, confirmation_prompt=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    problem = find_password_problem(password, names)
    if problem is not None:
        raise click.UsageError(problem)
    return password


def _describe_account(conn: Connection, account: int) -> dict[str, Any]:
    row = accounts.find_by_id(conn, account)
    assert row is not None
    given = accounts.list_roles_of(conn, account)
    return {
        "name": row.name,
        "display_name": row.display_name,
        "status": row.status,
        "roles": ", ".join(f"{one.kind}/{one.organisation}:{one.role}" for one in given),
        "password_changed_at": row.password_changed_at.isoformat(),
    }
