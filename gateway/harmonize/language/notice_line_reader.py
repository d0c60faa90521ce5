"""Reads one line of a notice: a path as in a request, and the fact that it gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, cast

from gateway.harmonize.language.code_lists import CodeList
from gateway.harmonize.language.conversion_steps import FORMATS, FormatStep, TranslationStep
from gateway.harmonize.language.field_reader import read_condition
from gateway.harmonize.language.notice_tree import FactType, NoticeAttribute, NoticeLine
from gateway.harmonize.language.source_reader import read_limited_shape
from gateway.harmonize.language.unique_fields import FieldRequirement
from gateway.harmonize.language.value_shapes import ValueShape
from gateway.wire import AT_MOST_ONCE, SourceMark, YamlNode, YamlTable

SAME: Final = "same"
NUMBERS: Final = ("amount", "quantity")
TIMES: Final = ("date", "datetime")
# Paths of requests are written as in the provenance: with the value in quotation marks.
_QUOTED: Final = re.compile(r"\[@(\w+)=(\w+)\]")
_GIVERS: Final = ("gives", "echoes", "const")
_ECHO_TYPES: Final = {"text": "text", "decimal": "decimal", "digits": "digits", "day": "day"}
_DAY_FORMATS: Final = ("CCYYMMDD", "date")
_NO_DICTIONARY: Final = cast(Any, SimpleNamespace(meanings={}, groups={}))


@dataclass(frozen=True, slots=True)
class NoticeContext:
    """The names that a line of a notice may use, and the repetitions around it."""

    lists: Mapping[str, CodeList]
    fact_types: Mapping[str, FactType]
    repetitions: frozenset[str] = frozenset()
    has_item_key: bool = False
    path: str = ""
    repeated_path: str | None = None

    def enter_element(self, path: str) -> NoticeContext:
        """Return the context of the lines inside the element at `path`."""
        return replace(self, path=f"{self.path}{path}/")

    def read_echo_path(self, node: YamlNode, path: str) -> str:
        """Return the path in the request that `node` names; ``same`` is the path of the line itself."""
        text = _QUOTED.sub(r"[@\1='\2']", node.read_text("echoes"))
        if self.repeated_path is None:
            raise node.make_error("echoes", "a notice that says which element repeats the request", text)
        if text != SAME:
            return text
        full = self.path + _QUOTED.sub(r"[@\1='\2']", path)
        if not full.startswith(f"{self.repeated_path}/"):
            raise node.make_error("echoes", f"a line inside of {self.repeated_path}", full)
        return full.removeprefix(f"{self.repeated_path}/")


def read_notice_line(path: str, table: YamlTable, mark: SourceMark, within: NoticeContext) -> NoticeLine:
    """Return the line that `table` declares for the element or attribute at `path`; raise GW502."""
    givers = [key for key in _GIVERS if key in table]
    if len(givers) != 1:
        raise mark.make_error(table.name, "one of " + ", ".join(_GIVERS), ", ".join(givers) or "none")
    node = table.get_required(givers[0])
    if givers[0] == "const":
        text = node.read_text("const")
        shape = ValueShape("text", codes=(text,), list_name="const")
        return NoticeLine(None, "", text, (), shape, _read_requirement(table, within), AT_MOST_ONCE, mark)
    kind = _read_fact_type(node, within) if givers[0] == "gives" else None
    steps = _read_conversion_steps(table, kind, within)
    shape = read_limited_shape(_infer_wire_shape(table, kind, steps, within), table)
    bound = table.get("bound")
    return NoticeLine(
        fact_type=kind,
        request_path=within.read_echo_path(node, path) if kind is None else "",
        const=None,
        steps=steps,
        shape=shape,
        requirement=_read_requirement(table, within),
        bound=bound.read_bounds("bound") if bound is not None else AT_MOST_ONCE,
        mark=mark,
    )


def _read_fact_type(node: YamlNode, within: NoticeContext) -> FactType:
    """Return the fact that a line gives; raise GW502 for an unknown one, or outside its repetition."""
    name = node.read_text("gives")
    fact_type = within.fact_types.get(name)
    if fact_type is None or fact_type.base_fact:
        raise node.make_error("gives", "a fact that notices say", name)
    if fact_type.type != "item" and (
        fact_type.per not in within.repetitions if fact_type.per else within.repetitions
    ):
        expected = f"inside each {fact_type.per}" if fact_type.per else "outside of what repeats"
        raise node.make_error("gives", f"a line {expected} for {name}", "another place")
    return fact_type


def _read_conversion_steps(
    table: YamlTable, fact_type: FactType | None, within: NoticeContext
) -> tuple[FormatStep | TranslationStep, ...]:
    """Return the steps that write the value in a notice: the translation first, then the format.

    A reader of notices inverts them. Raise GW502 for a format that does not read back or does not fit.
    """
    steps: list[FormatStep | TranslationStep] = []
    if (via := table.get("via")) is not None:
        steps.append(TranslationStep(_read_translation_list(via, fact_type, within), False))
    if (format_node := table.get("form")) is not None:
        name = format_node.read_choice("form", tuple(FORMATS))
        steps.append(FormatStep(name, table.read_text("unknown_time")))
        if name == "CCYYMM":
            raise format_node.make_error("form", "a form that reads back", name)
        if fact_type is not None and fact_type.type == "date" and name not in _DAY_FORMATS:
            raise format_node.make_error("form", "a form of a day for a date", name)
        if fact_type is not None and fact_type.type not in TIMES and not name.startswith("digits"):
            raise format_node.make_error(
                "form", "a date or a datetime where a form of dates is", fact_type.type
            )
    return tuple(steps)


def _read_translation_list(node: YamlNode, fact_type: FactType | None, within: NoticeContext) -> CodeList:
    """Return the code list that ``via`` names, which must translate in both directions.

    Raise GW502 for a list whose translations are no values of `fact_type`.
    """
    codes = within.lists.get(node.read_text("via"))
    if codes is None or codes.translations is None or codes.direction != "both":
        raise node.make_error("via", "a code list with a translation that reads back", node.read_text("via"))
    for code in codes.translations if fact_type is not None else ():
        if fact_type is not None and fact_type.shape.find_violation(code) is not None:
            raise node.make_error("via", f"a translation into what {fact_type.name} may be", code)
    return codes


def _infer_wire_shape(
    table: YamlTable,
    fact_type: FactType | None,
    steps: tuple[FormatStep | TranslationStep, ...],
    within: NoticeContext,
) -> ValueShape:
    """Return the shape of a value in the notice: that of its fact after `steps`, or of an echoed value.

    With ``among``, only codes that a code list translates to the given value are left.
    """
    if fact_type is None:
        shape = ValueShape(_ECHO_TYPES[table.read_choice("type", tuple(_ECHO_TYPES), "text")])
    else:
        shape = ValueShape("text") if fact_type.type in ("item", "document") else fact_type.shape
    for step in steps:
        shape = step.infer_shape()
    among = table.get("among")
    if among is None:
        return shape
    inner = among.read_table("among")
    name, value = inner.get_required("list").read_text("list"), inner.get_required("is").read_text("is")
    inner.reject_unread_keys()
    if name not in within.lists:
        raise among.make_error("among", "a code list of codelists.yaml", name)
    codes = tuple(code for code in shape.codes or () if within.lists[name].translate_code(code) == value)
    if not codes:
        raise among.make_error("among", f"a code that {name} translates to {value}", "none")
    return replace(shape, codes=codes, list_name=f"{name} {value}")


def _read_requirement(table: YamlTable, within: NoticeContext) -> FieldRequirement:
    """Return when the element is required; a condition tests facts of the whole notice."""
    node = table.get("req")
    if node is None:
        return FieldRequirement()
    if isinstance(node.value, str):
        return FieldRequirement(mandatory=node.read_choice("req", ("M", "O")) == "M")
    inner = node.read_table("req")
    plain = cast(Any, {name: kind for name, kind in within.fact_types.items() if not kind.per})
    when = read_condition(inner.get_required("when"), plain, _NO_DICTIONARY)
    forbidden = inner.read_choice("otherwise", ("optional", "forbidden")) == "forbidden"
    inner.reject_unread_keys()
    if within.repetitions:
        raise node.make_error("req", "a condition outside of what repeats", "one inside")
    return FieldRequirement(when=when, forbidden_otherwise=forbidden)


def read_unit_attribute(
    table: YamlTable, line: NoticeLine, within: NoticeContext
) -> tuple[NoticeLine, NoticeAttribute | None]:
    """Return the line with the unit or currency that it declares, as an attribute or as a constant."""
    keys = [key for key in ("unit", "currency") if key in table]
    number = line.fact_type is None or line.fact_type.type in NUMBERS
    if len(keys) > 1 or (keys and not number) or (not keys and line.fact_type is not None and number):
        raise line.mark.make_error(
            table.name, "a unit or a currency exactly beside a number that has one", "not so"
        )
    if not keys:
        return line, None
    node = table.get_required(keys[0])
    if isinstance(node.value, str):
        return line, _make_unit_attribute(node.read_text(keys[0]), None, True, node.mark, within)
    inner = node.read_table(keys[0])
    fixed, source = inner.read_text("is"), inner.read_text("from")
    via, req = inner.get("via"), inner.read_text("req", "M")
    inner.reject_unread_keys()
    if bool(fixed) == bool(source) or req not in ("M", "O"):
        raise node.make_error(keys[0], "either is (a code) or from (an attribute), and req M or O", "not so")
    if fixed:
        return replace(line, unit=fixed), None
    return line, _make_unit_attribute(source, via, req == "M", node.mark, within)


def _make_unit_attribute(
    source: str, via: YamlNode | None, required: bool, mark: SourceMark, within: NoticeContext
) -> NoticeAttribute:
    """Return the unit attribute that `source` names (as ``@unitCode``); `via` names its code list, if any."""
    if not source.startswith("@") or not source[1:].isalnum():
        raise mark.make_error("unit", "an attribute, as @unitCode", source)
    step = TranslationStep(_read_translation_list(via, None, within), False) if via is not None else None
    shape = step.infer_shape() if step is not None else ValueShape("text", max_length=17)
    return NoticeAttribute(source[1:], None, step, shape, required, mark)
