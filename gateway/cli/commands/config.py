"""``gateway config show``: every setting with its value in effect, and where the value comes from."""

from __future__ import annotations

import difflib

import click

from gateway.cli.result_output import print_json, print_table
from gateway.cli.settings import find_settings_file
from gateway.cli.shared_options import home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import EffectiveSetting, list_effective_settings

__all__ = ["show_settings"]

_SECTION_WORDS = "a section or a key: http, pki.token, http.port; if not given, every section"


@verb
@click.argument("section", required=False, help=_SECTION_WORDS)
@home_options()
def show_settings(arguments: Arguments) -> int:
    """Print every setting, or those of a section; report misuse for one that does not exist."""
    found = list_effective_settings(find_settings_file(arguments), home=arguments.home)
    if arguments.section:
        found = _select_section(found, arguments.section)
    if arguments.json:
        print_json({one.name: {"value": one.value, "source": one.source} for one in found})
        return 0
    rows = [{"setting": one.name, "value": one.value or "not set", "source": one.source} for one in found]
    print_table(rows, as_json=False, columns=("setting", "value", "source"))
    return 0


def _select_section(found: tuple[EffectiveSetting, ...], section: str) -> tuple[EffectiveSetting, ...]:
    chosen = tuple(one for one in found if one.name == section or one.name.startswith(f"{section}."))
    if not chosen:
        known = {part for one in found for part in (one.name, one.name.rpartition(".")[0]) if part}
        near = difflib.get_close_matches(section, sorted(known), n=1)
        told = f"; the nearest is {near[0]}" if near else ""
        raise click.UsageError(f"there is no section or setting {section[:80]}{told}")
    return chosen
