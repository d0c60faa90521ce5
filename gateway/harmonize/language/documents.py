"""One agency document: what it needs, what it asks, what it gets, what must hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.language.checks import Check, read_checks
from gateway.harmonize.language.notices import Answers, read_answers
from gateway.harmonize.language.puts import Context, read_puts
from gateway.harmonize.language.sources import HUB_VALUES
from gateway.harmonize.language.targets import Target, claims
from gateway.harmonize.terms.asks import Ask, flatten, read_asks
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.conditions import Condition, read_condition
from gateway.harmonize.terms.dictionary import Dictionary, Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.units import NO_UNITS, Units
from gateway.wire.namespaces import document_namespace

__all__ = ["Check", "Document", "Fee", "Need", "Override", "Reading", "read_document"]

_FEES: Final = ("before_forwarding", "before_result")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")


@dataclass(frozen=True, slots=True)
class Need:
    """A common meaning that the document uses, and whether it must be there."""

    meaning: Meaning
    mandatory: bool
    when: Condition | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Override:
    """A declared exception of agreement: a field asked in place of the value of a common meaning."""

    ask: Ask
    instead_of: Meaning
    reason: str
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
class Fee:
    """When the applicant pays for the application: ``none``, ``before_forwarding`` or ``before_result``."""

    due: str = "none"
    ko: str = ""
    en: str = ""


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
    fee: Fee
    needs: tuple[Need, ...]
    asks: tuple[Ask, ...]
    root: Target
    overrides: Mapping[str, Override]
    checks: tuple[Check, ...]
    readings: Mapping[str, Reading]
    answers: Answers
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
    node: Node,
    dictionary: Dictionary,
    lists: Mapping[str, CodeList],
    organisations: Mapping[str, object],
    units: Units = NO_UNITS,
) -> Document:
    """Return the document that a mapping file declares."""
    top = node.table("document")
    name_node = top.need("document")
    name = name_node.text("document")
    if not _NAME.fullmatch(name):
        raise wrong(name_node.mark, "document", "a name of letters, digits, - _ and .", name)
    withholds = top.need("withholds")
    withholds.one_of("withholds", ("unlisted",))
    asks_node = top.need("asks")
    asks = read_asks(asks_node, lists, dictionary)
    names = {ask.name: ask for ask in flatten(asks)}
    needs = _read_needs(top, names, dictionary, lists)
    mandatory = frozenset(need.meaning.name for need in needs if need.mandatory)
    optional = frozenset(need.meaning.name for need in needs if not need.mandatory)
    root = _read_root(top.need("root"))
    read_puts(top.need("puts"), root, Context(lists, dictionary, names, mandatory, optional, units))
    answers, readings = _read_reads(top, lists)
    document = Document(
        id=name,
        organisation=top.need("organisation").one_of("organisation", tuple(organisations)),
        namespace=document_namespace(name),
        ko=top.need("ko").text("ko"),
        en=top.need("en").text("en"),
        direction=top.need("direction").one_of("direction", ("import", "export")),
        laws=_read_laws(top.need("law")),
        status=top.need("status").one_of("status", ("verified", "modelled")),
        fee=_read_fee(top),
        needs=needs,
        asks=asks,
        root=root,
        overrides=_read_overrides(top, names, dictionary),
        checks=read_checks(top, names, dictionary, lists),
        readings=readings,
        answers=answers,
        withholds=withholds.mark,
        asks_mark=asks_node.mark,
        mark=node.mark,
        ask_names=names,
        claims=claims(root),
        items_rule=next((t.each.mark for t in root.leaves() if t.each and t.each.over == "item"), None),
    )
    top.text("note")
    _read_attachments(top)
    top.close()
    _use_every_ask(document)
    return document


def _read_laws(node: Node) -> tuple[str, ...]:
    laws = tuple(node.texts("law"))
    if not laws:
        raise wrong(node.mark, "law", "the code of a law at least", "none")
    return laws


def _read_attachments(top: Table) -> None:
    """Read the key that says which attachments an agency gets: those that its lines name, and no others."""
    node = top.get("attachments")
    if node is not None:
        node.one_of("attachments", ("listed",))


def _read_fee(top: Table) -> Fee:
    node = top.get("fee")
    if node is None:
        return Fee()
    table = node.table("fee")
    due = table.need("due").one_of("due", _FEES)
    fee = Fee(due, table.need("ko").text("ko"), table.need("en").text("en"))
    table.close()
    return fee


def _read_root(node: Node) -> Target:
    name = node.text("root")
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        raise wrong(node.mark, "root", "the name of an element", name)
    return Target(name, node.mark)


def _read_needs(
    top: Table, asks: Mapping[str, Ask], dictionary: Dictionary, lists: Mapping[str, CodeList]
) -> tuple[Need, ...]:
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
        when = read_condition(inner.need("when"), asks, dictionary, lists)
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


def _read_overrides(top: Table, asks: Mapping[str, Ask], dictionary: Dictionary) -> dict[str, Override]:
    node = top.get("overrides")
    found = {}
    for name, value, mark in node.table("overrides").rest() if node is not None else ():
        table = value.table(name)
        ask, instead = asks.get(name), table.need("instead_of")
        meaning = dictionary.meanings.get(instead.text("instead_of"))
        if ask is None or ask.type == "group":
            raise wrong(mark, "overrides", "a field that the document asks", name)
        if meaning is None:
            raise wrong(instead.mark, "instead_of", "a meaning of the dictionary", instead.text("instead_of"))
        texts = {key: table.need(key).text(key) for key in ("reason", "ko", "en")}
        table.close()
        found[name] = Override(ask, meaning, **texts, mark=mark)
    return found


def _read_reads(top: Table, lists: Mapping[str, CodeList]) -> tuple[Answers, Mapping[str, Reading]]:
    """Return by which notices the document is answered, and how the answers of calls are read."""
    table = top.need("reads").table("reads")
    answers = read_answers(table)
    readings = {}
    for name, value, mark in table.rest():
        inner = value.table(name)
        correlate = inner.need("correlate").one_of("correlate", tuple(HUB_VALUES))
        item = inner.need("item").one_of("item", ("sequence", "serial"))
        status = inner.need("status")
        if status.text("status") not in lists:
            raise wrong(status.mark, "status", "a code list", status.text("status"))
        inner.close()
        readings[name] = Reading(correlate, item, lists[status.text("status")], mark)
    return answers, readings


def _use_every_ask(document: Document) -> None:
    """Refuse a field that is asked for nothing: it must reach the agency."""
    used = {
        source.name
        for target in document.root.leaves()
        for content in (target.content, *(put.content for put in target.attributes))
        if content is not None
        for source in content.reads()
    }
    for ask in flatten(document.asks):
        if ask.type != "group" and ask.name not in used:
            expected = "a target for every asked field"
            raise wrong(ask.mark, ask.name, expected, "none", proof="least_disclosure")
