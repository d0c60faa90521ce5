"""The tariff code of a goods item: rules, agencies, needs and releases have one reader of it.

The code is that of the Classification without a type or of type TSP, followed by that of type TRC.
Classifications of other types are no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from lxml import etree

from gateway.wire.element_access import read_leaf_text
from gateway.wire.namespaces import WCO_DEC
from gateway.wire.text_characters import quote_value

TARIFF_CODE_PATH: Final = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Classification/ID"
#: The types of the classifications that make the code, in the order in which they are joined; empty: none.
TARIFF_CODE_TYPES: Final = ("", "TSP", "TRC")
_DEC: Final = f"{{{WCO_DEC}}}"


@dataclass(frozen=True, slots=True)
class ClassificationFault:
    """Why the classifications of an item are not one tariff code: the element of the code, and the words."""

    element: etree._Element
    detail: str


@dataclass(frozen=True, slots=True)
class TariffCode:
    """The tariff code of an item as it is written, empty where there is none; not certain with faults."""

    text: str
    faults: tuple[ClassificationFault, ...] = ()


def read_tariff_code(item: etree._Element) -> TariffCode:
    """Return the tariff code of a GovernmentAgencyGoodsItem.

    A second classification of a type, one without a type beside another, and white space in a code are
    faults. The parts are joined all the same, so that no part of a faulty code is overlooked.
    """
    parts: list[tuple[int, str, etree._Element]] = []
    for commodity in item.iterchildren(f"{_DEC}Commodity"):
        for classification in commodity.iterchildren(f"{_DEC}Classification"):
            kind = next(classification.iterchildren(f"{_DEC}IdentificationTypeCode"), None)
            name = "" if kind is None else read_leaf_text(kind).strip()
            code = next(classification.iterchildren(f"{_DEC}ID"), None)
            text = "" if code is None else read_leaf_text(code)
            if code is not None and name in TARIFF_CODE_TYPES and text.strip():
                parts.append((TARIFF_CODE_TYPES.index(name), text, code))
    ordered = sorted(parts, key=itemgetter(0))
    return TariffCode("".join([text for _, text, _ in ordered]), tuple(_find_faults(parts)))


def _find_faults(parts: list[tuple[int, str, etree._Element]]) -> list[ClassificationFault]:
    """Return the faults of the parts of a code, which are in document order."""
    faults: list[ClassificationFault] = []
    types: list[int] = []
    for rank, text, element in parts:
        if rank in types:
            fault_description = f"{quote_value(text)} is a second classification {_describe_type(rank)}"
            faults.append(ClassificationFault(element, fault_description))
        elif types and (rank == 0 or 0 in types):
            fault_description = f"{quote_value(text)} is a classification {_describe_type(rank)}"
            other_type = _describe_type(0 if rank else types[0])
            faults.append(ClassificationFault(element, f"{fault_description} beside one {other_type}"))
        elif len(text.split()) > 1 or text != text.strip():
            faults.append(ClassificationFault(element, f"{quote_value(text)} has a space in it"))
        types.append(rank)
    return faults


def _describe_type(rank: int) -> str:
    return f"of type {TARIFF_CODE_TYPES[rank]}" if rank else "without a type"
