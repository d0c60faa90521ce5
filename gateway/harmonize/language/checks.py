"""What must hold between values: the checks of a document, read from its mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.harmonize.language.combined import levels
from gateway.harmonize.language.values import MOST_FACTORS
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.conditions import Condition, guards, read_condition
from gateway.harmonize.terms.dictionary import Dictionary, Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import DECIMAL

__all__ = ["KINDS", "OPERATORS", "Check", "family", "read_checks"]

KINDS: Final = ("sum", "compare", "distinct", "one_of", "all_or_none")
OPERATORS: Final = ("at_most", "at_least", "more_than", "less_than", "equals")
_FAMILIES: Final = {"decimal": "number", "integer": "number", "date": "time", "moment": "time"}
_SAME: Final = ("currency", "unit")
_WHOLE: Final = re.compile(r"-?[0-9]{1,6}")
_MOST_DAYS: Final = 36_600


@dataclass(frozen=True, slots=True)
class Check:
    """One rule over values, of one of `KINDS`.

    `factors` are the fields that it is about: those multiplied and added up (sum), the left
    side (compare), or those that must be distinct, or given together.  `bound` is the right
    side: a constant, a field or a meaning.  `around` are the repetitions that the rule goes
    over, one by one; a sum and ``distinct`` then look at everything below.  `days` are added
    to the right side of a comparison of dates.  With
    `same_unit` values of unlike units or currencies are not compared, else they are refused.
    """

    id: str
    kind: str
    per: str
    factors: tuple[Ask | Meaning, ...]
    operator: str
    bound: str | Ask | Meaning | None
    within: Decimal
    days: int
    same_unit: bool
    when: Condition | None
    around: tuple[str, ...]
    ko: str
    en: str
    mark: Mark

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield every field and meaning that decides whether the rule holds; groups by their presence."""
        yield from self.factors
        if isinstance(self.bound, Ask | Meaning):
            yield self.bound
        for test in guards(self.when) if self.when is not None else ():
            yield test.source


@dataclass(frozen=True, slots=True)
class _Names:
    """What a check may name."""

    asks: Mapping[str, Ask]
    dictionary: Dictionary
    lists: Mapping[str, CodeList]

    def find(self, node: Node, text: str, *, groups: bool = False) -> Ask | Meaning:
        """Return the field or meaning of a name; raises GW502 where there is none."""
        source = self.get(text)
        if source is None or (not groups and source.type in ("attachment", "group")):
            raise wrong(node.mark, "check", "an asked field or a common meaning", text)
        return source

    def get(self, text: str) -> Ask | Meaning | None:
        """Return the field or meaning of a name, None where there is none."""
        return self.asks.get(text) or self.dictionary.meanings.get(text)

    def around(self, source: Ask | Meaning) -> tuple[str, ...]:
        """Return the repetitions around a field or meaning."""
        return levels(source, self.dictionary)


def family(source: Ask | Meaning) -> str:
    """Return of which like values a field is: number, time, boolean or text."""
    kind = source.shape.kind
    return _FAMILIES.get(kind, kind if kind == "boolean" else "text")


def read_checks(
    top: Table, asks: Mapping[str, Ask], dictionary: Dictionary, lists: Mapping[str, CodeList]
) -> tuple[Check, ...]:
    """Return the checks that a document declares under ``checks``, each with a name of its own."""
    node = top.get("checks")
    names = _Names(asks, dictionary, lists)
    checks: dict[str, Check] = {}
    for entry in node.items("checks") if node is not None else ():
        check = _read_check(entry.table("check"), names)
        if check.id in checks:
            raise wrong(check.mark, "id", "each check once", check.id)
        checks[check.id] = check
    return tuple(checks.values())


def _read_check(table: Table, names: _Names) -> Check:
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        raise wrong(table.mark, "check", "one of " + ", ".join(KINDS), ", ".join(kinds) or "none")
    kind, node = kinds[0], table.need(kinds[0])
    per_node = table.need("per")
    per = _per(per_node, names)
    operator, bound, days = "", None, 0
    if kind == "sum":
        factors = _factors(node, names)
        operator, bound = _operator(table, factors[-1], names)
    elif kind == "compare":
        inner = node.table("compare")
        left = inner.need("left")
        factors = (names.find(left, left.text("left")),)
        operator, bound = _operator(inner, factors[0], names)
        days = _days(inner, factors[0])
        inner.close()
    else:
        factors = _listed(kind, node, names)
    same, when = table.get("when_same"), table.get("when")
    check = Check(
        id=table.need("id").text("id"),
        kind=kind,
        per=per_node.text("per"),
        factors=factors,
        operator=operator,
        bound=bound,
        within=_within(table, kind, operator, factors[-1]),
        days=days,
        same_unit=same is not None and bool(same.one_of("when_same", _SAME)),
        when=None if when is None else read_condition(when, names.asks, names.dictionary, names.lists),
        around=_around(kind, per, (factors, bound), (names, table.mark)),
        ko=table.need("ko").text("ko"),
        en=table.need("en").text("en"),
        mark=table.mark,
    )
    table.close()
    return check


def _per(node: Node, names: _Names) -> tuple[str, ...]:
    """Return the repetitions that ``per`` names: none, the items, or those down to a group."""
    name = node.text("per")
    if name in ("application", "item"):
        return () if name == "application" else ("item",)
    ask = names.asks.get(name)
    if ask is not None and ask.type == "group":
        return (*names.around(ask), f"asked:{name}")
    if name not in names.dictionary.groups:
        raise wrong(node.mark, "per", "application, item or a group", name)
    outer = ("item",) if names.dictionary.is_item(name) else ()
    return outer + tuple(f"common:{one}" for one in names.dictionary.chain(name))


