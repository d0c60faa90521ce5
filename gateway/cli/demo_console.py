"""The console in the demo: its settings, its people, and what a person is told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from gateway.accounts import hash_password
from gateway.store import NewAccount, accounts

__all__ = ["add_people", "describe_sign_in", "list_console_settings", "list_desk_settings"]

_SALT = 16


def list_console_settings(port: int) -> list[str]:
    """Return the lines of the settings by which the console is served."""
    return ["[console]", "enabled = true", f"port = {port}"]


def list_desk_settings(code: str) -> list[str]:
    """Return the lines of the settings of an agency whose officers decide at the console.

    The hub keeps the agency's key. A visitor of the demo has no passkey yet, so that being signed in
    suffices to decide.
    """
    name = code.lower()
    return [
        f"[agency.{code}]",
        "console = true",
        'confirm = ["session", "passkey"]',
        f"[agency.{code}.pki]",
        f'signing_key = {{file = "pki/{name}.key.pem"}}',
        f'signing_certificate = "pki/{name}.cert.pem"',
    ]


def add_people(conn: Connection, people: Sequence[Mapping[str, str]], password: str, now: datetime) -> None:
    """Store the accounts of the people, all with one password."""
    for person in people:
        hashed = hash_password(password, os.urandom(_SALT))
        new = NewAccount(person["name"], person["display_name"], "gateway demo", password=hashed)
        kind, _, code = person["organisation"].partition("/")
        account = accounts.insert_account(conn, new, now)
        accounts.set_roles(conn, account, (kind, code), [person["role"]], now)


def describe_sign_in(url: str, people: Sequence[Mapping[str, str]], password: str) -> Iterator[str]:
    """Yield the lines that tell a person where and how to sign in."""
    yield f"the console is at {url}/console/"
    for person in people:
        yield f"  sign in as {person['name']:<13} password {password}  ({person['organisation']})"
