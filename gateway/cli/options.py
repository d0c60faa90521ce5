"""Options that many verbs have; light, so that a verb which needs no database loads none."""

from __future__ import annotations

import argparse

__all__ = ["add_home"]


def add_home(parser: argparse.ArgumentParser, *, as_json: bool = True) -> None:
    """Add ``--home``, ``--config`` and ``--json``."""
    parser.add_argument(
        "--home", help="the home folder (settings file gateway.toml in it, where there is one)"
    )
    parser.add_argument("--config", help="the settings file")
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
