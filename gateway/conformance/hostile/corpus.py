"""Every case of the hostile suite, family after family; their ids are unique."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["FAMILIES", "load_all_cases", "select_cases"]

#: The modules that bring cases, cheap ones first.
FAMILIES: Final = (
    "signature_wrapping.corpus",
    "unsigned_content.corpus",
    "signature_attacks.corpus",
    "key_attacks",
    "certificate_attacks",
    "certificate_encoding_attacks",
    "replay_attacks",
    "status_request_attacks",
    "soap_attacks.spoofing_attacks",
    "xml_attacks",
    "mime_attacks",
    "number_attacks",
    "injection_attacks",
    "http_attacks",
)


@cache
def load_all_cases() -> tuple[AttackCase, ...]:
    """Return every case of every family."""
    found: list[AttackCase] = []
    for family in FAMILIES:
        found.extend(import_module(f"gateway.conformance.hostile.{family}").CASES)
    twice = [name for name, count in Counter(case.id for case in found).items() if count > 1]
    if twice:
        raise GatewayError(OUR_MISTAKE, f"cases of one id: {', '.join(twice)[:300]}")
    return tuple(found)


def select_cases(pattern: str | None) -> tuple[AttackCase, ...]:
    """Return the cases whose id fits a glob (``SIG-*``), every one without it."""
    return tuple(case for case in load_all_cases() if pattern is None or fnmatchcase(case.id, pattern))
