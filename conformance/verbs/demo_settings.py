"""Settings of the console and the payment provider in the demo, accounts, and the payment of a fee."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection

from gateway.accounts import hash_password
from gateway.client import make_http_connection
from gateway.store import NewAccount, accounts

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
        accounts.set_roles(conn, account, kind, code, [person["role"]], now)


def describe_sign_in(url: str, people: Sequence[Mapping[str, str]], password: str) -> Iterator[str]:
    """Yield the lines that tell a person where and how to sign in."""
    yield f"the console is at {url}/console/"
    for person in people:
        yield f"  sign in as {person['name']:<13} password {password}  ({person['organisation']})"


#: The name of the provider among the processes of the demo.
PROVIDER: Final = "payment"
_SECRET_FILE: Final = "payment.secret"  # noqa: S105
_TIME_OUT: Final = 10.0


def write_payment_secret(home: Path) -> None:
    """Write the secret that hub and provider share."""
    (home / _SECRET_FILE).write_text(secrets.token_hex(32), encoding="ascii")


def list_payment_settings(port: int, tariffs: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Return the lines of the settings about the provider and the fees."""
    lines = [
        "[fees]",
        f'endpoint = "http://127.0.0.1:{port}"',
        f'secret = {{ file = "{_SECRET_FILE}" }}',
    ]
    for document, tariff in tariffs.items():
        lines.append(f"[fees.tariff.{document}]")
        lines += [
            f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"'
            for name, value in tariff.items()
        ]
    return lines


def list_provider_arguments(home: Path, port: int, hub_url: str) -> tuple[str, ...]:
    """Return the words that start the provider."""
    secret, folder = str(home / _SECRET_FILE), str(home / "partners" / PROVIDER / "log")
    return (
        *("payment", "--leash", "--port", str(port), "--secret", secret),
        *("--hub", hub_url, "--folder", folder),
    )


def pay_fee(address: str) -> int:
    """Pay the fee at its address, as its payer; return the HTTP status."""
    parts = urlsplit(address)
    connection = make_http_connection(parts, _TIME_OUT)
    try:
        connection.request("POST", parts.path, b"{}", {"Content-Type": "application/json"})
        return int(connection.getresponse().status)
    finally:
        connection.close()
