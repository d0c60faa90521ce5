"""``gateway form show|compose|read``: one form for several documents, and the submission that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from gateway.cli.mapping_folder import load_mappings, mapping_path_option
from gateway.cli.named_files import name_file, read_file, replace_file
from gateway.cli.result_output import count_things, print_json, print_sentence, print_table
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.harmonize import (
    compose_form,
    compose_submission,
    describe_filing_form,
    parse_form_values,
    read_form_values,
    write_form_values,
)
from gateway.wire import parse_xml, serialize_element

__all__ = ["compose_file", "read_submission_file", "show_form"]

_COLUMNS = ("key", "type", "needed", "label")


@verb
@click.argument("documents", nargs=-1, required=True, help="the documents")
@click.option("--language", type=click.Choice(["en", "ko"]), default="en", help="language of the labels")
@json_option("print one JSON object with labels, bounds, codes and rules of need")
@mapping_path_option()
def show_form(arguments: Arguments) -> int:
    """Print the form of some documents: what they share once, then what each one asks."""
    bundle = load_mappings(arguments.path)
    told = describe_filing_form(compose_form(bundle, arguments.documents), bundle)
    if arguments.json:
        print_json(told)
        return 0
    rows = [
        row
        for section in told["sections"]
        for row in _list_rows(section["place"], section["fields"], arguments.language)
    ]
    print_table(rows, as_json=False, columns=_COLUMNS)
    return 0


def _list_rows(place: str, fields: Iterable[Mapping[str, Any]], language: str) -> Iterable[dict[str, Any]]:
    for one in fields:
        repeated = one.get("repeat", [0, 1])[1] > 1
        key = f"{place}/{one['name']}" + ("#<n>" if repeated else "")
        needed = ", ".join(use["document"] for use in one["uses"] if use["required"] == "always")
        yield {"key": key, "type": one["type"], "needed": needed, "label": one["label"][language]}
        yield from _list_rows(key, one.get("fields", ()), language)


@verb
@click.argument("file", type=FILE, help="the values of a form, as JSON")
@click.option("--out", type=FILE, required=True, help="the submission to write")
@json_option("print one JSON object")
@mapping_path_option()
def compose_file(arguments: Arguments) -> int:
    """Write the submission that the values of a form make; it has no signature yet."""
    bundle = load_mappings(arguments.path)
    with name_file(arguments.file):
        values = parse_form_values(read_file(arguments.file))
        composed = compose_submission(compose_form(bundle, values.documents), values)
    replace_file(arguments.out, serialize_element(composed.root))
    number = len(values.applications)
    sentence = f"Composed {arguments.out}: {count_things(number, 'application')}, no signature yet."
    if arguments.json:
        print_json({"verb": "form compose", "done": sentence, "written": str(arguments.out)})
    else:
        print_sentence(sentence)
    return 0


@verb
@click.argument("file", type=FILE, help="a submission")
@click.option("--out", type=FILE, required=True, help="the JSON file to write")
@json_option("print one JSON object")
@mapping_path_option()
def read_submission_file(arguments: Arguments) -> int:
    """Write the values that a submission has in the form of its documents; return 1 when some are lost."""
    bundle = load_mappings(arguments.path)
    with name_file(arguments.file):
        reading = read_form_values(bundle, parse_xml(read_file(arguments.file)))
    replace_file(arguments.out, (write_form_values(reading.values) + "\n").encode())
    number = len(reading.values.values)
    sentence = f"Read {arguments.file}: {count_things(number, 'value')} in {arguments.out}."
    if arguments.json:
        report = {"verb": "form read", "done": sentence, "written": str(arguments.out)}
        print_json({**report, "lost": list(reading.lost)})
    else:
        print_sentence(sentence)
        for pointer in reading.lost:
            print(f"  no place in the form: {pointer}")
    return 1 if reading.lost else 0
