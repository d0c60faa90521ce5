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
            type_element = next(classification.iterchildren(f"{_DEC}IdentificationTypeCode"), None)
            type_code = "" if type_element is None else read_leaf_text(type_element).strip()
            id_element = next(classification.iterchildren(f"{_DEC}ID"), None)
            code_part = "" if id_element is None else read_leaf_text(id_element)
            if id_element is not None and type_code in TARIFF_CODE_TYPES and code_part.strip():
                parts.append((TARIFF_CODE_TYPES.index(type_code), code_part, id_element))
    ordered_parts = sorted(parts, key=itemgetter(0))
    return TariffCode("".join([text for _, text, _ in ordered_parts]), tuple(_find_faults(parts)))


def _find_faults(parts: list[tuple[int, str, etree._Element]]) -> list[ClassificationFault]:
    """Return the faults of the parts of a code, which are in document order."""
    faults: list[ClassificationFault] = []
    seen_ranks: list[int] = []
    for type_rank, code_part, element in parts:
        if type_rank in seen_ranks:
            fault_text = f"{quote_value(code_part)} is a second classification {_describe_type(type_rank)}"
            faults.append(ClassificationFault(element, fault_text))
        elif seen_ranks and (type_rank == 0 or 0 in seen_ranks):
            fault_text = f"{quote_value(code_part)} is a classification {_describe_type(type_rank)}"
            other_type = _describe_type(0 if type_rank else seen_ranks[0])
            faults.append(ClassificationFault(element, f"{fault_text} beside one {other_type}"))
        elif len(code_part.split()) > 1 or code_part != code_part.strip():
            faults.append(ClassificationFault(element, f"{quote_value(code_part)} has a space in it"))
        seen_ranks.append(type_rank)
    return faults


def _describe_type(type_rank: int) -> str:
    return f"of type {TARIFF_CODE_TYPES[type_rank]}" if type_rank else "without a type"
