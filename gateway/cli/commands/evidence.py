"""``gateway evidence …``: verifies that stored evidence is unchanged, and since when it exists."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.list_options import (
    list_options,
    print_page,
    read_clock,
    read_list_filter,
    require_row_number,
)
from gateway.cli.named_files import read_certificate_files, read_file, read_policy_octets, write_file
from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import count_things, format_value, print_json, print_sentence
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE, home_options, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, MISUSE, GatewayError
from gateway.evidence import (
    TimeStampAuthorities,
    TrustedEvidence,
    VerificationReport,
    VerifiedProof,
    make_proof,
    search_heads,
    verify_all_evidence,
    verify_proof,
)
from gateway.hub import RejectingComposer, build_hub
from gateway.pki import Certificate
from gateway.store import ListPage, read_transaction, time_stamps

__all__ = ["check_evidence", "list_sealed_heads", "verify_proof_file", "write_proof"]

_SUBJECTS = (
    "message",
    "case",
    "request",
    "delivery",
    "lane",
    "verdict",
    "source",
    "party",
    "trust_list",
    "bundle",
    "register",
)
_HEAD_WORDS = "a proof or a head that was stored elsewhere: the evidence under it must be unchanged"
_SIGNER_WORDS = "an earlier signing certificate of the gateway"
_ANCHOR_WORDS = "an earlier trust anchor of time-stamping authorities"
_STAMPER_WORDS = "a trust anchor of the time-stamping authorities; without it the time stamps prove nothing"
_RULES_WORDS = "the trust policy for the time-stamping authorities; if not given, that of the proof"


@verb
@list_options((), timed=True, text=False)
@home_options()
def list_sealed_heads(arguments: Arguments) -> int:
    """Print the sealed heads, the newest first, each with the time stamps over it."""
    with read_database(arguments, promises=True) as conn:
        wanted = read_list_filter(arguments, read_clock(), after=require_row_number(arguments))
        page = search_heads(conn, wanted)
        given: dict[int, list[Any]] = {}
        for stamp in time_stamps.list_time_stamps(conn, tuple(row["id"] for row in page.rows)):
            given.setdefault(stamp.seal, []).append(stamp)
    rows = [_describe_head(row, given.get(row["id"], ())) for row in page.rows]
    print_page(
        ListPage(rows, page.more),
        as_json=arguments.json,
        columns=("leaves", "sealed_at", "signed", "stamped_at", "authorities", "root"),
    )
    return 0


def _describe_head(row: dict[str, Any], stamps: Sequence[Any]) -> dict[str, Any]:
    return {
        "leaves": row["last_seq"],
        "sealed_at": row["sealed_at"],
        "signed": row["signature"] is not None,
        "root": row["root_hash"],
        "stamped_at": min((one.at for one in stamps), default=None),
        "authorities": [one.authority for one in stamps],
    }


@verb
@click.option("--head", type=FILE, multiple=True, metavar="FILE", help=_HEAD_WORDS)
@click.option("--signer", type=FILE, multiple=True, metavar="PEM", help=_SIGNER_WORDS)
@click.option("--anchor", type=FILE, multiple=True, metavar="PEM", help=_ANCHOR_WORDS)
@home_options()
def check_evidence(arguments: Arguments) -> int:
    """Recompute the evidence; raise GW805 where it differs, return 1 when no signature or stamp covers it."""
    heads = tuple(_read_head_text(file) for file in arguments.head)
    with closing(build_hub(read_verb_settings(arguments), RejectingComposer(), at_work=False)) as hub:
        signers = (*(one.certificate for one in hub.signers), *read_certificate_files(arguments.signer))
        anchors = (*hub.stamp_judge.trust.anchors, *read_certificate_files(arguments.anchor))
        authorities = TimeStampAuthorities(tuple(one.der for one in anchors))
        believed = TrustedEvidence(frozenset(one.sha256 for one in signers), authorities, heads)
        with read_transaction(hub.engine) as conn:
            with show_progress("recomputing the evidence"):
                found = verify_all_evidence(conn, believed)
            waiting = time_stamps.find_unstamped_since(conn) if hub.stamping is not None else None
    vouched = not found.leaves or max(found.vouched, found.stamped) > 0
    if arguments.json:
        print_json({**asdict(found), "waiting_since": waiting})
    else:
        _print_check_report(found, waiting)
    return 0 if vouched else 1


def _print_check_report(found: VerificationReport, waiting: datetime | None) -> None:
    print(
        f"{found.leaves} leaves under {found.heads} heads, {found.unsealed} not yet under a head: "
        "all digests match"
    )
    print(f"{found.signed} heads signed by the gateway, over {found.vouched} leaves")
    print(f"{found.stamps} valid time stamps, over {found.stamped} leaves")
    print(f"{found.verdicts} verdicts and {found.octets} stored contents: all digests match")
    if found.removed:
        print(f"{found.removed} contents were removed by retention, as the evidence says")
    if found.leaves and not max(found.vouched, found.stamped):
        print("no signature of the gateway and no time stamp covers this evidence")
    if waiting is not None:
        print(f"evidence since {format_value(waiting)} waits for a time stamp")


def _read_head_text(file: Path) -> str:
    """Return the text of a head: the file itself, or the head in a proof."""
    text = read_file(file).decode("utf-8", errors="replace")
    if not text.lstrip().startswith("{"):
        return text
    head = _read_proof_document(file).get("head")
    if not isinstance(head, str):
        raise GatewayError(EVIDENCE_BROKEN, "it holds no head", str(file)[-120:])
    return head


def _read_proof_document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_file(file))
    except (ValueError, RecursionError):
        raise GatewayError(EVIDENCE_BROKEN, "it is not JSON", str(file)[-120:]) from None
    if not isinstance(document, dict):
        raise GatewayError(EVIDENCE_BROKEN, "it is not a proof of a gateway", str(file)[-120:])
    return document


@verb
@click.argument("subject", type=click.Choice(_SUBJECTS), help="the type of the object")
@click.argument("number", help="the row number of the object, or its name in the evidence")
@click.option("--to", type=FILE, metavar="FILE", help="write to a file")
@home_options()
def write_proof(arguments: Arguments) -> int:
    """Write the proof of the evidence about one object, to a file or to standard output."""
    with read_database(arguments, promises=True) as conn:
        document = make_proof(conn, arguments.subject, arguments.number)
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    if arguments.to is None:
        sys.stdout.write(text)
        return 0
    write_file(arguments.to, text.encode())
    if arguments.json:
        numbers = {name: len(document[name]) for name in ("leaves", "stamps")}
        print_json({"written": str(arguments.to), **numbers})
    else:
        leaves = count_things(len(document["leaves"]), "leaf", "leaves")
        stamped = count_things(len(document["stamps"]), "time stamp")
        print_sentence(f"Wrote the proof of {leaves} with {stamped} to {arguments.to}.")
    return 0


@verb
@click.argument("file", type=FILE, help="a proof that `gateway evidence prove` wrote")
@click.option("--anchor", type=FILE, multiple=True, metavar="PEM", help=_STAMPER_WORDS)
@click.option("--signer", type=FILE, metavar="PEM", help="the certificate that must have signed the head")
@click.option("--rules", type=FILE, metavar="TOML", help=_RULES_WORDS)
@json_option()
def verify_proof_file(arguments: Arguments) -> int:
    """Verify a proof under the trust anchors of the command line; raise its problem."""
    if not arguments.anchor and arguments.signer is None:
        detail = "give --anchor, --signer or both: a proof alone does not show who made it"
        raise GatewayError(MISUSE, detail, "evidence verify")
    rules = arguments.rules
    policy = None if rules is None else read_policy_octets(read_file(rules), str(rules)[-120:])
    anchors = tuple(one.der for one in read_certificate_files(arguments.anchor))
    found = verify_proof(_read_proof_document(arguments.file), TimeStampAuthorities(anchors, policy))
    if anchors and not found.stamps:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the head has no time stamp", "time-stamp")
    _demand_head_signer(found, arguments.signer)
    _print_proof_verdict(found, arguments)
    return 0


def _demand_head_signer(found: VerifiedProof, file: Path | None) -> None:
    wanted = () if file is None else read_certificate_files((file,))
    if wanted and (found.signer is None or found.signer.sha256 not in {one.sha256 for one in wanted}):
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the head is not signed by the certificate given", "head")


def _print_proof_verdict(found: VerifiedProof, arguments: Arguments) -> None:
    told = {
        "leaves": [dict(one) for one in found.leaves],
        "head": found.head,
        "signer": _name_certificate_subject(found.signer),
        "signer_believed": arguments.signer is not None,
        "stamps": [
            {"at": one.at, "policy": one.policy, "authority": _name_certificate_subject(one.certificate)}
            for one in found.stamps
        ],
        "stamps_believed": bool(arguments.anchor),
    }
    if arguments.json:
        print_json(told)
        return
    for one in found.leaves:
        print(f"{one['at']}  {one['kind']}  {one['subject_type']} {one['subject_id']}")
    doubt = _describe_doubt(arguments.signer is None, "signer")
    print(
        f"under a head signed by {told['signer']}{doubt}"
        if told["signer"]
        else "under a head without signature"
    )
    for stamp in found.stamps:
        doubt = _describe_doubt(not arguments.anchor, "anchor")
        print(f"stamped at {format_value(stamp.at)} by {_name_certificate_subject(stamp.certificate)}{doubt}")


def _describe_doubt(unproved: bool, option: str) -> str:
    return f" (not verified: no --{option} was given)" if unproved else ""


def _name_certificate_subject(certificate: Certificate | None) -> str | None:
    return None if certificate is None else certificate.subject[:200]
