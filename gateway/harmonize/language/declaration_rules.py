"""The rules on a declaration itself, read from ``rules.yaml``: forms, code tables and dates.

The checks of a document concern the values that its agency gets. These rules hold for every
submission: what breaks an error reaches no agency.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from gateway.harmonize.types import (
    CodeList,
    CommonMeaning,
    DataDictionary,
    SourceMark,
    YamlNode,
    YamlTable,
    is_simple_pattern,
    make_mapping_error,
)
from gateway.wire import describe_choices, describe_pattern, quote_value

__all__ = ["RECEIVED", "RULE_KINDS", "SEVERITIES", "DeclarationRule", "read_declaration_rules"]

RULE_KINDS: Final = ("form", "listed", "compare")
SEVERITIES: Final = ("error", "warning")
#: The day on which the submission is received, as the right side of a comparison.
RECEIVED: Final = "received"
_OPERATORS: Final = ("at_least", "at_most")
_WHOLE: Final = re.compile(r"-?[0-9]{1,5}")
_DAY: Final = 10


@dataclass(frozen=True, slots=True)
class DeclarationRule:
    """One rule on the values of `meaning`, of one of `RULE_KINDS`.

    ``form``: a value has one of `patterns`. ``listed``: its first `first` characters are a code of
    `codes`. ``compare``: a date compares by `operator` with the date of `bound` plus `days`; the
    bound is a meaning, or None for the day of receipt.
    """

    id: str
    kind: str
    severity: str
    meaning: CommonMeaning
    patterns: tuple[str, ...]
    codes: CodeList | None
    first: int
    operator: str
    bound: CommonMeaning | None
    days: int
    ko: str
    en: str
    mark: SourceMark

    @property
    def is_error(self) -> bool:
        """Return whether a broken rule refuses the submission."""
        return self.severity == "error"

    def find_violation(self, text: str) -> str | None:
        """Return the words where `text` breaks a rule of form or list, else None."""
        if self.kind == "form" and not any(re.fullmatch(one, text, re.ASCII) for one in self.patterns):
            expected = " or ".join(describe_pattern(one) for one in self.patterns)
            return f"{quote_value(text)} is not allowed; expected is {expected}"
        if self.codes is not None and text[: self.first] not in self.codes.known:
            start, table = text[: self.first], f"{self.codes.source} {self.codes.version}"
            near = self._describe_near_codes(start).removeprefix("one of ")
            return f"{quote_value(text)} begins with {start}, which is no code of {table}; near it: {near}"
        return None

    def find_date_violation(self, text: str, bound: str) -> str | None:
        """Return the words where the date of `text` breaks a comparison with that of `bound`, else None."""
        try:
            left = date.fromisoformat(text[:_DAY])
            right = date.fromisoformat(bound[:_DAY]) + timedelta(days=self.days)
        except (ValueError, OverflowError):
            return None
        if (left >= right) if self.operator == "at_least" else (left <= right):
            return None
        word = "before" if self.operator == "at_least" else "after"
        return f"{left.isoformat()} is {word} {right.isoformat()}"

    def _describe_near_codes(self, text: str) -> str:
        """Return the codes of the list that agree with `text` in most of their first characters."""
        codes = self.codes.codes if self.codes is not None else ()
        for length in range(self.first - 1, 0, -1):
            near = [code for code in codes if code.startswith(text[:length])]
            if near:
                return describe_choices(near)
        return describe_choices(codes)


def read_declaration_rules(
    root: YamlNode, dictionary: DataDictionary, lists: Mapping[str, CodeList]
) -> tuple[DeclarationRule, ...]:
    """Return the rules of ``rules.yaml``; raise GW502 with file, line and field."""
    top = root.read_table("rules")
    rules: dict[str, DeclarationRule] = {}
    for entry in top.get_required("rules").read_list("rules"):
        rule = _read_rule(entry.read_table("rules"), dictionary, lists)
        if rule.id in rules:
            raise make_mapping_error(rule.mark, "id", "each rule once", rule.id)
        rules[rule.id] = rule
    top.reject_unread_keys()
    return tuple(rules.values())


def _read_rule(
    table: YamlTable, dictionary: DataDictionary, lists: Mapping[str, CodeList]
) -> DeclarationRule:
    kinds = [kind for kind in RULE_KINDS if kind in table]
    if len(kinds) != 1:
        raise make_mapping_error(
            table.mark, "rules", "one of " + ", ".join(RULE_KINDS), ", ".join(kinds) or "none"
        )
    inner = table.get_required(kinds[0]).read_table(kinds[0])
    meaning = _read_meaning(inner.get_required("left" if kinds[0] == "compare" else "of"), dictionary)
    codes, first = _read_list(inner, lists) if kinds[0] == "listed" else (None, 0)
    operator, bound, days = (
        _read_comparison(inner, meaning, dictionary) if kinds[0] == "compare" else ("", None, 0)
    )
    rule = DeclarationRule(
        id=table.get_required("id").read_text("id"),
        kind=kinds[0],
        severity=table.get_required("severity").read_choice("severity", SEVERITIES),
        meaning=meaning,
        patterns=_read_patterns(inner) if kinds[0] == "form" else (),
        codes=codes,
        first=first,
        operator=operator,
        bound=bound,
        days=days,
        ko=table.get_required("ko").read_text("ko"),
        en=table.get_required("en").read_text("en"),
        mark=table.mark,
    )
    inner.reject_unread_keys()
    table.reject_unread_keys()
    return rule


def _read_meaning(node: YamlNode, dictionary: DataDictionary) -> CommonMeaning:
    """Return the meaning that a rule names: given once for the declaration, or for each goods item."""
    name = node.read_text("of")
    meaning = dictionary.meanings.get(name)
    if meaning is None or meaning.per not in ("header", "item"):
        raise make_mapping_error(node.mark, "of", "a common meaning of the declaration or of an item", name)
    return meaning


def _read_patterns(table: YamlTable) -> tuple[str, ...]:
    node = table.get_required("patterns")
    patterns = tuple(node.read_distinct_texts("patterns"))
    for pattern in patterns:
        if not is_simple_pattern(pattern):
            expected = "a row of characters and classes with counts, as [A-Z]{2}"
            raise make_mapping_error(node.mark, "patterns", expected, pattern)
    return patterns


def _read_list(table: YamlTable, lists: Mapping[str, CodeList]) -> tuple[CodeList, int]:
    node = table.get_required("list")
    codes = lists.get(node.read_text("list"))
    if codes is None or not codes.codes:
        raise make_mapping_error(node.mark, "list", "a code list with rows", node.read_text("list"))
    return codes, table.get_required("first").read_integer("first", 1, 20)


def _read_comparison(
    table: YamlTable, left: CommonMeaning, dictionary: DataDictionary
) -> tuple[str, CommonMeaning | None, int]:
    """Return the operator, the right side (None: the day of receipt) and the days to add to it."""
    operators = [one for one in _OPERATORS if one in table]
    if len(operators) != 1 or left.type != "datetime":
        expected = "a date, and one of " + ", ".join(_OPERATORS)
        raise make_mapping_error(table.mark, "compare", expected, ", ".join(operators) or left.name)
    node = table.get_required(operators[0])
    name = node.read_text(operators[0])
    bound = None if name == RECEIVED else dictionary.meanings.get(name)
    if name != RECEIVED and (bound is None or bound.type != "datetime" or bound.per != "header"):
        raise make_mapping_error(node.mark, operators[0], f"{RECEIVED} or a date of the declaration", name)
    days = table.read_text("days", "0")
    if not _WHOLE.fullmatch(days):
        raise make_mapping_error(table.mark, "days", "a whole number of days", days)
    return operators[0], bound, int(days)
