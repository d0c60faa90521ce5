"""Words what a schema does not allow, with xmlschema, and stops where that is enough.

The library gathers all violations of a document before it tells the first.  Here it stops
at the last that anybody is told, and after so many elements, with what it has found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import xmlschema
from lxml import etree
from xmlschema.namespaces import NamespaceMapper
from xmlschema.validators import ValidationContext, XMLSchemaStopValidation

__all__ = ["ViolationExplainer"]

#: Elements that are looked at: a second or two when each is below a wildcard.
_MOST_ELEMENTS: Final = 20_000


class ViolationExplainer:
    """The schemas of one entry file, read a second time so that they can say why."""

    def __init__(self, folder: Path, entry: str) -> None:
        self._schema: Any = xmlschema.XMLSchema(
            str(folder / entry), base_url=str(folder), allow="local", defuse="always"
        )

    def list_violations(self, root: etree._Element, most: int) -> list[Any]:
        """Return the first `most` violations of `root`, as errors of xmlschema.

        Fewer, or none, where the elements that are looked at have no more.
        """
        found = _ViolationList(most)
        schema = self._schema
        resource = schema.maps.settings.get_xml_resource(root)
        context = ValidationContext(
            source=resource,
            converter=NamespaceMapper(None, source=resource),
            errors=found,
            check_identities=True,
            validation_hook=_ElementBudget(_MOST_ELEMENTS),
        )
        element = schema.maps.elements.get(root.tag)
        try:
            if element is None:
                context.missing_element_error("lax", schema, root)
            else:
                element.raw_decode(root, "lax", context)
        except XMLSchemaStopValidation:
            pass
        return list(found)


class _ViolationList(list[Any]):
    """Violations, of which so many are wanted and no more."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def append(self, error: Any) -> None:
        """Keep one more; stop the validation with the last."""
        super().append(error)
        if len(self) >= self._most:
            raise XMLSchemaStopValidation


class _ElementBudget:
    """Stops the validation when so many elements were begun."""

    def __init__(self, elements: int) -> None:
        self._left = elements

    def __call__(self, _element: Any, _declared: Any) -> bool:
        """Take note of an element; it is validated as any other."""
        self._left -= 1
        if self._left < 0:
            raise XMLSchemaStopValidation
        return False
