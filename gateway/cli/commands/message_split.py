"""``gateway message split|join``: a large AS4 message in a file and its fragments; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import click

from gateway.cli.commands.verify import describe_reported_error, make_context, read_anchor_files
from gateway.cli.named_files import load_key_file, name_file
from gateway.cli.result_output import print_json, print_report, print_sentence
from gateway.cli.shared_options import FILE, json_option, judging_options, signing_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.partners import (
    SPLIT_LIMITS,
    FileBody,
    open_message_file,
    write_message_file,
    write_octets,
)
from gateway.errors import MISUSE, GatewayError
from gateway.pki import Signer
from gateway.protocols import ProtocolContext, as4

__all__ = ["join_message", "split_message"]

_NAME: Final = "fragment-{}.http"
_PROPERTY_WORDS = "a message property that fragments repeat, for routing; repeatable"


@verb
@click.argument("file", type=FILE, help="the AS4 message with its parts, as an HTTP message")
@click.option(
    "--size", type=click.IntRange(1, 2**31), required=True, metavar="N", help="octets of the largest fragment"
)
@click.option("--compress", is_flag=True, help="compress the message by gzip before it is split")
@click.option("--routing-property", multiple=True, metavar="NAME", help=_PROPERTY_WORDS)
@click.option("--out", type=FILE, required=True, help="the folder to write the fragments into")
@signing_options()
@json_option("print one JSON object")
def split_message(arguments: Arguments) -> int:
    """Write the fragments of a message as HTTP messages."""
    signer = load_key_file(arguments)
    _check_folder(arguments.out)
    terms = as4.SplitTerms(arguments.size, arguments.routing_property, arguments.compress)
    with name_file(arguments.file):
        plan = as4.plan_split(open_message_file(arguments.file, SPLIT_LIMITS), terms, SPLIT_LIMITS)
    written = _write_fragments(plan, arguments.out, signer)
    form = "compressed" if plan.terms.compressed else "not compressed"
    sentence = f"Split {arguments.file}, {form}, into {len(written)} fragments in {arguments.out}."
    if arguments.json:
        group = {"group": plan.unit.message_id, "octets": plan.message_size}
        group |= {"compressed": plan.terms.compressed, "fragments": written}
        print_json({"verb": "message split", "done": sentence, **group})
    else:
        print_sentence(sentence)
    return 0


def _check_folder(folder: Path) -> None:
    """Raise GW808 for a file, and for a folder that holds fragments."""
    if folder.exists() and not folder.is_dir():
        raise GatewayError(MISUSE, f"{folder} is no folder", str(folder))
    if any(folder.glob(_NAME.format("*"))):
        raise GatewayError(MISUSE, f"{folder} holds fragments already", str(folder))


def _write_fragments(plan: as4.SplitPlan, folder: Path, signer: Signer) -> list[dict[str, Any]]:
    """Write all fragments; compressed octets are kept beside them meanwhile, to be made once."""
    kept = folder / ".whole.gz"
    numbers = range(1, plan.fragment_count + 1)
    if not plan.terms.compressed:
        return [_write_fragment(plan, number, folder, signer) for number in numbers]
    write_octets(kept, (plan.octets,))
    try:
        plan = replace(plan, octets=FileBody(kept))
        return [_write_fragment(plan, number, folder, signer) for number in numbers]
    finally:
        kept.unlink(missing_ok=True)


def _write_fragment(plan: as4.SplitPlan, number: int, folder: Path, signer: Signer) -> dict[str, Any]:
    """Write one fragment; return its number, its message id, and its file."""
    host = plan.unit.message_id.rpartition("@")[2]
    message_id = f"{uuid4()}@{host}"
    path = folder / _NAME.format(f"{number:04}")
    write_message_file(path, as4.seal_fragment(plan, number, message_id, signer))
    return {"number": number, "message_id": message_id, "file": str(path)}


@verb
@click.argument("files", type=FILE, nargs=-1, required=True, help="the fragments, in any order")
@click.option("--out", type=FILE, required=True, help="the file to write the joined message to")
@click.option(
    "--size", type=click.IntRange(1, 2**31), metavar="N", help="octets of the largest fragment agreed"
)
@click.option("--routing-property", multiple=True, metavar="NAME", help=_PROPERTY_WORDS)
@judging_options()
def join_message(arguments: Arguments) -> int:
    """Write the joined message; return 0, or 1 with the problem where the fragments are refused."""
    anchors = read_anchor_files(arguments.trust)
    context = replace(make_context(anchors, arguments.at or datetime.now(UTC)), limits=SPLIT_LIMITS)
    terms = as4.JoinTerms(arguments.size, arguments.routing_property or None)
    group = as4.FragmentGroup(SPLIT_LIMITS, terms)
    try:
        repeats = _add_fragments(group, arguments.files, arguments.policy, context)
        joined = group.join()
        write_message_file(arguments.out, joined.parcel)
    except GatewayError as refused:
        if refused.problem.ours:
            raise
        return _report_refusal(refused, arguments)
    report = _describe_joined_message(group, joined, arguments.out)
    report |= {"accepted": True if arguments.json else "yes", "repeats": repeats}
    print_report(report, as_json=arguments.json)
    return 0


def _describe_joined_message(
    group: as4.FragmentGroup, joined: as4.JoinedMessage, file: Path
) -> dict[str, Any]:
    signer = group.fragments[0].signed.certificate
    return {
        "accepted": True,
        "file": str(file),
        "message_id": joined.unit.message_id,
        "group": group.group,
        "fragments": len(group.fragments),
        "repeats": 0,
        "octets": joined.parcel.body.octet_count,
        "sha256": joined.parcel.body.sha256_hex,
        "signer": signer.subject,
        "certificate": signer.sha256,
    }


def _add_fragments(
    group: as4.FragmentGroup, files: Iterable[Path], policy: str, context: ProtocolContext
) -> int:
    """Verify the fragments in files and add them; return how many came more than once."""
    repeats = 0
    for path in files:
        with name_file(path):
            fragment = as4.open_fragment(open_message_file(path, context.limits), policy, context)
            repeats += not group.add_fragment(fragment)
    return repeats


def _report_refusal(refused: GatewayError, arguments: Arguments) -> int:
    """Print why the fragments are refused, with the error of ebMS 3.0; return 1."""
    told = describe_reported_error(refused, as4.name)
    report = {
        "accepted": False,
        "problem": refused.problem.id,
        "detail": refused.detail,
        "location": refused.location,
        "ebms": told,
    }
    if not arguments.json:
        report |= {"accepted": "no", "ebms": f"{told['code']} ({told['severity']})" if told else None}
    print_report(report, as_json=arguments.json)
    return 1
