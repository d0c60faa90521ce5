"""The folder of mappings that ``--path`` names, or the shipped one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.shared_options import FILE
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import CarrierForm, MappingBundle, get_carrier_form, load_bundle
from gateway.share import get_data_folder

__all__ = ["CARRIER_FORMS", "find_carrier_form", "find_mappings", "load_mappings", "mapping_path_option"]

#: The forms in which a document can be carried.
CARRIER_FORMS: Final = ("xml", "json", "fixed")


def mapping_path_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return ``--path``."""
    return click.option("--path", type=FILE, help="a folder of mappings instead of the shipped ones")


def find_mappings(path: Path | None) -> Traversable:
    """Return a folder of mappings, the shipped one for None; raise GW808 where there is no folder."""
    if path is None:
        return get_data_folder("mappings")
    if not path.is_dir():
        detail = f"{path} is no folder" if path.exists() else f"there is no folder {path}"
        raise GatewayError(MISUSE, detail, str(path))
    return path


def load_mappings(path: Path | None) -> MappingBundle:
    """Return the mappings of a folder; raise GW502 with file, line and field."""
    return load_bundle(find_mappings(path))


def find_carrier_form(bundle: MappingBundle, code: str | None, form: str) -> CarrierForm:
    """Return a form as an organisation speaks it, or with nothing particular; raise GW808 for a stranger."""
    if code is not None and code not in bundle.organisations:
        raise GatewayError(MISUSE, f"no organisation {code[:40]!r}", "--organisation")
    own = CarrierForm() if code is None else get_carrier_form(bundle, code)
    return own if own.form == form else CarrierForm(form)
