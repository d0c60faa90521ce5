"""The folder of mappings that ``--path`` names, or the shipped one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from gateway.cli.shared_options import FILE
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.share import get_data_folder

__all__ = ["find_mappings", "load_mappings", "mapping_path_option"]


def mapping_path_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return ``--path``."""
    return click.option("--path", type=FILE, help="a folder of mappings instead of the shipped ones")


def find_mappings(path: Path | None) -> Traversable:
    """Return a folder of mappings, the shipped one for None; raise GW808 where there is no folder."""
    if path is None:
        return get_data_folder("mappings")
    if not path.is_dir():
        raise GatewayError(MISUSE, f"there is no folder {path}", str(path))
    return path


def load_mappings(path: Path | None) -> MappingBundle:
    """Return the mappings of a folder; raise GW502 with file, line and field."""
    return load_bundle(find_mappings(path))
