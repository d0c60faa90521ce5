"""The tables of profiles: the demands of each profile on a P-Mode, with the clauses that state them.

A table is data: ``gateway/share/profiles/NAME.yaml``. A row has the parameter as the text of the profile
names it, the clause, the term of the hub's agreements, and one demand. A row with ``always`` has no term: the
gateway meets its demand in every agreement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import yaml

from gateway.errors import MISUSE, OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder
from gateway.wire import YamlNode

#: The level of a row that is advice; every other row must hold.
ADVICE: Final = "should"
#: The demands that a row can make of its term.
DEMANDS: Final = ("is", "one_of", "includes", "present", "absent", "begins", "matches", "count", "at_least")
_ROW_KEYS: Final = frozenset(
    ("parameter", "clause", "says", "term", "level", "fill", "allows", "always", "source", *DEMANDS)
)
_SUFFIX: Final = ".yaml"


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One row: `demand` is one of `DEMANDS` with its `value`; ``always`` where the row has no term.

    `says` is the value in the words of the text. `source` is the origin of a row that the text of the table
    does not contain. `allows` lists the values that a list may contain beside those it must include.
    """

    parameter: str
    clause: str
    says: str
    term: str
    demand: str
    value: Any
    level: str = "must"
    fill: Any = None
    allows: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile: its rows, and the terms that they fill in, in the form of an agreement file.

    `text` is the file of the text that the clauses are from; `note` is a remark for the reader of the
    profile.
    """

    name: str
    title: str
    text: str
    note: str
    rows: tuple[ProfileRow, ...]
    fillings: Mapping[str, Any] = field(default_factory=dict)


@cache
def list_profiles() -> tuple[str, ...]:
    """Return the names of all profiles."""
    folder = get_data_folder("profiles")
    return tuple(
        sorted(file.name.removesuffix(_SUFFIX) for file in folder.iterdir() if file.name.endswith(_SUFFIX))
    )


@cache
def read_profile(profile_name: str) -> Profile:
    """Return the table of a profile of `list_profiles`; raises GW901 for a table that is wrong."""
    file = get_data_folder("profiles").joinpath(profile_name + _SUFFIX)
    table = yaml.safe_load(file.read_text(encoding="utf-8"))
    rows = tuple(_read_row(row, profile_name) for row in table["rows"])
    fillings = MappingProxyType(_collect_fillings(rows))
    return Profile(table["profile"], table["title"], table["text"], table.get("note", ""), rows, fillings)


def _read_row(row_table: Mapping[str, Any], profile_name: str) -> ProfileRow:
    """Return one row of the table of a profile; raise GW901 for wrong keys, since the table is ours."""
    demands = [demand for demand in (*DEMANDS, "always") if demand in row_table]
    if set(row_table) - _ROW_KEYS or len(demands) != 1 or ("always" in row_table) == ("term" in row_table):
        detail = f"a row has other keys: {', '.join(sorted(row_table))}"
        raise GatewayError(OUR_MISTAKE, detail, f"{profile_name}: {row_table.get('says')}")
    return ProfileRow(
        parameter=row_table["parameter"],
        clause=str(row_table["clause"]),
        says=row_table["says"],
        term=row_table.get("term", ""),
        demand=demands[0],
        value=row_table[demands[0]],
        level=row_table.get("level", "must"),
        fill=row_table.get("fill"),
        allows=tuple(row_table.get("allows", ())),
        source=row_table.get("source", ""),
    )


def _collect_fillings(rows: tuple[ProfileRow, ...]) -> dict[str, Any]:
    """Return the terms that rows fill in, as nested in an agreement: ``{"security": {"sign": True}}``."""
    fillings: dict[str, Any] = {}
    for row in rows:
        if row.fill is not None:
            group, _, name = row.term.rpartition(".")
            (fillings.setdefault(group, {}) if group else fillings)[name] = row.fill
    return fillings


def read_fillings(node: YamlNode) -> dict[str, YamlNode]:
    """Return the terms of the profile that `node` names, each value located at the place of that name.

    Raises GW808 for an unknown profile.
    """
    profile_name = node.read_text()
    if profile_name not in list_profiles():
        detail = f"{profile_name[:60]!r} is no profile; known are {', '.join(list_profiles())}"
        raise GatewayError(MISUSE, detail, str(node.mark))
    return _make_nodes(read_profile(profile_name).fillings, node)


def _make_nodes(values: Mapping[str, Any], profile_node: YamlNode) -> dict[str, YamlNode]:
    return {name: _make_node(value, replace(profile_node, name=name)) for name, value in values.items()}


def _make_node(value: Any, profile_node: YamlNode) -> YamlNode:
    """Return a profile value as a YAML node at the place of `profile_node`; plain values become texts."""
    if isinstance(value, Mapping):
        return replace(
            profile_node, value=_make_nodes(value, profile_node), keys=dict.fromkeys(value, profile_node.mark)
        )
    if isinstance(value, list):
        return replace(profile_node, value=[_make_node(member, profile_node) for member in value])
    return replace(profile_node, value=str(value).lower() if isinstance(value, bool) else str(value))
