"""``gateway map read|render|sample|build``: single documents, and files made from mappings."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Final

import click
from lxml import etree

from gateway.cases import decides_at_once
from gateway.cli.named_files import (
    add_file_name_to_problem,
    find_document,
    load_mappings,
    mapping_path_option,
    read_file,
    write_file,
)
from gateway.cli.result_output import print_done, print_json, print_octets
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import (
    CarrierFormat,
    DocumentMapping,
    MappingBundle,
    NoticeFact,
    NoticeFacts,
    SampleFiling,
    check_error_keys,
    check_named_document,
    describe_layout,
    draw_notice,
    find_carried_document,
    find_document_mapping,
    find_type_code,
    generate_all_files,
    get_carrier_format,
    list_error_places,
    make_sample,
    make_sendable_sample,
    read_carried,
    read_notice,
    write_carried,
)
from gateway.operations import format_count
from gateway.share import get_data_folder
from gateway.wire import parse_xml

_MAX_ITEMS = 999
_MAX_REFERENCE_LENGTH = 35
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

#: The forms in which a document can be carried.
_CARRIER_SYNTAXES: Final = ("xml", "json", "fixed")


@verb("map read")
@click.argument("file", type=FILE, help="the notice")
@click.option("--document", help="the document to which the notice belongs")
@click.option(
    "--from", "source", type=click.Choice(_CARRIER_SYNTAXES), default="xml", help="the form of the file"
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
    document = None if arguments.document is None else find_document(bundle, arguments.document, "--document")
    try:
        with add_file_name_to_problem(arguments.file):
            content = _convert_notice_to_xml(content, bundle, document, arguments)
            facts = _read_notice_facts(content, bundle, document)
    except GatewayError as error:
        if not arguments.json:
            raise
        print_json(_describe_refusal(error))
        return 1
    described = _describe_notice_facts(facts)
    if arguments.json:
        print_json(described)
    else:
        _print_notice_facts(facts, described)
    return 0


def _convert_notice_to_xml(
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
    carrier_format = _choose_format(_find_own_format(bundle, code), arguments.source)
    return write_carried(read_carried(content, carried, carrier_format), carried, CarrierFormat())


@verb("map sample")
@click.argument("document", help="the document, or the notice")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="the seed of the random submission"
)
@click.option("--items", type=click.IntRange(1, _MAX_ITEMS), default=1, help="number of items")
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
def print_sample(arguments: Arguments) -> None:
    """Print a valid random submission, or a random notice; or write a submission that can be sent."""
    bundle = load_mappings(arguments.path)
    if (arguments.declarant is None) != (arguments.out is None):
        raise GatewayError(MISUSE, "--declarant and --out belong together", "map sample")
    if arguments.agent is not None and arguments.declarant is None:
        raise GatewayError(MISUSE, "--agent belongs to --declarant", "--agent")
    if arguments.document in bundle.notices.notices and arguments.out is None:
        notice = _draw_random_notice(bundle, arguments.document, str(arguments.seed))
        _print_sample_text(arguments, notice)
        return
    document = find_document(bundle, arguments.document, "DOCUMENT")
    if arguments.out is not None:
        _write_sendable_sample(bundle, document, arguments)
        return
    sample = make_sample(bundle, document, str(arguments.seed), arguments.items)
    _print_sample_text(arguments, sample.decode("utf-8"))


def _print_sample_text(arguments: Arguments, xml: str) -> None:
    if arguments.json:
        print_json({"document": arguments.document, "seed": arguments.seed, "xml": xml})
    else:
        print_octets(xml.encode())


def _write_sendable_sample(bundle: MappingBundle, document: DocumentMapping, arguments: Arguments) -> None:
    """Write a sample with its attachments to a folder, and print how it is sent."""
    now = datetime.now(UTC)
    reference = arguments.reference or f"SAMPLE-{now:%y%m%d%H%M%S}-{arguments.seed}"
    if not 1 <= len(reference) <= _MAX_REFERENCE_LENGTH:
        raise GatewayError(
            MISUSE, f"--reference has at most {_MAX_REFERENCE_LENGTH} characters", "--reference"
        )
    filing = SampleFiling(arguments.declarant, reference, now, arguments.agent or "")
    sample = make_sendable_sample(bundle, document, str(arguments.seed), arguments.items, filing)
    file = arguments.out / "submission.xml"
    write_file(file, sample.xml, location="--out", make_folder=True)
    command_words = ["gateway submit", str(file)]
    for attachment in sample.attachments:
        write_file(arguments.out / attachment.name, attachment.content, location="--out")
        command_words += ["--attach", f"{attachment.content_id}={arguments.out / attachment.name}"]
    files = format_count(len(sample.attachments), "attachment")
    sentence = f"Wrote the submission {reference} of {arguments.declarant} with {files} to {arguments.out}."
    send = f"{' '.join(command_words)} --as PARTY --partner DIR --to URL"
    names = (file.name, *(attachment.name for attachment in sample.attachments))
    written = [str(arguments.out / name) for name in names]
    lines = (f"Send it: {send}", f"Fill in: {_FILL_WORDS}.")
    print_done(arguments, sentence, *lines, written=written, send=send, fill_in=_FILL_WORDS)


@verb("map build")
@click.option("--out", type=FILE, required=True, help="the folder to write")
@json_option("one JSON object")
@mapping_path_option()
def build_files(arguments: Arguments) -> None:
    """Write the schemas, WSDLs and labels that are generated from the mappings."""
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


def _read_notice_facts(
    content: bytes, bundle: MappingBundle, document: DocumentMapping | None
) -> NoticeFacts:
    """Read a notice for a document; by default for the document that the notice names, if any."""
    root = parse_xml(content)
    facts = read_notice(root, bundle.notices, document)
    if document is None:
        named_document = find_document_mapping(facts.find_value("document_type"), bundle.documents.values())
        if named_document is not None:
            facts = read_notice(root, bundle.notices, named_document)
    check_named_document(facts, bundle)
    check_error_keys(facts)
    return facts


def _draw_random_notice(bundle: MappingBundle, name: str, seed: str) -> str:
    """Return a valid random notice, about an application for a document that it may answer."""
    notice = bundle.notices.notices[name]
    answerable_documents = [
        mapping for mapping in bundle.documents.values() if mapping.accepted_notices.allows_notice(notice)
    ]
    document_with_code = next(
        (mapping for mapping in answerable_documents if find_type_code(mapping) is not None), None
    )
    document = document_with_code or next(iter(answerable_documents), None)
    root, _ = draw_notice(notice, bundle.notices, seed, document)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _describe_notice_facts(facts: NoticeFacts) -> dict[str, Any]:
    """Return the facts of a notice, and the places in the request that its errors name, as plain values."""
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
                    f"{fact_name.rpartition('.')[0]} {error_fact.value}"
                    for fact_name, error_fact in error_facts.items()
                    if fact_name.endswith(".number")
                ),
                "path": error_place.path,
                "item": error_place.item,
                "exact": error_place.is_single_leaf,
                "rule": str(error_place.target.mark),
            }
            for error_facts, error_place in list_error_places(facts)
        ],
        "problems": [],
    }


def _waits_for_decisions(facts: NoticeFacts) -> bool:
    """Return whether a notice of an agency states a decision that the hub does not take from it alone."""
    states_decision = facts.notice.sender == "agency" and facts.find_value("decision") is not None
    return states_decision and not decides_at_once(facts)


def _describe_one_fact(fact: NoticeFact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "value": fact.value,
        "unit": fact.unit or None,
        "item": fact.item,
        "at": [f"{name}[{number}]" for name, number in fact.occurrence],
        "place": fact.request_path or None,
        "xpath": fact.xpath,
        "rule": str(fact.rule),
        "transforms": list(fact.transforms),
    }


def _describe_refusal(error: GatewayError) -> dict[str, Any]:
    """Return the plain values of a document that cannot be read as a notice: `error` is its only problem."""
    problem = {
        "id": error.problem.id,
        "title": error.problem.title,
        "message": error.detail,
        "xpath": error.location,
    }
    return {"notice": None, "document": None, "facts": [], "places": [], "problems": [problem]}


def _print_notice_facts(facts: NoticeFacts, described: dict[str, Any]) -> None:
    """Print the facts of a notice as text; `described` has the same notice as plain values."""
    subject = f" about {facts.document.id}" if facts.document is not None else ""
    print(f"{facts.notice.id} {facts.notice.en} ({facts.notice.ko}){subject}")
    for fact in facts.facts:
        name = f"{fact.name} {fact.request_path}".strip()
        item = f" [item {fact.item}]" if fact.item is not None else ""
        steps = "".join(f", {step}" for step in fact.transforms)
        unit = f" {fact.unit}" if fact.unit else ""
        print(f"{name}{item}: {fact.value}{unit}  ({fact.xpath}, {fact.rule}{steps})")
    if described["waits"]:
        print(_WAITS)
    for error_place in described["places"]:
        subject = f" of item {error_place['item']}" if error_place["item"] is not None else ""
        word = "at" if error_place["exact"] else "within"
        print(f"{error_place['about']}: {word} {error_place['path']}{subject} ({error_place['rule']})")


@verb("map render")
@click.argument("file", type=FILE, help="the request or the notice")
@click.option("--document", required=True, help="the document, or the notice, that the file is")
@click.option("--organisation", help="whose form it is (default: that of the document)")
@click.option(
    "--form", type=click.Choice(_CARRIER_SYNTAXES), help="write this form (default: that of the organisation)"
)
@click.option(
    "--from", "source", type=click.Choice(_CARRIER_SYNTAXES), default="xml", help="the form of the file"
)
@click.option("--layout", is_flag=True, help="print the layout of the fixed records instead, as JSON")
@click.option("--out", type=FILE, metavar="FILE", help="write there (default: standard output)")
@mapping_path_option()
@json_option("print one JSON object with the content in Base64, or with the file that was written")
def render_file(arguments: Arguments) -> None:
    """Convert a document between XML, JSON and fixed records."""
    bundle = load_mappings(arguments.path)
    document = find_carried_document(bundle, arguments.document)
    mapping = bundle.documents.get(arguments.document)
    own_format = _find_own_format(
        bundle, arguments.organisation or (mapping.organisation if mapping else None)
    )
    target = _choose_format(own_format, arguments.form or own_format.syntax)
    if arguments.layout:
        print_json(describe_layout(document, _choose_format(own_format, "fixed")))
        return
    content = read_file(arguments.file)
    with add_file_name_to_problem(arguments.file):
        octets = write_carried(
            read_carried(content, document, _choose_format(own_format, arguments.source)), document, target
        )
    if arguments.out is not None:
        write_file(arguments.out, octets)
    _print_rendered(arguments, target.syntax, octets)


def _print_rendered(arguments: Arguments, syntax: str, octets: bytes) -> None:
    """Print the octets as they are, or an object about them; a fixed record need not be UTF-8."""
    if arguments.json:
        report = {"document": arguments.document, "form": syntax, "octets": len(octets)}
        if arguments.out is None:
            print_json(report | {"written": None, "content": base64.b64encode(octets).decode()})
        else:
            print_json(report | {"written": str(arguments.out), "content": None})
    elif arguments.out is None:
        print_octets(octets)


def _find_own_format(bundle: MappingBundle, code: str | None) -> CarrierFormat:
    """Return the form that an organisation speaks, XML for None; raise GW808 for an unknown one."""
    if code is not None and code not in bundle.organisations:
        raise GatewayError(MISUSE, f"no organisation {code[:40]!r}", "--organisation")
    return CarrierFormat() if code is None else get_carrier_format(bundle, code)


def _choose_format(own_format: CarrierFormat, syntax: str) -> CarrierFormat:
    """Return the organisation's own form, or another with nothing particular."""
    return own_format if own_format.syntax == syntax else CarrierFormat(syntax)
