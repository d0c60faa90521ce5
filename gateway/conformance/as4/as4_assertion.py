"""An assertion about a gateway of AS4: its clause, what is sent, and what must hold; read from tables.

A table of a profile is YAML, ``conformance/suites/as4/assertions/PROFILE.yaml``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

import yaml

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder

__all__ = ["Assertion", "UnmetError", "list_assertion_profiles", "select_assertions"]

_SIDES: Final = ("receives", "sends")
_EXPECTATIONS: Final = {
    "": "",
    "receipt": "a signed receipt of every digest in the HTTP answer",
    "error": "an error of ebMS in the HTTP answer",
    "refused": "an error of ebMS or a SOAP Fault, and no receipt",
}
_LISTS: Final = ("codes", "checks", "also")
_SUFFIX: Final = ".yaml"


class UnmetError(Exception):
    """An assertion does not hold; the text says why."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One row of a table.

    `side` says whether the gateway receives or sends. `send` describes the message of the suite, `expect`
    its answer, with one of the error `codes`; `also` are further checks of the answer. `checks` are those
    of a message of the gateway. `delivered` says what its consumer must have, `consumer` that it is told.
    """

    id: str
    clause: str
    title: str
    side: str
    level: str = "required"
    kind: str = "positive"
    feature: str = ""
    play: str = ""
    expect: str = ""
    delivered: str = ""
    consumer: str = ""
    codes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    send: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expectation(self) -> str:
        """Return in words what must hold."""
        words = _EXPECTATIONS[self.expect]
        told = [words, *self.codes, *self.also, *self.checks, self.play]
        return "; ".join(one for one in told if one)

    def to_json(self) -> dict[str, Any]:
        """Return the assertion as a JSON object."""
        names = ("id", "clause", "title", "level", "feature", "kind", "side", "play", "expectation")
        return {name: getattr(self, name) for name in names}


@cache
def list_assertion_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that have a table."""
    folder = get_data_folder("conformance").joinpath("suites", "as4", "assertions")
    return tuple(sorted(one.name.removesuffix(_SUFFIX) for one in folder.iterdir()))


@cache
def _read_assertions(profile: str) -> tuple[Assertion, ...]:
    folder = get_data_folder("conformance").joinpath("suites", "as4", "assertions")
    rows = yaml.safe_load(folder.joinpath(profile + _SUFFIX).read_text(encoding="utf-8"))
    found = tuple(_read_row(row) for row in rows)
    repeated = [name for name, count in Counter(one.id for one in found).items() if count > 1]
    if repeated:
        raise GatewayError(OUR_MISTAKE, f"two assertions have the id {repeated[0]}", profile)
    return found


def _read_row(row: Mapping[str, Any]) -> Assertion:
    if set(row) - set(Assertion.__dataclass_fields__):
        raise GatewayError(OUR_MISTAKE, f"keys of a row: {', '.join(sorted(row))}", str(row.get("id")))
    lists = {name: tuple(row[name]) for name in _LISTS if name in row}
    made = Assertion(**{**row, **lists})
    if made.side not in _SIDES or made.expect not in _EXPECTATIONS or not made.expectation:
        raise GatewayError(OUR_MISTAKE, "side, expect, checks or play are wrong", made.id)
    return made


def select_assertions(profile: str, only: str | None) -> tuple[Assertion, ...]:
    """Return the assertions of a profile whose id matches a glob; all without one."""
    return tuple(one for one in _read_assertions(profile) if only is None or fnmatchcase(one.id, only))
