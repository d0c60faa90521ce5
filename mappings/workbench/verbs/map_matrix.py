"""``gateway map matrix``: draws one mapping as a diagram."""

from __future__ import annotations

import click

from gateway.cli.named_files import find_document, load_mappings, mapping_path_option, write_file
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway_workbench import build_diagram, draw_page


@verb("map matrix")
@click.argument("document", help="the document")
@click.option("--out", type=FILE, required=True, help="the HTML file to write")
@json_option("one JSON object")
@mapping_path_option()
def draw_matrix(arguments: Arguments) -> None:
    """Write one mapping as a diagram that any browser shows and prints."""
    bundle = load_mappings(arguments.path)
    document = find_document(bundle, arguments.document, "DOCUMENT")
    diagram = build_diagram(document, bundle)
    text = draw_page(diagram, bundle.organisations[document.organisation])
    write_file(arguments.out, text.encode(), location="--out")
    report = {
        "written": str(arguments.out),
        "document": document.id,
        "left": len(diagram.left),
        "right": len(diagram.right),
        "lines": len(diagram.links) + len(diagram.arcs),
    }
    if arguments.json:
        print_json(report)
        return
    sides = f"{report['left']} rows on the left, {report['right']} on the right, {report['lines']} lines"
    print_sentence(f"Drew {document.id} to {arguments.out}: {sides}.")
