"""One agency document: what it needs, what it asks, what it gets, what must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.asks import Ask, flatten, read_asks
from gateway.harmonize.codelists import CodeList
from gateway.harmonize.conditions import Condition, read_condition
from gateway.harmonize.dictionary import Dictionary, Meaning
from gateway.harmonize.marks import Mark, Node, Table, wrong
from gateway.harmonize.puts import Context, read_puts
from gateway.harmonize.shapes import DECIMAL
from gateway.harmonize.sources import HUB_VALUES, MOST_FACTORS, Taken
from gateway.harmonize.targets import Target, claims
from gateway.wire.namespaces import document_namespace

__all__ = ["Check", "Document", "Need", "Reading", "read_document"]

_OPERATORS: Final = ("at_most", "at_least", "equals")


@dataclass(frozen=True, slots=True)
class Need:
    """A common meaning that the document uses, and whether it must be there."""

    meaning: Meaning
    mandatory: bool
    when: Condition | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Check:
    """A sum of values (or of products) against a bound, within one item or the whole application."""

    id: str
    per: str
    factors: tuple[Ask, ...]
    operator: str
    bound: str | Meaning
    same_currency: bool
    ko: str
    en: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Reading:
    """How the agency's answer is read: what names the application, the item and the status."""

    correlate: str
    item: str
    status: CodeList
    mark: Mark


@dataclass(frozen=True, slots=True)
class Document:
    """One document of one organisation."""

    id: str
    organisation: str
    namespace: str
    ko: str
    en: str
    direction: str
    laws: tuple[str, ...]
    status: str
    needs: tuple[Need, ...]
    asks: tuple[Ask, ...]
    root: Target
    checks: tuple[Check, ...]
    readings: Mapping[str, Reading]
    withholds: Mark
    asks_mark: Mark
    mark: Mark
    ask_names: Mapping[str, Ask]
    claims: frozenset[tuple[str, bool]]
    items_rule: Mark | None

    @property
    def file(self) -> str:
        """Return the name of the document's schema file without its ending."""
        return f"{self.organisation}/{self.id}"


def read_document(
    node: Node, dictionary: Dictionary, lists: Mapping[str, CodeList], organisations: Mapping[str, object]
) -> Document:
    """Return the document that a mapping file declares."""
    top = node.table("document")
    name_node = top.need("document")
    name = name_node.text("document")
    if not name.replace("-", "").isalnum() or not name.isascii():
        raise wrong(name_node.mark, "document", "a name of letters, digits and -", name)
    withholds = top.need("withholds")
    withholds.one_of("withholds", ("unlisted",))
    asks_node = top.need("asks")
    asks = read_asks(asks_node, lists, dictionary)
    names = {ask.name: ask for ask in flatten(asks)}
    needs = _read_needs(top, names, dictionary)
    mandatory = frozenset(need.meaning.name for need in needs if need.mandatory)
    optional = frozenset(need.meaning.name for need in needs if not need.mandatory)
    root = _read_root(top.need("root"))
    read_puts(top.need("puts"), root, Context(lists, dictionary, names, mandatory, optional))
    document = Document(
        id=name,
        organisation=top.need("organisation").one_of("organisation", tuple(organisations)),
        namespace=document_namespace(name),
        ko=top.need("ko").text("ko"),
        en=top.need("en").text("en"),
        direction=top.need("direction").one_of("direction", ("import", "export")),
        laws=tuple(top.need("law").texts("law")),
        status=top.need("status").one_of("status", ("verified", "modelled")),
        needs=needs,
        asks=asks,
        root=root,
        checks=_read_checks(top, names, dictionary),
        readings=_read_readings(top, lists),
        withholds=withholds.mark,
        asks_mark=asks_node.mark,
        mark=node.mark,
        ask_names=names,
        claims=claims(root),
        items_rule=next((t.each.mark for t in root.leaves() if t.each and t.each.over == "item"), None),
    )
    top.text("note")
    top.close()
    _use_every_ask(document)
    return document


def _read_root(node: Node) -> Target:
    name = node.text("root")
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        raise wrong(node.mark, "root", "the name of an element", name)
    return Target(name, node.mark)


