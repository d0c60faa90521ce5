"""The direction of a declaration, import or export, by its type code (WCO D013).

Needs, documents, certificates, child declarations and results of customs are compared with it.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.wire.element_access import read_leaf_text
from gateway.wire.namespaces import WCO_DEC

#: The first letters of the type of a declaration, and the document codes of the Korean forms.
_DIRECTION_BY_TYPE: Final = {"IM": "import", "EX": "export", "929": "import", "830": "export"}
_TYPE_CODE: Final = f"{{{WCO_DEC}}}TypeCode"
#: The pointer of the type code of a declaration.
TYPE_CODE_POINTER: Final = "42A/D013"


def find_type_direction(type_code: str) -> str | None:
    """Return the direction of declarations of a type (import or export); None for another type."""
    return _DIRECTION_BY_TYPE.get(type_code) or _DIRECTION_BY_TYPE.get(type_code[:2].upper())


def read_declared_direction(declaration: etree._Element) -> str | None:
    """Return the direction that the type of a `Declaration` states; None where it states none."""
    # Quicker than a search by path.
    type_code = next(declaration.iterchildren(_TYPE_CODE), None)
    return None if type_code is None else find_type_direction(read_leaf_text(type_code).strip())


def are_opposite(direction: str | None, other_direction: str | None) -> bool:
    """Return whether two directions differ; one that is not known (None) differs from none."""
    return direction is not None and other_direction is not None and direction != other_direction


def describe_direction(direction: str | None) -> str:
    """Return the words for a declaration of a direction; None: of a type that says neither."""
    return f"an {direction} declaration" if direction else "a declaration of neither import nor export"
