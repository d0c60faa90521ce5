"""The rules on a declaration itself, read from ``rules.yaml``: forms, code tables, dates and numbers.

The checks of a document concern the values that its agency gets. These rules hold for every
submission: no agency gets a submission that breaks a rule of severity ``error``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from gateway.harmonize.language.code_lists import DEFAULT_ZONE, CodeList, localize_moment
from gateway.harmonize.language.data_dictionary import CommonMeaning, DataDictionary
from gateway.harmonize.language.value_shapes import DECIMAL, is_simple_pattern
from gateway.wire import (
    SourceMark,
    YamlNode,
    YamlTable,
    describe_choices,
    describe_pattern,
    quote_value,
)

RULE_KINDS: Final = ("form", "listed", "compare")
SEVERITIES: Final = ("error", "warning")
#: The day on which the submission is received, as the right side of a comparison.
RECEIVED: Final = "received"
#: The number of goods items of the declaration, as the right side of a comparison.
ITEMS: Final = "items"
_OPERATORS: Final = ("at_least", "at_most")
_EQUALS: Final = "equals"
_NUMBERS: Final = ("integer", "decimal", "amount", "measure")
_WHOLE: Final = re.compile(r"-?[0-9]{1,5}")
_WITHOUT_SIGN: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)
_DAY: Final = 10


@dataclass(frozen=True, slots=True)
class DeclarationRule:
    """One rule on the values of `meaning`, of one of `RULE_KINDS`.

    ``form``: a value has one of `patterns`. ``listed``: its first `code_length` characters are a code of
    `code_list`. ``compare``: a date compares by `operator` with the date of `bound_meaning` plus
    `day_offset`; the bound is a meaning, or None for the day of receipt; the day of an instant is that of
    `zone`. A number compares with `number_bound`, or with the number of goods items where it `counts_items`;
    one that `is_dated` compares dates. `accepts` is a quick test: it is never true for a text that breaks the
    rule.
    """

    id: str
    kind: str
    severity: str
    meaning: CommonMeaning
    patterns: tuple[str, ...]
    code_list: CodeList | None
    code_length: int
    operator: str
    bound_meaning: CommonMeaning | None
    day_offset: int
    ko: str
    en: str
    mark: SourceMark
    number_bound: str | None = None
    counts_items: bool = False
    zone: str = DEFAULT_ZONE
    is_dated: bool = field(init=False, compare=False, repr=False)
    accepts: Callable[[str], object] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "accepts", _make_quick_check(self))
        is_dated = self.kind == "compare" and self.number_bound is None and not self.counts_items
        object.__setattr__(self, "is_dated", is_dated)

    @property
    def is_error(self) -> bool:
        """Return whether a broken rule refuses the submission."""
        return self.severity == "error"

    def find_violation(self, text: str) -> str | None:
        """Return the words where `text` breaks a rule of form, list or number, else None."""
        if self.number_bound is not None:
            return self._find_number_violation(text, self.number_bound)
        if self.kind == "form" and not self.accepts(text):
            expected = " or ".join(describe_pattern(pattern) for pattern in self.patterns)
            return f"{quote_value(text)} is not allowed; expected is {expected}"
        if self.code_list is not None and text[: self.code_length] not in self.code_list.code_set:
            start, table = text[: self.code_length], f"{self.code_list.source} {self.code_list.version}"
            near = self._describe_near_codes(start).removeprefix("one of ")
            return f"{quote_value(text)} begins with {start}, which is no code of {table}; near it: {near}"
        return None

    def _find_number_violation(self, text: str, number: str) -> str | None:
        """Return how `text` breaks the limit `number`; None if it does not, or is no decimal."""
        if not DECIMAL.fullmatch(text):
            return None  # the schema of the declaration says so
        value, limit = Decimal(text), Decimal(number)
        if (value >= limit) if self.operator == "at_least" else (value <= limit):
            return None
        word = "less" if self.operator == "at_least" else "more"
        return f"{quote_value(text)} is {word} than {number}"

    def find_count_violation(self, text: str, items: int) -> str | None:
        """Return the words where the number `text` is not that of the goods items, else None.

        Without goods items there is nothing to count: the document is about another declaration.
        """
        if not items or not DECIMAL.fullmatch(text) or Decimal(text) == items:
            return None
        return f"{quote_value(text)} is not {items}, the number of goods items"

    def find_date_violation(self, text: str, bound: str) -> str | None:
        """Return the words where the date of `text` breaks a comparison with that of `bound`, else None."""
        try:
            day = date.fromisoformat(localize_moment(text, self.zone)[:_DAY])
            limit = date.fromisoformat(localize_moment(bound, self.zone)[:_DAY]) + timedelta(
                days=self.day_offset
            )
        except (ValueError, OverflowError):
            return None
        if (day >= limit) if self.operator == "at_least" else (day <= limit):
            return None
        word = "before" if self.operator == "at_least" else "after"
        return f"{day.isoformat()} is {word} {limit.isoformat()}"

    def _describe_near_codes(self, text: str) -> str:
        """Return the codes of the list that agree with `text` in most of their first characters."""
        codes = self.code_list.codes if self.code_list is not None else ()
        for length in range(self.code_length - 1, 0, -1):
            near = [code for code in codes if code.startswith(text[:length])]
            if near:
                return describe_choices(near)
        return describe_choices(codes)


def _make_quick_check(rule: DeclarationRule) -> Callable[[str], object]:
    """Return a quick test of a text: it is never true for a text that breaks the rule.

    It may be false for a text that does not break the rule; `find_violation` then decides.
    """
    if rule.kind == "form":
        # For a rule of form the quick test is complete: it accepts every text that has one of the forms.
        return re.compile("|".join(f"(?:{pattern})" for pattern in rule.patterns), re.ASCII).fullmatch
    if rule.number_bound == "0" and rule.operator == "at_least":
        return _WITHOUT_SIGN.fullmatch
    return _accept_nothing


def _accept_nothing(_text: str) -> bool:
    """Return False: the rule has no quick test."""
    return False


def read_declaration_rules(
    root: YamlNode, dictionary: DataDictionary, lists: Mapping[str, CodeList], zone: str = DEFAULT_ZONE
) -> tuple[DeclarationRule, ...]:
    """Return the rules of ``rules.yaml``; raise GW502 with file, line and field.

    Days of instants are those of `zone`, an offset.
    """
    top = root.read_table("rules")
    rules: dict[str, DeclarationRule] = {}
    for entry in top.get_required("rules").read_list("rules"):
        rule = _read_rule(entry.read_table("rules"), dictionary, lists, zone)
        if rule.id in rules:
            raise rule.mark.make_error("id", "each rule once", rule.id)
        rules[rule.id] = rule
    top.reject_unread_keys()
    return tuple(rules.values())


def _read_rule(
    table: YamlTable, dictionary: DataDictionary, lists: Mapping[str, CodeList], zone: str
) -> DeclarationRule:
    """Return the declaration rule of a table, which has exactly one kind; raise GW502 for a wrong key."""
    kinds = [kind for kind in RULE_KINDS if kind in table]
    if len(kinds) != 1:
        raise table.make_error("rules", "one of " + ", ".join(RULE_KINDS), ", ".join(kinds) or "none")
    inner = table.get_required(kinds[0]).read_table(kinds[0])
    meaning = _read_meaning(inner.get_required("left" if kinds[0] == "compare" else "of"), dictionary)
    codes, first = _read_list(inner, lists) if kinds[0] == "listed" else (None, 0)
    right = _read_comparison(inner, meaning, dictionary) if kinds[0] == "compare" else _Comparison()
    rule = DeclarationRule(
        id=table.get_required("id").read_text("id"),
        kind=kinds[0],
        severity=table.get_required("severity").read_choice("severity", SEVERITIES),
        meaning=meaning,
        patterns=_read_patterns(inner) if kinds[0] == "form" else (),
        code_list=codes,
        code_length=first,
        operator=right.operator,
        bound_meaning=right.bound,
        day_offset=right.days,
        ko=table.get_required("ko").read_text("ko"),
        en=table.get_required("en").read_text("en"),
        mark=table.mark,
        number_bound=right.number,
        counts_items=right.counts_items,
        zone=zone,
    )
    inner.reject_unread_keys()
    table.reject_unread_keys()
    return rule


def _read_meaning(node: YamlNode, dictionary: DataDictionary) -> CommonMeaning:
    """Return the meaning that a rule names.

    A number may be in a group of elements; any other value is given once for the declaration, or for
    each goods item.
    """
    name = node.read_text("of")
    meaning = dictionary.meanings.get(name)
    if meaning is None or (meaning.per not in ("header", "item") and meaning.type not in _NUMBERS):
        raise node.make_error("of", "a common meaning of the declaration or of an item", name)
    return meaning


def _read_patterns(table: YamlTable) -> tuple[str, ...]:
    """Return the patterns that a text may match; raise GW502 unless each is a simple pattern."""
    node = table.get_required("patterns")
    patterns = tuple(node.read_distinct_texts("patterns"))
    for pattern in patterns:
        if not is_simple_pattern(pattern):
            expected = "a row of characters and classes with counts, as [A-Z]{2}"
            raise node.make_error("patterns", expected, pattern)
    return patterns


def _read_list(table: YamlTable, lists: Mapping[str, CodeList]) -> tuple[CodeList, int]:
    node = table.get_required("list")
    codes = lists.get(node.read_text("list"))
    if codes is None or not codes.codes:
        raise node.make_error("list", "a code list with rows", node.read_text("list"))
    return codes, table.get_required("first").read_integer("first", 1, 20)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The operator and the right side of a comparison; see `DeclarationRule`."""

    operator: str = ""
    bound: CommonMeaning | None = None
    days: int = 0
    number: str | None = None
    counts_items: bool = False


