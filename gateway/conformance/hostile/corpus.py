"""Every case of the hostile suite, family after family; their ids are unique."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import Final

from gateway.conformance.hostile.case import Case
from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["FAMILIES", "all_cases", "chosen"]

#: The modules that bring cases, cheap ones first.
FAMILIES: Final = (
    "wrapping.cases",
    "hidden.cases",
    "signatures.cases",
    "keys",
    "certificates",
    "certificate_forms",
    "replay",
    "questions",
    "soap.cases",
    "xml",
    "mime",
    "numbers",
    "application",
    "http",
)


@cache
def all_cases() -> tuple[Case, ...]:
    """Return every case of every family."""
    found: list[Case] = []
    for family in FAMILIES:
        found.extend(import_module(f"gateway.conformance.hostile.{family}").CASES)
    twice = [name for name, count in Counter(case.id for case in found).items() if count > 1]
    if twice:
        raise GatewayError(OUR_MISTAKE, f"cases of one id: {', '.join(twice)[:300]}")
    return tuple(found)


def chosen(pattern: str | None) -> tuple[Case, ...]:
    """Return the cases whose id fits a glob (``SIG-*``), every one without it."""
    return tuple(case for case in all_cases() if pattern is None or fnmatchcase(case.id, pattern))
