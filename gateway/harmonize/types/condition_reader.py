"""Reads conditions over declared and asked values; each is a finite, total tree, not a string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.harmonize.types.code_lists import CodeList
from gateway.harmonize.types.data_dictionary import CommonMeaning, DataDictionary
from gateway.harmonize.types.strict_yaml import SourceMark, YamlNode, make_mapping_error
from gateway.harmonize.types.unique_fields import AllOf, AnyOf, Condition, Negation, UniqueField, ValueTest
from gateway.harmonize.types.value_shapes import DECIMAL

__all__ = [
    "read_condition",
]

_COMPARISONS: Final = ("at_least", "at_most", "more_than", "less_than")
_NO_LISTS: Final[Mapping[str, CodeList]] = {}


def read_condition(
    node: YamlNode,
    asks: Mapping[str, UniqueField],
    dictionary: DataDictionary,
    lists: Mapping[str, CodeList] = _NO_LISTS,
) -> Condition:
    """Return the condition in `node`, which has one key: a field's name, ``all``, ``any`` or ``not``.

    `lists` are the code lists that ``in_list`` may name.  Raise GW502 for a wrong condition.
    """
    entries = list(node.read_table("condition").take_unread_items())
    if len(entries) != 1:
        raise make_mapping_error(
            node.mark, "condition", "one field, or one of all, any, not", f"{len(entries)} keys"
        )
    name, value, mark = entries[0]
    if name in ("all", "any"):
        parts = tuple(read_condition(part, asks, dictionary, lists) for part in value.read_list(name))
        return AllOf(parts) if name == "all" else AnyOf(parts)
    if name == "not":
        return Negation(read_condition(value, asks, dictionary, lists))
    source = asks.get(name) or dictionary.meanings.get(name)
    if source is None:
        raise make_mapping_error(mark, "condition", "an asked field or a common meaning", name)
    return _read_value_test(name, source, value, (mark, lists))


def _read_value_test(
    name: str,
    source: UniqueField | CommonMeaning,
    node: YamlNode,
    context: tuple[SourceMark, Mapping[str, CodeList]],
) -> ValueTest:
    mark, lists = context
    tests = list(node.read_table(name).take_unread_items())
    if len(tests) != 1:
        raise make_mapping_error(mark, name, "one test", f"{len(tests)} of them")
    operator, value, at = tests[0]
    boolean = source.type == "boolean"
    if operator == "present":
        return ValueTest(name, source, operator, (value.read_choice(operator, ("yes", "no")),), boolean, mark)
    if operator in _COMPARISONS:
        number = value.read_text(operator)
        if not DECIMAL.fullmatch(number):
            raise make_mapping_error(at, operator, "a number", number)
        return ValueTest(name, source, operator, (number,), boolean, mark)
    if operator == "in_list":
        listed = _get_code_list(name, source, value, lists)
        return ValueTest(name, source, "in", listed.codes, boolean, mark, listed)
    if operator not in ("is", "in"):
        raise make_mapping_error(at, name, "is, in, in_list, present or " + ", ".join(_COMPARISONS), operator)
    values = (value.read_text(operator),) if operator == "is" else tuple(value.read_distinct_texts(operator))
    codes = ("true", "false") if boolean else source.shape.codes
    for text in values:
        if codes is not None and text not in codes:
            raise make_mapping_error(at, name, "a code of " + (source.shape.list_name or name), text)
    return ValueTest(name, source, operator, values, boolean, mark)


def _get_code_list(
    name: str, source: UniqueField | CommonMeaning, node: YamlNode, lists: Mapping[str, CodeList]
) -> CodeList:
    """Return the list for a value; raise GW502 for an open list or one without a code of the shape."""
    found = lists.get(node.read_text("in_list"))
    if found is None:
        raise make_mapping_error(
            node.mark, "in_list", "a code list of codelists.yaml", node.read_text("in_list")
        )
    if found.pattern is not None or not found.codes:
        raise make_mapping_error(
            node.mark, "in_list", "a list that we hold whole", f"{found.name}, which is open"
        )
    if source.shape.kind != "text" or source.type in ("group", "attachment"):
        raise make_mapping_error(node.mark, name, "a text or a code, which can stand in a list", source.type)
    own = source.shape.codes
    if own is not None and found.known.isdisjoint(own):
        expected = "a list with codes of " + (source.shape.list_name or name)
        raise make_mapping_error(node.mark, "in_list", expected, f"{found.name}, which has none of them")
    return found
