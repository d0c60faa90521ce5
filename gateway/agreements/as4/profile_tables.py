"""The tables of profiles: what each demands of a P-Mode, with the clause that says so.

A table is data: ``conformance/agreements/profiles/NAME.yaml``. A row names the parameter as the text of the
profile does, the clause, our term, and one demand. A row with ``always`` has no term: what it asks for is
what the gateway does whatever is agreed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import yaml

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder

__all__ = ["ADVICE", "DEMANDS", "Profile", "ProfileRow", "list_profiles", "read_profile"]

#: The level of a row that is advice; every other row must hold.
ADVICE: Final = "should"
#: What a row can demand of its term.
DEMANDS: Final = ("is", "one_of", "includes", "present", "absent", "begins", "matches", "count", "at_least")
_TOLD: Final = frozenset(
    ("parameter", "clause", "says", "term", "level", "fill", "allows", "always", "source", *DEMANDS)
)
_SUFFIX: Final = ".yaml"


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One row: `demand` is one of `DEMANDS` with its `value`; ``always`` where the row has no term.

    `says` is the value in the words of the text. `source` names where a row is from that the text of the
    table does not have. `allows` is what a list may contain beside what it must include.
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
    """A profile: its rows, and what they fill in, in the form of an agreement file.

    `text` is the file of the text that the clauses are from; `note` says what is to be known of it.
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
    folder = get_data_folder("conformance").joinpath("agreements", "profiles")
    return tuple(
        sorted(one.name.removesuffix(_SUFFIX) for one in folder.iterdir() if one.name.endswith(_SUFFIX))
    )


@cache
def read_profile(name: str) -> Profile:
    """Return the table of a profile of `list_profiles`; raises GW901 for a table that is wrong."""
    file = get_data_folder("conformance").joinpath("agreements", "profiles", name + _SUFFIX)
    table = yaml.safe_load(file.read_text(encoding="utf-8"))
    rows = tuple(_read_row(row, name) for row in table["rows"])
    fillings = MappingProxyType(_collect_fillings(rows))
    return Profile(table["profile"], table["title"], table["text"], table.get("note", ""), rows, fillings)


def _read_row(row: Mapping[str, Any], name: str) -> ProfileRow:
    demands = [one for one in (*DEMANDS, "always") if one in row]
    if set(row) - _TOLD or len(demands) != 1 or ("always" in row) == ("term" in row):
        detail = f"a row has other keys: {', '.join(sorted(row))}"
        raise GatewayError(OUR_MISTAKE, detail, f"{name}: {row.get('says')}")
    return ProfileRow(
        parameter=row["parameter"],
        clause=str(row["clause"]),
        says=row["says"],
        term=row.get("term", ""),
        demand=demands[0],
        value=row[demands[0]],
        level=row.get("level", "must"),
        fill=row.get("fill"),
        allows=tuple(row.get("allows", ())),
        source=row.get("source", ""),
    )


def _collect_fillings(rows: tuple[ProfileRow, ...]) -> dict[str, Any]:
    """Return what rows fill in, nested as in an agreement file: ``{"security": {"sign": True}}``."""
    found: dict[str, Any] = {}
    for row in rows:
        if row.fill is not None:
            group, _, name = row.term.rpartition(".")
            (found.setdefault(group, {}) if group else found)[name] = row.fill
    return found
