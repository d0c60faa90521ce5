"""``gateway map use | list``: which mappings are in force in a gateway, running or not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gateway.cli.options import add_home

__all__ = ["add_use"]


def add_use(verbs: Any) -> None:
    """Add ``use`` and ``list`` to the verbs of ``map``."""
    one = verbs.add_parser("use", help="put a folder of mappings in force from the next message on")
    one.add_argument("folder", type=Path, nargs="?", help="the folder; what it holds is kept in the database")
    one.add_argument("--shipped", action="store_true", help="go back to those that came with the program")
    one.set_defaults(run=_use)
    two = verbs.add_parser("list", help="list the documents in force, and what was in force before")
    two.set_defaults(run=_list)
    for verb in (one, two):
        add_home(verb)


def _use(arguments: argparse.Namespace) -> int:
    from gateway.cli.maps.in_force import use

    return use(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from gateway.cli.maps.in_force import show_list

    return show_list(arguments)