def _read_needs(top: Table, asks: Mapping[str, Ask], dictionary: Dictionary) -> tuple[Need, ...]:
    table = top.need("needs").table("needs")
    needs: dict[str, Need] = {}
    for key in ("mandatory", "optional"):
        node = table.get(key)
        for entry in node.items(key) if node else ():
            name = entry.text(key)
            _add_need(needs, Need(_known(name, entry.mark, dictionary), key == "mandatory", None, entry.mark))
    conditional = table.get("conditional")
    for name, value, mark in conditional.table("conditional").rest() if conditional else ():
        inner = value.table(name)
        when = read_condition(inner.need("when"), asks, dictionary)
        inner.close()
        _add_need(needs, Need(_known(name, mark, dictionary), False, when, mark))
    table.close()
    return tuple(needs.values())


def _known(name: str, mark: Mark, dictionary: Dictionary) -> Meaning:
    meaning = dictionary.meanings.get(name)
    if meaning is None:
        raise wrong(mark, "needs", "a meaning of the dictionary", name)
    return meaning


def _add_need(needs: dict[str, Need], need: Need) -> None:
    if need.meaning.name in needs:
        raise wrong(need.mark, "needs", "each meaning once", need.meaning.name)
    needs[need.meaning.name] = need


def _read_checks(top: Table, asks: Mapping[str, Ask], dictionary: Dictionary) -> tuple[Check, ...]:
    node = top.get("checks")
    return tuple(
        _read_check(entry.table("check"), asks, dictionary)
        for entry in (node.items("checks") if node else ())
    )


def _read_check(table: Table, asks: Mapping[str, Ask], dictionary: Dictionary) -> Check:
    total = table.need("sum").table("sum")
    named = total.need("multiply").items("multiply") if "multiply" in total else [total.need("ask")]
    total.close()
    factors = []
    for entry in named:
        ask = asks.get(entry.text("sum"))
        if ask is None or ask.shape.kind != "decimal":
            raise wrong(entry.mark, "sum", "an asked number", entry.text("sum"))
        factors.append(ask)
    if len(factors) > MOST_FACTORS:
        raise wrong(table.mark, "sum", f"at most {MOST_FACTORS} factors", str(len(factors)))
    if len({(ask.group, ask.per) for ask in factors}) > 1:
        raise wrong(table.mark, "sum", "factors that stand side by side", "factors of different groups")
    operators = [key for key in _OPERATORS if key in table]
    if len(operators) != 1:
        raise wrong(table.mark, "check", "one of " + ", ".join(_OPERATORS), ", ".join(operators) or "none")
    same = table.get("when_same")
    check = Check(
        id=table.need("id").text("id"),
        per=table.need("per").one_of("per", ("application", "item")),
        factors=tuple(factors),
        operator=operators[0],
        bound=_read_bound(table.need(operators[0]), dictionary),
        same_currency=same is not None and same.one_of("when_same", ("currency",)) == "currency",
        ko=table.need("ko").text("ko"),
        en=table.need("en").text("en"),
        mark=table.mark,
    )
    table.close()
    return check


def _read_bound(node: Node, dictionary: Dictionary) -> str | Meaning:
    text = node.text("bound")
    if DECIMAL.fullmatch(text):
        return text
    meaning = dictionary.meanings.get(text)
    if meaning is None or meaning.shape.kind not in ("decimal", "integer"):
        raise wrong(node.mark, "check", "a number or a common meaning that is one", text)
    return meaning


def _read_readings(top: Table, lists: Mapping[str, CodeList]) -> Mapping[str, Reading]:
    node = top.need("reads")
    readings = {}
    for name, value, mark in node.table("reads").rest():
        table = value.table(name)
        correlate = table.need("correlate").one_of("correlate", tuple(HUB_VALUES))
        item = table.need("item").one_of("item", ("sequence", "serial"))
        status = table.need("status")
        if status.text("status") not in lists:
            raise wrong(status.mark, "status", "a code list", status.text("status"))
        table.close()
        readings[name] = Reading(correlate, item, lists[status.text("status")], mark)
    return readings


def _use_every_ask(document: Document) -> None:
    """Refuse a field that is asked for nothing: it must reach the agency."""
    used = {
        target.content.source.source.name
        for target in document.root.leaves()
        if target.content is not None
        and isinstance(target.content.source, Taken)
        and isinstance(target.content.source.source, Ask)
    }
    for ask in flatten(document.asks):
        if ask.type != "group" and ask.name not in used:
            raise wrong(ask.mark, ask.name, "a target for every asked field", "none")
