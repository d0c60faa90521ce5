"""``gateway map read|sample|build|matrix``: one document or notice, and files generated from mappings."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click
from lxml import etree

from gateway.cases import decides_at_once
from gateway.cli.mapping_folder import (
    CARRIER_FORMS,
    find_carrier_form,
    load_mappings,
    mapping_path_option,
)
from gateway.cli.named_files import name_file, read_file, write_file
from gateway.cli.result_output import count_things, print_json, print_sentence
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import (
    CarrierForm,
    DocumentMapping,
    MappingBundle,
    NoticeFact,
    NoticeFacts,
    SampleFiling,
    build_diagram,
    check_error_keys,
    check_named_document,
    draw_notice,
    draw_page,
    find_carried_document,
    find_document_mapping,
    find_type_code,
    generate_all_files,
    list_error_places,
    make_sample,
    make_sendable_sample,
    read_carried,
    read_notice,
    write_carried,
)
from gateway.share import get_data_folder
from gateway.wire import parse_xml

__all__ = ["build_files", "draw_matrix", "print_sample", "read_notice_file"]

_MOST_ITEMS = 999
_LONGEST_REFERENCE = 35
_AGENT_WORDS = (
    "with --declarant: the identifier of the broker that signs for it (default: the declarant signs itself)"
)
_WAITS = (
    "The hub does not decide by this notice alone: it waits for a certificate, a rejection, or a notice that "
    "states the number of the requirement."
)
_FILL_WORDS = (
    "PARTY is who signs and sends, DIR the folder with its key and agreement, URL the hub's endpoint"
)


@verb
@click.argument("file", type=FILE, help="the notice")
@click.option("--document", help="the document to which the notice belongs")
@click.option(
    "--from", "source", type=click.Choice(CARRIER_FORMS), default="xml", help="the form of the file"
)
@click.option("--notice", metavar="ID", help="with --from: the notice that the file is")
@click.option(
    "--organisation", help="with --from: whose form it is (default: that of the document, or UTF-8)"
)
@json_option("one JSON object")
@mapping_path_option()
def read_notice_file(arguments: Arguments) -> int:
    """Print the facts of a notice; return 1 when it is not understood."""
    bundle = load_mappings(arguments.path)
    content = read_file(arguments.file)
    document = (
        None if arguments.document is None else _find_named_document(bundle, arguments.document, "--document")
    )
    try:
        with name_file(arguments.file):
            content = _read_xml(content, bundle, document, arguments)
            facts = _read_notice_facts(content, bundle, document)
    except GatewayError as error:
        if not arguments.json:
            raise
        print_json(_describe_refusal(error))
        return 1
    shown = _describe_notice_facts(facts)
    if arguments.json:
        print_json(shown)
    else:
        _print_notice_facts(facts, shown)
    return 0


def _read_xml(
    content: bytes, bundle: MappingBundle, document: DocumentMapping | None, arguments: Arguments
) -> bytes:
    """Return a notice as XML that came in the form of an organisation; raise GW718 where it does not fit."""
    if arguments.source == "xml":
        if arguments.notice is not None or arguments.organisation is not None:
            raise GatewayError(MISUSE, "--notice and --organisation belong to --from", "map read")
        return content
    if arguments.notice is None:
        raise GatewayError(MISUSE, "a file that is no XML needs the --notice that it is", "--notice")
    carried = find_carried_document(bundle, arguments.notice)
    code = arguments.organisation or (document.organisation if document is not None else None)
    form = find_carrier_form(bundle, code, arguments.source)
    return write_carried(read_carried(content, carried, form), carried, CarrierForm())


@verb
@click.argument("document", help="the document, or the notice")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="the seed of the random submission"
)
@click.option("--items", type=click.IntRange(1, _MOST_ITEMS), default=1, help="number of items")
@click.option("--declarant", metavar="ID", help="make a sample that can be sent: the declarant's identifier")
@click.option("--agent", metavar="ID", help=_AGENT_WORDS)
@click.option(
    "--reference", metavar="TEXT", help="with --declarant: its reference (default: made of the time)"
)
@click.option(
    "--out", type=FILE, metavar="DIR", help="with --declarant: the folder for the sample and its files"
)
@json_option("print one JSON object with the XML, or with the files")
@mapping_path_option()
def print_sample(arguments: Arguments) -> int:
    """Print a valid random submission, or a random notice; or write a submission that can be sent."""
    bundle = load_mappings(arguments.path)
    if (arguments.declarant is None) != (arguments.out is None):
        raise GatewayError(MISUSE, "--declarant and --out belong together", "map sample")
    if arguments.agent is not None and arguments.declarant is None:
        raise GatewayError(MISUSE, "--agent belongs to --declarant", "--agent")
    if arguments.document in bundle.notices.notices and arguments.out is None:
        notice = _draw_random_notice(bundle, arguments.document, str(arguments.seed))
        return _print_sample_text(arguments, notice)
    document = _find_named_document(bundle, arguments.document, "DOCUMENT")
    if arguments.out is not None:
        _write_sendable_sample(bundle, document, arguments)
        return 0
    made = make_sample(bundle, document, str(arguments.seed), arguments.items)
    return _print_sample_text(arguments, made.decode("utf-8"))


def _print_sample_text(arguments: Arguments, xml: str) -> int:
    if arguments.json:
        print_json({"document": arguments.document, "seed": arguments.seed, "xml": xml})
    else:
        sys.stdout.write(xml)
    return 0


def _write_sendable_sample(bundle: MappingBundle, document: DocumentMapping, arguments: Arguments) -> None:
    """Write a sample with its attachments to a folder, and print how it is sent."""
    now = datetime.now(UTC)
    reference = arguments.reference or f"SAMPLE-{now:%y%m%d%H%M%S}-{arguments.seed}"
    if not 1 <= len(reference) <= _LONGEST_REFERENCE:
        raise GatewayError(MISUSE, f"--reference has at most {_LONGEST_REFERENCE} characters", "--reference")
    filing = SampleFiling(arguments.declarant, reference, now, arguments.agent or "")
    made = make_sendable_sample(bundle, document, (str(arguments.seed), arguments.items), filing)
    file = arguments.out / "submission.xml"
    write_file(file, made.xml, location="--out", make_folder=True)
    words = ["gateway submit", str(file)]
    for one in made.attachments:
        write_file(arguments.out / one.name, one.content, location="--out")
        words += ["--attach", f"{one.content_id}={arguments.out / one.name}"]
    files = count_things(len(made.attachments), "attachment")
    done = f"Wrote the submission {reference} of {arguments.declarant} with {files} to {arguments.out}."
    send = f"{' '.join(words)} --as PARTY --partner DIR --to URL"
    if arguments.json:
        written = [str(arguments.out / name) for name in (file.name, *(one.name for one in made.attachments))]
        print_json(
            {"verb": "map sample", "done": done, "written": written, "send": send, "fill_in": _FILL_WORDS}
        )
        return
    print_sentence(done)
    print_sentence(f"Send it: {send}")
    print_sentence(f"Fill in: {_FILL_WORDS}.")


@verb
@click.option("--out", type=FILE, required=True, help="the folder to write")
@json_option("one JSON object")
@mapping_path_option()
def build_files(arguments: Arguments) -> int:
    """Write the schemas, WSDLs, forms and labels that are generated from the mappings."""
    bundle = load_mappings(arguments.path)
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    written = []
    for name, octets in generate_all_files(bundle, template).items():
        write_file(arguments.out / name, octets, location="--out", make_folder=True)
        written.append(name)
    if arguments.json:
        print_json({"written": written})
    else:
        print("\n".join(written))
    return 0


@verb
@click.argument("document", help="the document")
@click.option("--out", type=FILE, required=True, help="the HTML file to write")
@json_option("one JSON object")
@mapping_path_option()
def draw_matrix(arguments: Arguments) -> int:
    """Write one mapping as a diagram that any browser shows and prints."""
    bundle = load_mappings(arguments.path)
    document = _find_named_document(bundle, arguments.document, "DOCUMENT")
    made = build_diagram(document, bundle)
    text = draw_page(made, bundle.organisations[document.organisation])
    write_file(arguments.out, text.encode(), location="--out")
    report = {
        "written": str(arguments.out),
        "document": document.id,
        "left": len(made.left),
        "right": len(made.right),
        "lines": len(made.links) + len(made.arcs),
    }
    if arguments.json:
        print_json(report)
        return 0
    sides = f"{report['left']} rows on the left, {report['right']} on the right, {report['lines']} lines"
    print_sentence(f"Drew {document.id} to {arguments.out}: {sides}.")
    return 0


def _find_named_document(bundle: MappingBundle, name: str, location: str) -> DocumentMapping:
    """Return a document by its id; raise GW808 with the known ids."""
    if name not in bundle.documents:
        known = ", ".join(bundle.documents)
        raise GatewayError(MISUSE, f"no document {name[:70]!r}; known: {known}", location)
    return bundle.documents[name]


def _read_notice_facts(
    content: bytes, bundle: MappingBundle, document: DocumentMapping | None
) -> NoticeFacts:
    """Read a notice for a document; by default for the one that the notice names, if any."""
    root = parse_xml(content)
    facts = read_notice(root, bundle.notices, document)
    if document is None:
        named = find_document_mapping(facts.find_value("document_type"), bundle.documents.values())
        if named is not None:
            facts = read_notice(root, bundle.notices, named)
    check_named_document(facts, bundle)
    check_error_keys(facts)
    return facts


def _draw_random_notice(bundle: MappingBundle, name: str, seed: str) -> str:
    """Return a valid random notice, about an application for a document that it may answer."""
    notice = bundle.notices.notices[name]
    answered = [one for one in bundle.documents.values() if one.answers.allows_notice(notice)]
    coded = next((one for one in answered if find_type_code(one) is not None), None)
    document = coded or next(iter(answered), None)
    root, _ = draw_notice(notice, bundle.notices, seed, document)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _describe_notice_facts(facts: NoticeFacts) -> dict[str, Any]:
    return {
        "notice": facts.notice.id,
        "role": facts.notice.role,
        "from": facts.notice.sender,
        "document": facts.document.id if facts.document is not None else None,
        "item": facts.item_number,
        "waits": _waits_for_decisions(facts),
        "facts": [_describe_one_fact(fact) for fact in facts.facts],
        "places": [
            {
                "about": next(
                    f"{n.rpartition('.')[0]} {f.value}" for n, f in said.items() if n.endswith(".number")
                ),
                "path": place.path,
                "item": place.item,
                "exact": place.exact,
                "rule": str(place.target.mark),
            }
            for said, place in list_error_places(facts)
        ],
        "problems": [],
    }


def _waits_for_decisions(facts: NoticeFacts) -> bool:
    """Return whether a notice of an agency states a decision that the hub does not take from it alone."""
    stated = facts.notice.sender == "agency" and facts.find_value("decision") is not None
    return stated and not decides_at_once(facts)


def _describe_one_fact(fact: NoticeFact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "value": fact.value,
        "unit": fact.unit or None,
        "item": fact.item,
        "at": [f"{name}[{number}]" for name, number in fact.at],
        "place": fact.place or None,
        "xpath": fact.xpath,
        "rule": str(fact.rule),
        "transforms": list(fact.transforms),
    }


def _describe_refusal(error: GatewayError) -> dict[str, Any]:
    problem = {
        "id": error.problem.id,
        "title": error.problem.title,
        "message": error.detail,
        "xpath": error.location,
    }
    return {"notice": None, "document": None, "facts": [], "places": [], "problems": [problem]}


def _print_notice_facts(facts: NoticeFacts, shown: dict[str, Any]) -> None:
    about = f" about {facts.document.id}" if facts.document is not None else ""
    print(f"{facts.notice.id} {facts.notice.en} ({facts.notice.ko}){about}")
    for fact in facts.facts:
        name = f"{fact.name} {fact.place}".strip()
        item = f" [item {fact.item}]" if fact.item is not None else ""
        steps = "".join(f", {step}" for step in fact.transforms)
        unit = f" {fact.unit}" if fact.unit else ""
        print(f"{name}{item}: {fact.value}{unit}  ({fact.xpath}, {fact.rule}{steps})")
    if shown["waits"]:
        print(_WAITS)
    for place in shown["places"]:
        about = f" of item {place['item']}" if place["item"] is not None else ""
        word = "at" if place["exact"] else "within"
        print(f"{place['about']}: {word} {place['path']}{about} ({place['rule']})")