def _factors(node: Node, names: _Names) -> tuple[Ask | Meaning, ...]:
    table = node.table("sum")
    key = next((key for key in ("multiply", "ask", "common") if key in table), "ask")
    named = table.need(key)
    entries = named.items("multiply") if key == "multiply" else [named]
    table.close()
    factors = []
    for entry in entries:
        source = names.get(entry.text("sum"))
        if source is None or family(source) != "number":
            what = "a common number" if key == "common" else "an asked number"
            raise wrong(entry.mark, "sum", what, entry.text("sum"))
        factors.append(source)
    if not 1 <= len(factors) <= MOST_FACTORS:
        raise wrong(table.mark, "sum", f"at most {MOST_FACTORS} factors", str(len(factors)))
    if len({names.around(factor) for factor in factors}) > 1 or (len(factors) > 1 and _any_many(factors)):
        raise wrong(table.mark, "sum", "factors that stand side by side", "factors of different groups")
    return tuple(factors)


def _any_many(sources: list[Ask | Meaning]) -> bool:
    return any(source.many for source in sources)


def _listed(kind: str, node: Node, names: _Names) -> tuple[Ask | Meaning, ...]:
    """Return the fields of a rule about distinct values or about what is given together."""
    entries = node.items(kind) if isinstance(node.value, list) else [node]
    least = 1 if kind == "distinct" else 2
    if not least <= len(entries) <= MOST_FACTORS:
        raise wrong(node.mark, kind, f"{least} to {MOST_FACTORS} fields", f"{len(entries)} of them")
    found = tuple(names.find(one, one.text(kind), groups=kind != "distinct") for one in entries)
    if len({source.name for source in found}) != len(found):
        raise wrong(node.mark, kind, "each field once", "a field again")
    if kind == "distinct" and (
        len({names.around(source) for source in found}) > 1 or (len(found) > 1 and _any_many(list(found)))
    ):
        raise wrong(node.mark, kind, "fields that stand side by side", "fields of different groups")
    return found


def _operator(table: Table, left: Ask | Meaning, names: _Names) -> tuple[str, str | Ask | Meaning]:
    operators = [key for key in OPERATORS if key in table]
    if len(operators) != 1:
        raise wrong(table.mark, "check", "one of " + ", ".join(OPERATORS), ", ".join(operators) or "none")
    (operator,) = operators
    node = table.need(operator)
    text, kind = node.text(operator), family(left)
    if kind in ("text", "boolean") and operator != "equals":
        raise wrong(node.mark, operator, "a number or a date, which have an order", left.name)
    right = names.get(text)
    if right is not None:
        unlike = {left.attribute, right.attribute} == {"unitCode", "currencyID"}
        if family(right) != kind or right.many or right.type in ("group", "attachment") or unlike:
            like = "a number or a common meaning that is one" if kind == "number" else f"a {kind}"
            raise wrong(node.mark, operator, f"{like}, of one value as {left.name}", text)
        return operator, right
    if kind == "number" and not DECIMAL.fullmatch(text):
        raise wrong(node.mark, operator, "a number or a common meaning that is one", text)
    if kind != "number" and left.shape.refuse(text) is not None:
        raise wrong(node.mark, operator, f"a value of {left.name}, or a field like it", text)
    return operator, text


def _days(table: Table, left: Ask | Meaning) -> int:
    """Return how many days are added to the right side of a comparison, where it is one of dates."""
    node = table.get("days")
    if node is None:
        return 0
    text = node.text("days")
    if family(left) != "time":
        raise wrong(node.mark, "days", "two dates to compare", left.name)
    if not _WHOLE.fullmatch(text) or abs(int(text)) > _MOST_DAYS:
        raise wrong(node.mark, "days", f"a whole number from -{_MOST_DAYS} to {_MOST_DAYS}", text)
    return int(text)


def _within(table: Table, kind: str, operator: str, left: Ask | Meaning) -> Decimal:
    node = table.get("within")
    if node is None:
        return Decimal(0)
    text = node.text("within")
    if kind not in ("sum", "compare") or operator != "equals" or family(left) != "number":
        raise wrong(node.mark, "within", "a tolerance of two equal numbers", operator or kind)
    if not DECIMAL.fullmatch(text) or Decimal(text) < 0:
        raise wrong(node.mark, "within", "a number of zero or more", text)
    return Decimal(text)


def _around(
    kind: str,
    per: tuple[str, ...],
    values: tuple[tuple[Ask | Meaning, ...], str | Ask | Meaning | None],
    where: tuple[_Names, Mark],
) -> tuple[str, ...]:
    """Return the repetitions that a rule goes over; what it names must stand in one line of them."""
    (factors, bound), (names, mark) = values, where
    chains = [names.around(source) for source in factors]
    right = [names.around(bound)] if isinstance(bound, Ask | Meaning) else []
    if kind in ("sum", "distinct"):
        if not _prefix(per, chains[0]) or not all(_prefix(chain, per) for chain in right):
            raise wrong(mark, "per", "a place around what is added or distinct", "another place")
        return per
    if kind == "compare":
        deepest = max((per, *chains, *right), key=len)
        if not all(_prefix(chain, deepest) for chain in (per, *chains, *right)):
            raise wrong(mark, "check", "values of which one stands around the other", "different groups")
        return deepest
    shared = [steps[0] for steps in zip(*chains, strict=False) if len(set(steps)) == 1]
    place = max((per, tuple(shared)), key=len)
    if not all(_prefix(chain, place) or _prefix(place, chain) for chain in (per, *chains)):
        raise wrong(mark, "check", "fields that stand together", "fields of different groups")
    return place


def _prefix(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return second[: len(first)] == first
