"""``gateway map render``: a request or a notice in the form in which its organisation speaks, and back."""

from __future__ import annotations

import base64
import sys

import click

from gateway.cli.mapping_folder import CARRIER_FORMS, load_mappings, mapping_path_option
from gateway.cli.named_files import name_file, read_file, write_file
from gateway.cli.result_output import print_json
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import (
    CarrierForm,
    MappingBundle,
    describe_layout,
    find_carried_document,
    get_carrier_form,
    read_carried,
    write_carried,
)

__all__ = ["render_file"]


@verb
@click.argument("file", type=FILE, help="the request or the notice")
@click.option("--document", required=True, help="the document, or the notice, that the file is")
@click.option("--organisation", help="whose form it is (default: that of the document)")
@click.option(
    "--form", type=click.Choice(CARRIER_FORMS), help="write this form (default: that of the organisation)"
)
@click.option(
    "--from", "source", type=click.Choice(CARRIER_FORMS), default="xml", help="the form of the file"
)
@click.option("--layout", is_flag=True, help="print the layout of the fixed records instead, as JSON")
@click.option("--out", type=FILE, metavar="FILE", help="write there (default: standard output)")
@mapping_path_option()
@json_option("print one JSON object with the content in Base64, or with the file that was written")
def render_file(arguments: Arguments) -> int:
    """Convert a document between XML, JSON and fixed records."""
    bundle = load_mappings(arguments.path)
    document = find_carried_document(bundle, arguments.document)
    own = _find_own_form(bundle, arguments)
    target = _choose_form(own, arguments.form or own.form)
    if arguments.layout:
        print_json(describe_layout(document, _choose_form(own, "fixed")))
        return 0
    content = read_file(arguments.file)
    with name_file(arguments.file):
        octets = write_carried(
            read_carried(content, document, _choose_form(own, arguments.source)), document, target
        )
    if arguments.out is not None:
        write_file(arguments.out, octets)
    _print_rendered(arguments, target.form, octets)
    return 0


def _print_rendered(arguments: Arguments, form: str, octets: bytes) -> None:
    """Print the octets as they are, or an object about them; a fixed record need not be UTF-8."""
    if arguments.json:
        told = {"document": arguments.document, "form": form, "octets": len(octets)}
        if arguments.out is None:
            print_json(told | {"written": None, "content": base64.b64encode(octets).decode()})
        else:
            print_json(told | {"written": str(arguments.out), "content": None})
    elif arguments.out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(octets)


def _find_own_form(bundle: MappingBundle, arguments: Arguments) -> CarrierForm:
    code = arguments.organisation
    if code is not None and code not in bundle.organisations:
        raise GatewayError(MISUSE, f"no organisation {code[:40]!r}", "--organisation")
    mapping = bundle.documents.get(arguments.document)
    if code is None and mapping is not None:
        code = mapping.organisation
    return CarrierForm() if code is None else get_carrier_form(bundle, code)


def _choose_form(own: CarrierForm, form: str) -> CarrierForm:
    """Return the organisation's own form, or another with nothing particular."""
    return own if own.form == form else CarrierForm(form)
