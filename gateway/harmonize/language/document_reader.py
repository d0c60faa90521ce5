"""Reads the mapping of one document: its head, needs, fields, target tree, checks and notices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.harmonize.language.document_checks import read_document_checks
from gateway.harmonize.language.document_mapping import (
    AgreementOverride,
    DecisionReading,
    DocumentMapping,
    Fee,
    MeaningNeed,
)
from gateway.harmonize.language.notice_catalog_reader import read_accepted_notices
from gateway.harmonize.language.notice_tree import AcceptedNotices
from gateway.harmonize.language.simple_sources import HUB_VALUES
from gateway.harmonize.language.target_tree import TargetElement, collect_claimed_leaves
from gateway.harmonize.language.target_tree_reader import BindingContext, read_target_tree
from gateway.harmonize.types import (
    NO_UNITS,
    CodeList,
    CommonMeaning,
    Condition,
    DataDictionary,
    SourceMark,
    UniqueField,
    UnitTable,
    YamlNode,
    YamlTable,
    make_mapping_error,
    read_condition,
    read_unique_fields,
    walk_fields,
)
from gateway.wire import make_document_namespace

__all__ = [
    "read_document_mapping",
]

_FEES: Final = ("before_forwarding", "before_result")


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")


def read_document_mapping(
    node: YamlNode,
    dictionary: DataDictionary,
    lists: Mapping[str, CodeList],
    organisations: Mapping[str, object],
    units: UnitTable = NO_UNITS,
) -> DocumentMapping:
    """Return the document that a mapping file declares; raise GW502 for a wrong declaration."""
    top = node.read_table("document")
    name_node = top.get_required("document")
    name = name_node.read_text("document")
    if not _NAME.fullmatch(name):
        raise make_mapping_error(name_node.mark, "document", "a name of letters, digits, - _ and .", name)
    withholds = top.get_required("withholds")
    withholds.read_choice("withholds", ("unlisted",))
    asks_node = top.get_required("asks")
    asks = read_unique_fields(asks_node, lists, dictionary, units)
    names = {ask.name: ask for ask in walk_fields(asks)}
    needs = _read_needs(top, dictionary, lambda when: read_condition(when, names, dictionary, lists, units))
    mandatory = frozenset(need.meaning.name for need in needs if need.mandatory)
    optional = frozenset(need.meaning.name for need in needs if not need.mandatory)
    root = _read_root(top.get_required("root"))
    read_target_tree(
        top.get_required("puts"), root, BindingContext(lists, dictionary, names, mandatory, optional, units)
    )
    answers, readings = _read_answer_readings(top, lists)
    document = DocumentMapping(
        id=name,
        organisation=top.get_required("organisation").read_choice("organisation", tuple(organisations)),
        namespace=make_document_namespace(name),
        ko=top.get_required("ko").read_text("ko"),
        en=top.get_required("en").read_text("en"),
        direction=top.get_required("direction").read_choice("direction", ("import", "export")),
        laws=_read_laws(top.get_required("law")),
        status=top.get_required("status").read_choice("status", ("verified", "modelled")),
        fee=_read_fee(top),
        needs=needs,
        asks=asks,
        root=root,
        overrides=_read_overrides(top, names, dictionary),
        checks=read_document_checks(top, names, dictionary, lists, units),
        readings=readings,
        answers=answers,
        withholds=withholds.mark,
        asks_mark=asks_node.mark,
        mark=node.mark,
        ask_names=names,
        claims=collect_claimed_leaves(root),
        items_rule=next(
            (t.each.mark for t in root.walk_elements() if t.each and t.each.over == "item"), None
        ),
    )
    top.read_text("note")
    _read_attachments(top)
    top.reject_unread_keys()
    _check_field_usage(document)
    return document


def _read_laws(node: YamlNode) -> tuple[str, ...]:
    laws = tuple(node.read_distinct_texts("law"))
    if not laws:
        raise make_mapping_error(node.mark, "law", "the code of a law at least", "none")
    for law in laws:
        # The laws of a document are told to its agency as a list that white space divides.
        if law.split() != [law]:
            raise make_mapping_error(node.mark, "law", "codes of laws without white space", law)
    return laws


def _read_attachments(top: YamlTable) -> None:
    """Read the key ``attachments``: an agency gets the attachments that its lines name, and no others."""
    node = top.get("attachments")
    if node is not None:
        node.read_choice("attachments", ("listed",))


def _read_fee(top: YamlTable) -> Fee:
    node = top.get("fee")
    if node is None:
        return Fee()
    table = node.read_table("fee")
    due = table.get_required("due").read_choice("due", _FEES)
    fee = Fee(due, table.get_required("ko").read_text("ko"), table.get_required("en").read_text("en"))
    table.reject_unread_keys()
    return fee


def _read_root(node: YamlNode) -> TargetElement:
    name = node.read_text("root")
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        raise make_mapping_error(node.mark, "root", "the name of an element", name)
    return TargetElement(name, node.mark)


def _read_needs(
    top: YamlTable, dictionary: DataDictionary, read_when: Callable[[YamlNode], Condition]
) -> tuple[MeaningNeed, ...]:
    table = top.get_required("needs").read_table("needs")
    needs: dict[str, MeaningNeed] = {}
    for key in ("mandatory", "optional"):
        node = table.get(key)
        for entry in node.read_list(key) if node else ():
            name = entry.read_text(key)
            _add_need(
                needs,
                MeaningNeed(_get_meaning(name, entry.mark, dictionary), key == "mandatory", None, entry.mark),
            )
    conditional = table.get("conditional")
    for name, value, mark in conditional.read_table("conditional").take_unread_items() if conditional else ():
        inner = value.read_table(name)
        when = read_when(inner.get_required("when"))
        inner.reject_unread_keys()
        _add_need(needs, MeaningNeed(_get_meaning(name, mark, dictionary), False, when, mark))
    table.reject_unread_keys()
    return tuple(needs.values())


def _get_meaning(name: str, mark: SourceMark, dictionary: DataDictionary) -> CommonMeaning:
    meaning = dictionary.meanings.get(name)
    if meaning is None:
        raise make_mapping_error(mark, "needs", "a meaning of the dictionary", name)
    return meaning


def _add_need(needs: dict[str, MeaningNeed], need: MeaningNeed) -> None:
    if need.meaning.name in needs:
        raise make_mapping_error(need.mark, "needs", "each meaning once", need.meaning.name)
    needs[need.meaning.name] = need


def _read_overrides(
    top: YamlTable, asks: Mapping[str, UniqueField], dictionary: DataDictionary
) -> dict[str, AgreementOverride]:
    node = top.get("overrides")
    found = {}
    for name, value, mark in node.read_table("overrides").take_unread_items() if node is not None else ():
        table = value.read_table(name)
        ask, instead = asks.get(name), table.get_required("instead_of")
        meaning = dictionary.meanings.get(instead.read_text("instead_of"))
        if ask is None or ask.type == "group":
            raise make_mapping_error(mark, "overrides", "a field that the document asks", name)
        if meaning is None:
            raise make_mapping_error(
                instead.mark, "instead_of", "a meaning of the dictionary", instead.read_text("instead_of")
            )
        texts = {key: table.get_required(key).read_text(key) for key in ("reason", "ko", "en")}
        table.reject_unread_keys()
        found[name] = AgreementOverride(ask, meaning, **texts, mark=mark)
    return found


def _read_answer_readings(
    top: YamlTable, lists: Mapping[str, CodeList]
) -> tuple[AcceptedNotices, Mapping[str, DecisionReading]]:
    """Return the notices that the document accepts, and how the answers to calls are read."""
    table = top.get_required("reads").read_table("reads")
    answers = read_accepted_notices(table)
    readings = {}
    for name, value, mark in table.take_unread_items():
        inner = value.read_table(name)
        correlate = inner.get_required("correlate").read_choice("correlate", tuple(HUB_VALUES))
        item = inner.get_required("item").read_choice("item", ("sequence", "serial"))
        status = inner.get_required("status")
        if status.read_text("status") not in lists:
            raise make_mapping_error(status.mark, "status", "a code list", status.read_text("status"))
        inner.reject_unread_keys()
        readings[name] = DecisionReading(correlate, item, lists[status.read_text("status")], mark)
    return answers, readings


def _check_field_usage(document: DocumentMapping) -> None:
    """Raise GW502 for an asked field that no target reads: each asked field must reach the agency."""
    used = {
        source.name
        for target in document.root.walk_elements()
        for content in (target.content, *(put.content for put in target.attributes))
        if content is not None
        for source in content.list_read_sources()
    }
    for ask in walk_fields(document.asks):
        if ask.type != "group" and ask.name not in used:
            expected = "a target for every asked field"
            raise make_mapping_error(ask.mark, ask.name, expected, "none", proof="least_disclosure")
