"""What is remarked on a new table of needs: rows that no goods have, and another country."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.cli.result_output import count_things
from gateway.hub import DecisionRules
from gateway.needs import NeedTable

__all__ = ["TARIFF_CODE", "list_table_remarks"]

#: The meaning of the declaration that holds the tariff code of an item.
TARIFF_CODE: Final = "item.hs"
_MOST_LINES: Final = 5


def list_table_remarks(table: NeedTable, rules: DecisionRules) -> list[str]:
    """Return the remarks on a new table, beside the tables that `rules` have in force."""
    return [*_list_code_remarks(table, rules), *_list_country_remarks(table, rules)]


def _list_code_remarks(table: NeedTable, rules: DecisionRules) -> Iterator[str]:
    """Yield how many rows have a code of no goods, by the rules that look a tariff code up in a list."""
    told: set[int] = set()
    listed = [one for one in rules.bundle.rules if one.kind == "listed" and one.meaning.name == TARIFF_CODE]
    for rule in sorted(listed, key=lambda one: one.first):
        wrong = [
            row.line
            for row in table.rows
            if row.line not in told and len(row.hs) >= rule.first and rule.find_violation(row.hs) is not None
        ]
        told.update(wrong)
        if wrong:
            word = "line" if len(wrong) == 1 else "lines"
            lines = ", ".join(map(str, wrong[:_MOST_LINES])) + (", …" if len(wrong) > _MOST_LINES else "")
            yield f"{rule.en}: {count_things(len(wrong), 'row')} ({word} {lines})."


def _list_country_remarks(table: NeedTable, rules: DecisionRules) -> Iterator[str]:
    """Yield that editions of the same table are of another country."""
    known = rules.needs.get_index().tables
    others = sorted({one.country for one in known if one.name == table.name} - {table.country})
    if others:
        whose = " and ".join(others)
        yield (
            f"Other editions of {table.name} are of {whose}, this one is of {table.country}. While it is "
            f"in force, of a code of {whose} six digits count: needs of such goods are possible, not certain."
        )
