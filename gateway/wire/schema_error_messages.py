"""Explains schema violations with xmlschema, and stops as soon as enough are found.

xmlschema collects all violations of a document before it reports the first. This module stops
after the last violation that is reported, or after a fixed number of elements, with the
violations found so far.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import xmlschema
from lxml import etree
from xmlschema.namespaces import NamespaceMapper
from xmlschema.validators import ValidationContext, XMLSchemaStopValidation

from gateway.wire.violation_words import describe_unexpected_element

#: Elements that are examined: one or two seconds when each is below a wildcard.
_MAX_ELEMENTS: Final = 20_000


class ViolationExplainer:
    """The schemas of one entry file, loaded a second time with xmlschema to explain violations."""

    def __init__(self, folder: Path, entry_file: str) -> None:
        self._schema: Any = xmlschema.XMLSchema(
            str(folder / entry_file), base_url=str(folder), allow="local", defuse="always"
        )

    def list_violations(self, root: etree._Element, max_violations: int) -> list[Any]:
        """Return the first `max_violations` violations of `root`, as errors of xmlschema.

        Returns fewer, or none, when the examined elements have no more.
        """
        violations = _ViolationList(max_violations)
        schema = self._schema
        resource = schema.maps.settings.get_xml_resource(root)
        context = ValidationContext(
            source=resource,
            converter=NamespaceMapper(None, source=resource),
            errors=violations,
            check_identities=True,
            validation_hook=_ElementBudget(_MAX_ELEMENTS),
        )
        element = schema.maps.elements.get(root.tag)
        try:
            if element is None:
                context.missing_element_error("lax", schema, root)
            else:
                element.raw_decode(root, "lax", context)
        except XMLSchemaStopValidation:
            pass
        if element is None and violations:
            declared_names = [str(declaration.name) for declaration in schema.elements.values()]
            violations[0].reason = describe_unexpected_element(str(root.tag), declared_names)
        return list(violations)


class _ViolationList(list[Any]):
    """A list of violations with a maximum length."""

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self._max_length = max_length

    def append(self, error: Any) -> None:
        """Add one violation; stop the validation at the maximum."""
        super().append(error)
        if len(self) >= self._max_length:
            raise XMLSchemaStopValidation


class _ElementBudget:
    """Stops the validation after a number of elements."""

    def __init__(self, max_elements: int) -> None:
        self._elements_left = max_elements

    def __call__(self, _element: Any, _declared: Any) -> bool:
        """Count an element; return false so that it is validated as usual."""
        self._elements_left -= 1
        if self._elements_left < 0:
            raise XMLSchemaStopValidation
        return False
