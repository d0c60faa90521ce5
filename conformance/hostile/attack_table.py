"""The table of known attacks, and all cases of the suite with unique ids, in families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import Any, Final

import yaml

from gateway.errors import OUR_MISTAKE, SETTINGS_WRONG, GatewayError
from gateway_conformance import DATA_FOLDER
from gateway_conformance.hostile.attack_cases import AttackCase

#: The modules with cases; modules with cheap cases come first.
FAMILIES: Final = (
    "signature_wrapping",
    "element_wrapping",
    "unsigned_content",
    "attachment_attacks",
    "reference_attacks",
    "transform_attacks",
    "algorithm_attacks",
    "encryption_attacks",
    "decryption_attacks",
    "key_attacks",
    "certificate_attacks",
    "message_replay_attacks",
    "forged_signal_attacks",
    "security_header_attacks",
    "spoofing_attacks",
    "customs_attacks",
    "xml_attacks",
    "mime_attacks",
    "number_attacks",
    "injection_attacks",
    "http_attacks",
    "as4_header_attacks",
    "as4_encryption_attacks",
    "as4_signal_attacks",
    "as4_derived_attacks",
)

_FILE: Final = "attacks.yaml"
_KEYS: Final = frozenset({"title", "source", "expected", "held_by", "not_yet"})
_FACES: Final = frozenset({"problem", "ebms", "fault", "http", "rule"})


@dataclass(frozen=True, slots=True)
class KnownAttack:
    """One known attack.

    `expected` has the required result of each endpoint: problem ids, ErrorList codes, SOAP fault
    codes, HTTP statuses, or a `rule` in words. `prevented_by` are globs of case ids, and node ids
    of this product's tests. `not_yet` names a feature that is not available yet.
    """

    id: str
    title: str
    source: str
    expected: Mapping[str, str]
    prevented_by: tuple[str, ...] = ()
    not_yet: str = ""

    @property
    def case_patterns(self) -> tuple[str, ...]:
        """Return the globs of cases."""
        return tuple(pattern for pattern in self.prevented_by if "::" not in pattern)

    @property
    def test_node_ids(self) -> tuple[str, ...]:
        """Return the node ids of tests."""
        return tuple(node_id for node_id in self.prevented_by if "::" in node_id)

    def format_coverage(self) -> str:
        """Return the cases and tests that prevent the attack, and the part not yet prevented, in one line."""
        return "; ".join((*self.prevented_by, *((f"not yet: {self.not_yet}",) if self.not_yet else ())))

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        return {
            "id": self.id,
            "title": self.title,
            "source": self.source,
            "expected": dict(self.expected),
            "cases": list(self.case_patterns),
            "tests": list(self.test_node_ids),
            "not_yet": self.not_yet,
        }


def read_attack_table() -> tuple[KnownAttack, ...]:
    """Return the shipped table; raises GW801 for an invalid row."""
    source = DATA_FOLDER.joinpath("suites", "hostile", _FILE)
    rows_by_id = yaml.safe_load(source.read_text(encoding="utf-8"))
    return tuple(_read_attack_row(name, row) for name, row in rows_by_id.items())


def _read_attack_row(name: str, row: Mapping[str, Any]) -> KnownAttack:
    """Return the attack with id `name` from its row of the table; raises GW801 for an unknown key."""
    unknown_keys = (set(row) - _KEYS) | (set(row.get("expected", ())) - _FACES)
    if unknown_keys:
        wrong = ", ".join(sorted(str(key) for key in unknown_keys))
        raise GatewayError(SETTINGS_WRONG, f"not known: {wrong}", f"{_FILE} {name}")
    return KnownAttack(
        name,
        row["title"],
        row["source"],
        {key: str(value) for key, value in row["expected"].items()},
        tuple(row.get("held_by", ())),
        row.get("not_yet", ""),
    )


@cache
def load_all_cases() -> tuple[AttackCase, ...]:
    """Return every case of every family."""
    cases: list[AttackCase] = []
    for family in FAMILIES:
        cases.extend(import_module(f"gateway_conformance.hostile.{family}").CASES)
    duplicate_ids = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    if duplicate_ids:
        raise GatewayError(OUR_MISTAKE, f"cases of one id: {', '.join(duplicate_ids)[:300]}")
    return tuple(cases)


def select_cases(pattern: str | None) -> tuple[AttackCase, ...]:
    """Return the cases whose id matches a glob (``SIG-*``), or all cases without a glob."""
    return tuple(case for case in load_all_cases() if pattern is None or fnmatchcase(case.id, pattern))
