"""Judges the declarations of the newest cases by what this version refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy import Connection

from gateway.harmonize import MappingBundle, find_broken_rules
from gateway.hub import find_former_message, load_stored_tree, read_unless_removed
from gateway.operations.check_findings import find_record_problem
from gateway.store import ListFilter, cases, list_searches

#: The most cases, newest first, that are read, so that `gateway check` ends soon.
_MAX_CASES: Final = 200


def find_classification_warnings(conn: Connection, bundle: MappingBundle) -> Iterator[str]:
    """Yield a warning for each party whose newest admitted declarations no mappings would allow.

    An earlier version admitted an item with two classifications of one type, an id with an
    invisible character, and a date that the calendar does not have. Cases whose octets retention has removed
    are not examined; the newest of those that cannot be read is named.
    """
    bundle_without_rules = replace(bundle, rules=())
    examples_by_party: dict[str, list[str]] = {}
    unread_cases: list[str] = []
    for case in list_searches.search_cases(conn, ListFilter(limit=_MAX_CASES)).rows:
        if case["state"] == "REFUSED" or case["outcome"] == "REFUSED":
            continue
        try:
            # The declaration in force is judged: errors that an amendment has corrected do not matter.
            case_row = cases.find_by_number(conn, case["number"])
            message_id = case["message"] if case_row is None else find_former_message(conn, case_row)
            root = read_unless_removed(partial(load_stored_tree, conn, message_id))
            broken_rules = () if root is None else find_broken_rules(root, bundle_without_rules)
        except Exception as failure:
            unread_cases.append(f"case {case['number']}: {find_record_problem(failure)}")
        else:
            if broken_rules:
                example = f"case {case['number']}, {broken_rules[0].pointer}: {broken_rules[0].detail}"
                examples_by_party.setdefault(case["applicant"], []).append(example)
    for party, examples in sorted(examples_by_party.items()):
        yield (
            f"party {party[:80]}: of the newest {_MAX_CASES} cases {len(examples)} would be "
            f"refused now (GW404), the newest is {examples[0]}"
        )
    if unread_cases:
        yield (
            f"of the newest {_MAX_CASES} cases {len(unread_cases)} cannot be read, "
            f"the newest is {unread_cases[0]}"
        )
