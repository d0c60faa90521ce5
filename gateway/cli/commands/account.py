"""``gateway account …``: people who sign in to the console, their roles, and the ways in which they sign in.

A password is never an argument: other users of the machine would see it. It is read from the terminal,
or as one line from standard input.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.accounts import (
    MAX_SUBJECT_CHARACTERS,
    MAX_SUBJECT_OCTETS,
    ROLES,
    Organisation,
    OrganisationKind,
    find_password_problem,
    hash_password,
    is_storable_subject,
    list_roles,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database
from gateway.cli.named_files import read_certificate_file
from gateway.cli.registration import check_clear_name, demand_usable_certificate
from gateway.cli.result_output import WrongRowError, print_json, print_table, require_row
from gateway.cli.shared_options import ACTOR, FILE, SEARCH_TEXT, changing_verb, home_verb, read_secret
from gateway.cli.verb_groups import Arguments
from gateway.operations import DatabaseChange
from gateway.store import AccountCertificate, AccountRow, NewAccount, accounts, sessions

_COLUMNS: Final = ("name", "display_name", "status", "roles")
_SALT_OCTETS: Final = 16
#: The most octets in UTF-8 of a code, and of the address of a provider, which indexes of the database have.
_MAX_CODE_OCTETS: Final = 800
_MAX_ISSUER_OCTETS: Final = 1024


def _check_octets(text: str, max_octets: int, subject: str) -> None:
    """Raise misuse for a text that has more octets in UTF-8 than the database finds again."""
    octet_count = len(text.encode("utf-8", "surrogateescape"))
    if octet_count > max_octets:
        raise click.BadParameter(
            f"{subject} has at most {max_octets:,} octets in UTF-8, and this one has {octet_count:,}"
        )


class _OrganisationType(click.ParamType[Organisation]):
    """``agency/CODE``, ``party/ID`` or ``operator/hub``."""

    name = "kind/code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Organisation:
        """Return the organisation; a kind that does not exist is misuse."""
        kind, _, code = str(SEARCH_TEXT.convert(value, param, ctx)).partition("/")
        if kind not in set(OrganisationKind) or not code:
            kinds = ", ".join(OrganisationKind)
            self.fail(f"{value!r} is not KIND/CODE with a kind of: {kinds}", param, ctx)
        _check_octets(code, _MAX_CODE_OCTETS, "the code of an organisation")
        return Organisation(OrganisationKind(kind), code)


_ORGANISATION: Final = _OrganisationType()


@changing_verb("account add")
@click.argument("name", type=ACTOR, help="the name to sign in with")
@click.option("--display-name", type=ACTOR, help="the name that others see (default: the name)")
@click.option("--organisation", type=_ORGANISATION, required=True, help="where the person works")
@click.option("--role", "roles", multiple=True, required=True, help="a role there; may be repeated")
@click.option("--language", type=click.Choice(["en", "ko"]), default="en", help="language of the pages")
def add_account(arguments: Arguments) -> None:
    """Add a person with roles in one organisation, and a password that is read from the terminal."""
    _check_roles(arguments.organisation, arguments.roles)
    check_clear_name(arguments.name)
    display_name = arguments.display_name or arguments.name
    password_hash = hash_password(_read_password((arguments.name, display_name)), os.urandom(_SALT_OCTETS))
    with change_database(arguments) as change:
        if accounts.find_by_name(change.conn, arguments.name) is not None:
            raise WrongRowError(f"there is an account {arguments.name} already")
        new = NewAccount(
            arguments.name, display_name, change.actor, password_hash, language=arguments.language
        )
        account_id = accounts.insert_account(change.conn, new, change.at)
        _store_roles(change.conn, account_id, arguments.organisation, arguments.roles, change.at)
        after = _describe_account(change.conn, account_id)
        change.record_trust_change(f"account {arguments.name}", after=after)
    sentence = f"Account {arguments.name}: {display_name} may sign in, with {after['roles']}."
    print_change(change, sentence, as_json=arguments.json)


@changing_verb("account role")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
@click.option("--organisation", type=_ORGANISATION, required=True, help="where the roles are")
@click.option("--role", "roles", multiple=True, help="a role there; without any, all are taken away")
def set_account_roles(arguments: Arguments) -> None:
    """Set the roles of a person in one organisation; the sessions of the person there end."""
    _check_roles(arguments.organisation, arguments.roles)

    def apply(change: DatabaseChange, row: AccountRow) -> str:
        _store_roles(change.conn, row.id, arguments.organisation, arguments.roles, change.at)
        organisation = f"{arguments.organisation.kind}/{arguments.organisation.code}"
        return f"Account {row.name} has now in {organisation}: {', '.join(arguments.roles) or 'no role'}."

    _change_account(arguments, apply)


@changing_verb("account password")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
def set_account_password(arguments: Arguments) -> None:
    """Set the password of a person, read from the terminal; the sessions of the person end."""
    password_hash = hash_password(_read_password((arguments.name,)), os.urandom(_SALT_OCTETS))

    def apply(change: DatabaseChange, row: AccountRow) -> str:
        accounts.set_password(change.conn, row.id, password_hash, change.at)
        return f"Account {row.name} has a new password."

    _change_account(arguments, apply)


@changing_verb("account suspend")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
def suspend_account(arguments: Arguments) -> None:
    """Suspend a person; the sessions of the person end at once."""
    _set_account_status(arguments, "SUSPENDED", "is suspended and can no longer sign in")


@changing_verb("account resume")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
def resume_account(arguments: Arguments) -> None:
    """Let a suspended person sign in again."""
    _set_account_status(arguments, "ACTIVE", "can sign in again")


@home_verb("account list")
@click.option("--organisation", type=_ORGANISATION, help="only the people of this organisation")
def list_accounts(arguments: Arguments) -> None:
    """Print the accounts with their roles."""
    organisation: Organisation | None = arguments.organisation
    with read_database(arguments) as conn:
        account_rows = accounts.list_accounts(
            conn, *((organisation.kind.value, organisation.code) if organisation else ())
        )
        rows = [_describe_account(conn, row.id) for row in account_rows]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)


@home_verb("account show")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
def show_account(arguments: Arguments) -> None:
    """Print an account with its sessions."""
    with read_database(arguments) as conn:
        row = require_row(
            accounts.find_by_name(conn, arguments.name), f"there is no account {arguments.name}"
        )
        report = _describe_account(conn, row.id)
        report["sessions"] = [
            {
                "began": session.created_at,
                "seen": session.seen_at,
                "ended": session.ended_at,
                "method": session.method,
            }
            for session in sessions.list_sessions(conn, row.id)
        ]
    print_json(report)


def _set_account_status(arguments: Arguments, status: str, consequence: str) -> None:
    """Set the status of the account of the arguments; `consequence` ends the printed sentence about it."""

    def apply(change: DatabaseChange, row: AccountRow) -> str:
        accounts.set_status(change.conn, row.id, status, change.at)
        return f"Account {row.name} {consequence}."

    _change_account(arguments, apply)


def _describe_account(conn: Connection, account_id: int) -> dict[str, Any]:
    """Return an account with its roles as plain values, without the password."""
    row = accounts.find_by_id(conn, account_id)
    assert row is not None
    role_rows = accounts.list_account_roles(conn, account_id)
    return {
        "name": row.name,
        "display_name": row.display_name,
        "status": row.status,
        "roles": ", ".join(f"{role.kind}/{role.organisation}:{role.role}" for role in role_rows),
        "password_changed_at": row.password_changed_at.isoformat(),
    }


def _change_account(
    arguments: Arguments,
    apply_change: Callable[[DatabaseChange, AccountRow], str],
    describe: Callable[[Connection, int], dict[str, Any]] = _describe_account,
) -> None:
    """Apply a change to the account of the arguments, with its row in the audit log; print the change.

    `apply_change` returns the sentence to print. `describe` returns the facts of the account for the audit
    log, before and after the change; by default its roles and its status. Raises WrongRowError if there is no
    such account.
    """
    with change_database(arguments) as change:
        row = require_row(
            accounts.find_by_name(change.conn, arguments.name), f"there is no account {arguments.name}"
        )
        before = describe(change.conn, row.id)
        sentence = apply_change(change, row)
        change.record_trust_change(f"account {row.name}", before=before, after=describe(change.conn, row.id))
    print_change(change, sentence, as_json=arguments.json)


def _store_roles(
    conn: Connection, account_id: int, organisation: Organisation, roles: Sequence[str], at: Any
) -> None:
    accounts.set_roles(conn, account_id, organisation.kind.value, organisation.code, roles, at)


def _check_roles(organisation: Organisation, roles: Sequence[str]) -> None:
    """Raise misuse for a role that this kind of organisation does not have."""
    allowed_roles = list_roles(organisation.kind)
    for role in roles:
        if role not in allowed_roles:
            fault = "belongs to another kind of organisation" if role in ROLES else "does not exist"
            raise click.BadParameter(
                f"the role {role} {fault}; {organisation.kind} has: {', '.join(allowed_roles)}"
            )


def _read_password(names: tuple[str, ...]) -> str:
    """Return a new password from the terminal, asked twice, or from the first line of standard input."""
    if sys.stdin.isatty():
        password = read_secret(
            lambda: click.prompt("New password", hide_input=True, confirmation_prompt=True)
        )
    else:
        password = read_secret(lambda: sys.stdin.readline().rstrip("\r\n"))
    problem = find_password_problem(password, names)
    if problem is not None:
        raise click.UsageError(problem)
    return password


@changing_verb("account certificate")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
@click.argument("file", type=FILE, required=False, help="the client certificate, PEM or DER")
@click.option("--remove", is_flag=True, help="take the certificate of the account away")
def set_account_certificate(arguments: Arguments) -> None:
    """Set the client certificate by which a person signs in, or take it away; raise its verdict.

    The certificate must be valid now, for TLS clients, by the authorities of the settings. The sessions
    that began with an earlier certificate end.
    """
    if (arguments.file is None) != arguments.remove:
        raise click.UsageError("give a certificate, or --remove")

    def apply(change: DatabaseChange, row: AccountRow) -> str:
        if arguments.remove:
            accounts.set_certificate(change.conn, row.id, None, change.at)
            return f"Account {row.name} has no certificate now."
        new = _read_certificate(change, arguments.file)
        held = accounts.find_certificate(change.conn, new.sha256)
        if held is not None and held.account_id != row.id:
            raise WrongRowError("the certificate belongs to another account")
        accounts.set_certificate(change.conn, row.id, new, change.at)
        return f"Account {row.name} signs in with certificate {new.sha256} too."

    _change_account(arguments, apply, _describe_sign_in_methods)


@changing_verb("account oidc")
@click.argument("name", type=SEARCH_TEXT, help="the name of the account")
@click.option("--subject", help="the `sub` by which the provider names the person")
@click.option("--issuer", help="the provider (default: console.oidc.issuer of the settings)")
@click.option("--remove", is_flag=True, help="take the subject of the account away")
def set_account_subject(arguments: Arguments) -> None:
    """Set the subject of an OpenID provider by which a person signs in, or take it away.

    The sessions that began with an earlier subject end.
    """
    if (arguments.subject is None) != arguments.remove:
        raise click.UsageError("give --subject, or --remove")
    if arguments.subject is not None and not is_storable_subject(arguments.subject):
        raise click.BadParameter(
            f"a subject has 1 to {MAX_SUBJECT_CHARACTERS} printable characters, and at most "
            f"{MAX_SUBJECT_OCTETS} octets in UTF-8"
        )
    _check_octets(arguments.issuer or "", _MAX_ISSUER_OCTETS, "the address of a provider")

    def apply(change: DatabaseChange, row: AccountRow) -> str:
        sessions.end_open_account_sessions(change.conn, row.id, change.at, method="openid")
        if arguments.remove:
            accounts.update_account(change.conn, row.id, oidc_issuer=None, oidc_subject=None)
            return f"Account {row.name} has no OpenID subject now."
        issuer = arguments.issuer or change.settings.console.oidc.issuer
        if not issuer:
            raise click.UsageError("give --issuer, or set console.oidc.issuer")
        other_account = accounts.find_by_subject(change.conn, issuer, arguments.subject)
        if other_account is not None and other_account.id != row.id:
            raise WrongRowError("the subject belongs to another account")
        values = {"oidc_issuer": issuer, "oidc_subject": arguments.subject}
        accounts.update_account(change.conn, row.id, **values)
        return f"Account {row.name} signs in as {arguments.subject} of {issuer} too."

    _change_account(arguments, apply, _describe_sign_in_methods)


def _read_certificate(change: DatabaseChange, file: Path) -> AccountCertificate:
    certificate = read_certificate_file(file)
    demand_usable_certificate(change.settings, change.conn, certificate, "tls", str(file), change.at)
    return AccountCertificate(certificate.sha256, certificate.subject, certificate.not_after, certificate.der)


def _describe_sign_in_methods(conn: Connection, account_id: int) -> dict[str, Any]:
    row = accounts.find_by_id(conn, account_id)
    assert row is not None
    names = ("name", "certificate_sha256", "oidc_issuer", "oidc_subject")
    return {name: getattr(row, name) for name in names}
