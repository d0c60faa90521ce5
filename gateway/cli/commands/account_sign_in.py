"""``gateway account certificate|oidc``: ways to sign in besides the password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection, Row

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.named_files import read_certificate_file
from gateway.cli.registration import demand_usable_certificate
from gateway.cli.result_output import report_wrong_row
from gateway.cli.shared_options import FILE, change_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import DatabaseChange
from gateway.store import AccountCertificate, account_certificates, accounts, sessions

__all__ = ["set_account_certificate", "set_account_subject"]


@verb
@click.argument("name", help="the name of the account")
@click.argument("file", type=FILE, required=False, help="the client certificate, PEM or DER")
@click.option("--remove", is_flag=True, help="take the certificate of the account away")
@change_options()
def set_account_certificate(arguments: Arguments) -> int:
    """Set the client certificate by which a person signs in, or take it away; raise its verdict.

    The certificate must be valid now, for TLS clients, by the authorities of the settings. The sessions
    that began with an earlier certificate end.
    """
    if (arguments.file is None) != arguments.remove:
        raise click.UsageError("give a certificate, or --remove")

    def apply(change: DatabaseChange, row: Row[Any]) -> str | None:
        if arguments.remove:
            account_certificates.set_certificate(change.conn, row.id, None, change.at)
            return f"Account {row.name} has no certificate now."
        new = _read_certificate(change, arguments.file)
        held = account_certificates.find_certificate(change.conn, new.sha256)
        if held is not None and held.account_id != row.id:
            return None
        account_certificates.set_certificate(change.conn, row.id, new, change.at)
        return f"Account {row.name} signs in with certificate {new.sha256} too."

    return _change_account(arguments, apply, "the certificate belongs to another account")


@verb
@click.argument("name", help="the name of the account")
@click.option("--subject", help="the `sub` by which the provider names the person")
@click.option("--issuer", help="the provider (default: console.oidc.issuer of the settings)")
@click.option("--remove", is_flag=True, help="take the subject of the account away")
@change_options()
def set_account_subject(arguments: Arguments) -> int:
    """Set the subject of an OpenID provider by which a person signs in, or take it away.

    The sessions that began with an earlier subject end.
    """
    if (arguments.subject is None) != arguments.remove:
        raise click.UsageError("give --subject, or --remove")

    def apply(change: DatabaseChange, row: Row[Any]) -> str | None:
        sessions.end_sessions_of(change.conn, row.id, change.at, method="openid")
        if arguments.remove:
            accounts.update_account(change.conn, row.id, oidc_issuer=None, oidc_subject=None)
            return f"Account {row.name} has no OpenID subject now."
        issuer = arguments.issuer or change.settings.console.oidc.issuer
        if not issuer:
            raise click.UsageError("give --issuer, or set console.oidc.issuer")
        held = accounts.find_by_subject(change.conn, issuer, arguments.subject)
        if held is not None and held.id != row.id:
            return None
        values = {"oidc_issuer": issuer, "oidc_subject": arguments.subject}
        accounts.update_account(change.conn, row.id, **values)
        return f"Account {row.name} signs in as {arguments.subject} of {issuer} too."

    return _change_account(arguments, apply, "the subject belongs to another account")


def _change_account(
    arguments: Arguments, apply: Callable[[DatabaseChange, Row[Any]], str | None], taken: str
) -> int:
    """Apply a change to the account of the arguments; `taken` says what is wrong when it gives nothing."""
    with change_database(arguments) as change:
        row = accounts.find_by_name(change.conn, arguments.name)
        if row is None:
            change.leave_unchanged()
            return report_wrong_row(f"there is no account {arguments.name}")
        before = _describe_ways(change.conn, row.id)
        sentence = apply(change, row)
        if sentence is None:
            change.leave_unchanged()
            return report_wrong_row(taken)
        after = _describe_ways(change.conn, row.id)
        change.record_trust_change(f"account {row.name}", before=before, after=after)
    print_change(change, sentence, as_json=arguments.json)
    return 0


def _read_certificate(change: DatabaseChange, file: Path) -> AccountCertificate:
    found = read_certificate_file(file)
    moments = (change.at, change.at)
    demand_usable_certificate(change.settings, change.conn, (found, "tls"), moments, str(file))
    return AccountCertificate(found.sha256, found.subject, found.not_after, found.der)


def _describe_ways(conn: Connection, account: int) -> dict[str, Any]:
    row = accounts.find_by_id(conn, account)
    assert row is not None
    names = ("name", "certificate_sha256", "oidc_issuer", "oidc_subject")
    return {name: row._mapping[name] for name in names}
