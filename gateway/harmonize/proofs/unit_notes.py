"""Notes on units: numbers that are taken without regard to theirs, and units that no list has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

from gateway.harmonize.language import DocumentMapping, may_have_several_units
from gateway.harmonize.proofs.document_lines import list_conditions
from gateway.harmonize.types import NUMBER_TESTS, list_guard_tests, walk_fields

__all__ = ["list_unit_notes"]


def list_unit_notes(documents: Iterable[DocumentMapping], known: Collection[str] = ()) -> Iterator[str]:
    """Yield a note on each factor, and each number in a condition, that counts alike in each of its units.

    And on each unit of an asked field that is not among the `known` ones; without any, none is noted.
    """
    for document in documents:
        yield from _list_unknown_units(document, known)
        yield from _list_factor_notes(document)
        yield from dict.fromkeys(_list_condition_notes(document))


def _list_unknown_units(document: DocumentMapping, known: Collection[str]) -> Iterator[str]:
    for ask in walk_fields(document.asks) if known else ():
        unknown = [one for one in ask.units if one not in known] if ask.attribute == "unitCode" else []
        if unknown:
            yield (
                f"{ask.mark} {ask.name} of {document.id}: {', '.join(unknown)} is no unit of Recommendation "
                "20 or of the table of units; the agency gets it as it is"
            )


def _list_factor_notes(document: DocumentMapping) -> Iterator[str]:
    for check in document.checks:
        for source in check.list_unsaid_factors():
            yield (
                f"{check.mark} check {check.id} of {document.id}: {source.name} may be in different "
                "units, and its number alone is multiplied. Say in which it counts, as "
                f"{{of: {source.name}, in: UNIT}}, or in: stated"
            )


def _list_condition_notes(document: DocumentMapping) -> Iterator[str]:
    for condition, mark, name in list_conditions(document):
        for test in list_guard_tests(condition):
            if (
                test.operator in NUMBER_TESTS
                and Decimal(test.values[0])
                and test.counted_in is None
                and may_have_several_units(test.source)
            ):
                yield (
                    f"{mark} condition of {name} in {document.id}: {test.name} may be in different "
                    f"units, and its number alone is compared with {test.values[0]}. Say in which unit, as "
                    f"{{{test.operator}: {test.values[0]}, in: UNIT}}, or in: stated"
                )
