"""Options that many verbs have; light, so that a verb which needs no database loads none."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki.transport import Identity, client_context
from gateway.xmlsec.algorithms import POLICIES

__all__ = ["add_home", "add_judging", "add_moment", "add_tls", "as_lines", "octets_of", "tls_of"]

#: Four times the longest message by default: whatever is judged is refused for its size long before.
_LONGEST_FILE: Final = 256 * 1024 * 1024


def add_home(parser: argparse.ArgumentParser, *, as_json: bool = True) -> None:
    """Add ``--home``, ``--config`` and ``--json``."""
    parser.add_argument(
        "--home", help="the home folder (settings file gateway.toml in it, where there is one)"
    )
    parser.add_argument("--config", help="the settings file")
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add what verbs that judge a file by itself have: ``--policy``, ``--trust``, ``--at`` and ``--json``."""
    parser.add_argument(
        "--policy", choices=sorted(POLICIES), default="strict", help="which signatures are good"
    )
    parser.add_argument(
        "--trust", type=Path, action="append", default=[], metavar="PEM", help="trust anchors"
    )
    add_moment(parser, "judge")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add what verbs that call have: ``--ca``, and ``--client-certificate`` with ``--client-key``."""
    parser.add_argument(
        "--ca", type=Path, metavar="PEM", help="over https: whom to believe, when not the operating system's"
    )
    parser.add_argument(
        "--client-certificate", type=Path, metavar="PEM", help="over https: the certificate to show"
    )
    parser.add_argument("--client-key", type=Path, metavar="PEM", help="the key of that certificate")


def tls_of(arguments: argparse.Namespace) -> ssl.SSLContext:
    """Return how to call over TLS as the options say; raises GW801 and GW803."""
    certificate, key = arguments.client_certificate, arguments.client_key
    if (certificate is None) != (key is None):
        raise GatewayError(SETTINGS_WRONG, "to show a certificate needs its key, too", "--client-certificate")
    identity = Identity(certificate, key) if certificate is not None else None
    return client_context((arguments.ca,) if arguments.ca else (), identity)


def add_moment(parser: argparse.ArgumentParser, deed: str) -> None:
    """Add ``--at``: the moment as of which something is done, instead of now."""
    parser.add_argument("--at", type=_moment, metavar="TIME", help=f"{deed} as of then (ISO 8601, with zone)")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a time as 2026-01-31T12:00:00Z: {text[:80]!r}") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("the time lacks its zone")
    return moment


def octets_of(path: Path) -> bytes:
    """Return what a file that was named holds; one without end is read no further than it may be long."""
    try:
        with path.open("rb") as file:
            held = file.read(_LONGEST_FILE + 1)
    except OSError as mistake:
        raise GatewayError(
            SETTINGS_WRONG, f"{path} cannot be read: {mistake.strerror}", str(path)
        ) from mistake
    if len(held) > _LONGEST_FILE:
        raise GatewayError(SETTINGS_WRONG, f"{path} has more than {_LONGEST_FILE:,} octets", str(path))
    return held


def as_lines(verdict: Mapping[str, Any]) -> str:
    """Return a verdict for a person: what it says, one thing a line."""
    shown = {name: value for name, value in verdict.items() if value not in (None, [], "")}
    return "\n".join(f"{name:12} {value}" for name, value in shown.items())
