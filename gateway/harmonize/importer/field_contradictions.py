"""Finds what an inventory says of a field that contradicts itself or a standard, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.harmonize.importer.inventory_fields import InventoryField, list_all_fields
from gateway.harmonize.importer.meaning_match import ImportedMeanings, KnownMeaning
from gateway.harmonize.types import SourceMark, make_mapping_error, parse_fraction, shorten_text
from gateway.wire import CURRENCY_DECIMALS, load_wco_elements

__all__ = [
    "describe_decimals",
    "describe_other_levels",
    "describe_range",
    "describe_wco_id",
    "find_other_organization",
]

_SHOWN: Final = 160
_LEVELS: Final = {"header": "for the whole application", "item": "for each item"}


def describe_other_levels(group: InventoryField, home: str) -> tuple[str, SourceMark] | None:
    """Return which fields of a group say another level than `home`, with the first place; None for none."""
    others = [one for one in list_all_fields(group.fields) if one.level not in ("", home)]
    if not others:
        return None
    names = shorten_text(", ".join(one.name for one in others), _SHOWN)
    said = f"the group is of level {home}" if group.level else f"the group says none, and {home} is taken"
    text = f"level {others[0].level} is said of {names}, but {said}: it is asked {_LEVELS[home]}"
    return text, others[0].locate_key("level")


def describe_decimals(field: InventoryField) -> str:
    """Return where an amount has not the decimals that ISO 4217 gives its currencies, empty for nowhere."""
    known = {code: CURRENCY_DECIMALS[code] for code in field.currencies if code in CURRENCY_DECIMALS}
    if field.decimals is None or not known:
        return ""
    if field.decimals > max(known.values()):
        return f"more decimals ({field.decimals}) than ISO 4217 gives: {_list_decimals(known)}"
    fewer = {code: number for code, number in known.items() if number > field.decimals}
    return f"fewer decimals ({field.decimals}) than ISO 4217 gives: {_list_decimals(fewer)}" if fewer else ""


def _list_decimals(known: Mapping[str, int]) -> str:
    return shorten_text(", ".join(f"{code} {number}" for code, number in known.items()), _SHOWN)


def describe_range(field: InventoryField) -> str:
    """Return that a bound of a range has more decimals than the field, empty where none has."""
    if field.bounds is None or field.decimals is None:
        return ""
    finer = [bound for bound in field.bounds if (parse_fraction(bound) * 10**field.decimals).denominator > 1]
    return (
        f"the bound {finer[0]} of the range has more decimals than the field ({field.decimals})"
        if finer
        else ""
    )


def describe_wco_id(
    field: InventoryField, where: str, meanings: ImportedMeanings, known: KnownMeaning | None
) -> str:
    """Return what is unclear about the WCO id of a field, empty where nothing is.

    `known` is the common meaning that the field has or may have; `where` is the field in errors.
    Raise GW502 for an id that is not that of the field's path.
    """
    if not field.wco:
        return ""
    elements = load_wco_elements()
    element = elements.get(field.path) or elements.get(f"Declaration/{field.path}")
    if element is not None and element.wco_id != field.wco:
        wanted = f"the id of the element, {element.wco_id or 'none'}"
        raise make_mapping_error(field.locate_key("wco_id"), f"{where}.wco_id", wanted, field.wco)
    paths = [path for path, one in elements.items() if one.wco_id == field.wco]
    if field.path or (known is not None and known.path in paths):
        return ""
    if not paths:
        return f"no element of the declaration has the WCO id {shorten_text(field.wco, _SHOWN)}"
    common = next((one for one in map(meanings.find_by_path, paths) if one is not None), None)
    if common is not None:
        return f"its WCO id {field.wco} is that of {common.path}; if it is {common.name}, it is not asked"
    others = f" and of {len(paths) - 1} others" if len(paths) > 1 else ""
    return f"its WCO id {field.wco} is that of {paths[0]}{others}, and it says no path"


def find_other_organization(document: str, own: str, codes: frozenset[str]) -> str:
    """Return the code of another organisation with which the id of a document begins, empty for none."""
    begun = [code for code in codes if f"{document}-".startswith(tuple(f"{code}{sign}" for sign in "-_."))]
    longest = max(begun, key=len, default="")
    return longest if own not in begun else ""
