"""Reads the mapping of one document: its head, needs, fields, target tree, checks and notices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.harmonize.language.code_lists import DEFAULT_ZONE, CodeList
from gateway.harmonize.language.data_dictionary import CommonMeaning, DataDictionary
from gateway.harmonize.language.document_checks import read_document_checks
from gateway.harmonize.language.document_mapping import (
    AgreementOverride,
    DocumentMapping,
    Fee,
    MeaningNeed,
)
from gateway.harmonize.language.field_reader import read_condition, read_unique_fields
from gateway.harmonize.language.notice_catalog_reader import read_accepted_notices
from gateway.harmonize.language.source_reader import BindingContext
from gateway.harmonize.language.target_tree import TargetElement, collect_source_leaves
from gateway.harmonize.language.target_tree_reader import read_target_tree
from gateway.harmonize.language.unique_fields import Condition, UniqueField, walk_fields
from gateway.harmonize.language.unit_table import NO_UNITS, UnitTable
from gateway.wire import SourceMark, YamlNode, YamlTable, make_document_namespace

_FEES: Final = ("before_forwarding", "before_result")


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")


def read_document_mapping(
    node: YamlNode,
    dictionary: DataDictionary,
    lists: Mapping[str, CodeList],
    organisations: Mapping[str, object],
    units: UnitTable = NO_UNITS,
    zone: str = DEFAULT_ZONE,
) -> DocumentMapping:
    """Return the document that a mapping file declares; raise GW502 for a wrong declaration.

    Days of instants are those of `zone`, an offset.
    """
    top = node.read_table("document")
    name_node = top.get_required("document")
    name = name_node.read_text("document")
    if not _NAME.fullmatch(name):
        raise name_node.make_error("document", "a name of letters, digits, - _ and .", name)
    withholds = top.get_required("withholds")
    withholds.read_choice("withholds", ("unlisted",))
    asks_node = top.get_required("asks")
    asks = read_unique_fields(asks_node, lists, dictionary, units)
    names = {ask.name: ask for ask in walk_fields(asks)}
    needs = _read_needs(top, dictionary, lambda when: read_condition(when, names, dictionary, lists, units))
    mandatory = frozenset(need.meaning.name for need in needs if need.mandatory)
    optional = frozenset(need.meaning.name for need in needs if not need.mandatory)
    root = _read_root(top.get_required("root"))
    context = BindingContext(lists, dictionary, names, mandatory, optional, units, zone=zone)
    read_target_tree(top.get_required("puts"), root, context)
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
        checks=read_document_checks(top, names, dictionary, lists, units, zone),
        accepted_notices=read_accepted_notices(top.get_required("reads")),
        withholds_mark=withholds.mark,
        asks_mark=asks_node.mark,
        mark=node.mark,
        ask_names=names,
        source_leaves=collect_source_leaves(root),
        item_repetition_mark=next(
            (t.repetition.mark for t in root.walk_elements() if t.repetition and t.repetition.over == "item"),
            None,
        ),
    )
    top.read_text("note")
    top.get("attachments")  # Bundles of 0.1.0 have it; nothing reads it.
    top.reject_unread_keys()
    _check_field_usage(document)
    return document


def _read_laws(node: YamlNode) -> tuple[str, ...]:
    """Return the codes of the laws, at least one; raise GW502 for a code with white space."""
    laws = tuple(node.read_distinct_texts("law"))
    if not laws:
        raise node.make_error("law", "the code of a law at least", "none")
    for law in laws:
        # The agency of a document gets its laws as a list divided by white space.
        if law.split() != [law]:
            raise node.make_error("law", "codes of laws without white space", law)
    return laws


def _read_fee(top: YamlTable) -> Fee:
    """Return when the applicant pays the fee; no fee without the key ``fee``."""
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
        raise node.make_error("root", "the name of an element", name)
    return TargetElement(name, node.mark)


def _read_needs(
    top: YamlTable, dictionary: DataDictionary, read_when: Callable[[YamlNode], Condition]
) -> tuple[MeaningNeed, ...]:
    """Return the common meanings that a document needs: mandatory, optional and conditional ones.

    `read_when` reads the condition of a conditional one.
    """
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
        raise mark.make_error("needs", "a meaning of the dictionary", name)
    return meaning


def _add_need(needs: dict[str, MeaningNeed], need: MeaningNeed) -> None:
    if need.meaning.name in needs:
        raise need.mark.make_error("needs", "each meaning once", need.meaning.name)
    needs[need.meaning.name] = need


def _read_overrides(
    top: YamlTable, asks: Mapping[str, UniqueField], dictionary: DataDictionary
) -> dict[str, AgreementOverride]:
    """Return by field name the unique fields that a document asks instead of a common meaning."""
    node = top.get("overrides")
    overrides = {}
    for name, value, mark in node.read_table("overrides").take_unread_items() if node is not None else ():
        table = value.read_table(name)
        ask, instead = asks.get(name), table.get_required("instead_of")
        meaning = dictionary.meanings.get(instead.read_text("instead_of"))
        if ask is None or ask.type == "group":
            raise mark.make_error("overrides", "a field that the document asks", name)
        if meaning is None:
            raise instead.make_error(
                "instead_of", "a meaning of the dictionary", instead.read_text("instead_of")
            )
        texts = {key: table.get_required(key).read_text(key) for key in ("reason", "ko", "en")}
        table.reject_unread_keys()
        overrides[name] = AgreementOverride(ask, meaning, **texts, mark=mark)
    return overrides


def _check_field_usage(document: DocumentMapping) -> None:
    """Raise GW502 for an asked field that no target reads: each asked field must reach the agency."""
    used = {
        source.name
        for target in document.root.walk_elements()
        for content in (target.content, *(attribute.content for attribute in target.attributes))
        if content is not None
        for source in content.list_read_sources()
    }
    for ask in walk_fields(document.asks):
        if ask.type != "group" and ask.name not in used:
            expected = "a target for every asked field"
            raise ask.mark.make_error(ask.name, expected, "none", proof="least_disclosure")
