"""Options that many verbs have; light, so that a verb which needs no database loads none."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.xmlsec.algorithms import POLICIES

__all__ = ["add_home", "add_judging", "as_lines", "octets_of"]


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
    parser.add_argument("--at", type=_moment, metavar="TIME", help="judge as of then (ISO 8601, with zone)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("the time lacks its zone")
    return moment


def octets_of(path: Path) -> bytes:
    """Return what a file that was named holds."""
    try:
        return path.read_bytes()
    except OSError as mistake:
        raise GatewayError(
            SETTINGS_WRONG, f"{path} cannot be read: {mistake.strerror}", str(path)
        ) from mistake


def as_lines(verdict: Mapping[str, Any]) -> str:
    """Return a verdict for a person: what it says, one thing a line."""
    shown = {name: value for name, value in verdict.items() if value not in (None, [], "")}
    return "\n".join(f"{name:12} {value}" for name, value in shown.items())