def _read_comparison(table: YamlTable, meaning: CommonMeaning, dictionary: DataDictionary) -> _Comparison:
    """Return the operator and the right side of a comparison of a date or a number."""
    operators = [operator for operator in (*_OPERATORS, _EQUALS) if operator in table]
    is_number = meaning.type in _NUMBERS
    allowed = (*_OPERATORS, _EQUALS) if is_number else _OPERATORS
    if len(operators) != 1 or operators[0] not in allowed or not (is_number or meaning.type == "datetime"):
        expected = "a date or a number, and one of " + ", ".join(allowed)
        raise table.make_error("compare", expected, ", ".join(operators) or meaning.name)
    node = table.get_required(operators[0])
    if is_number:
        return _read_number_bound(node, operators[0], meaning)
    name = node.read_text(operators[0])
    bound = None if name == RECEIVED else dictionary.meanings.get(name)
    if name != RECEIVED and (bound is None or bound.type != "datetime" or bound.per != "header"):
        raise node.make_error(operators[0], f"{RECEIVED} or a date of the declaration", name)
    days = table.read_text("days", "0")
    if not _WHOLE.fullmatch(days):
        raise table.make_error("days", "a whole number of days", days)
    return _Comparison(operators[0], bound, int(days))


def _read_number_bound(node: YamlNode, operator: str, meaning: CommonMeaning) -> _Comparison:
    """Return the right side of a comparison of a number: a number, or how many goods items there are."""
    text = node.read_text(operator)
    if operator == _EQUALS:
        if text != ITEMS or meaning.type != "integer" or meaning.per != "header":
            expected = f"{ITEMS}, for an integer of the declaration"
            raise node.make_error(operator, expected, text)
        return _Comparison(operator, counts_items=True)
    if not DECIMAL.fullmatch(text):
        raise node.make_error(operator, "a number", text)
    return _Comparison(operator, number=text)
