"""The payment provider of ``gateway demo``: its settings, its process, and the broker who pays there."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.conformance.partners import make_http_connection

__all__ = [
    "PROVIDER",
    "list_payment_settings",
    "list_provider_words",
    "pay_fee",
    "write_payment_secret",
]

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


def list_provider_words(home: Path, port: int, hub_url: str) -> tuple[str, ...]:
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
