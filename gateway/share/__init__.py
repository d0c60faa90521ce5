"""Finds the data folders, in a checkout or in an installed wheel.

In the wheel each data folder is a package below this one. In a checkout it is at the top level, so
that tests run without an installation; `profiles` and `install` are here in both.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.share.memory_path import MemoryPath as MemoryPath

FOLDERS = ("xsd", "wsdl", "mappings", "pki", "profiles", "install")


def get_data_folder(name: str) -> Traversable:
    """Return data folder `name`; raises GW801 when it is unknown or not installed."""
    if name not in FOLDERS:
        raise GatewayError(SETTINGS_WRONG, f"there is no data folder {name!r}", name)
    packaged = files(__name__).joinpath(name)
    if packaged.is_dir():
        return packaged
    checkout_folder = Path(__file__).resolve().parent.parent.parent / name
    if checkout_folder.is_dir():
        return checkout_folder
    raise GatewayError(SETTINGS_WRONG, f"data folder {name!r} is not installed", str(checkout_folder))
