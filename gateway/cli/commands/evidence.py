"""``gateway evidence …``: verifies that stored evidence is unchanged, how old it is, and who signed it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from gateway.cli.audited_changes import read_act
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.list_options import (
    list_options,
    print_page,
    read_clock,
    read_list_filter,
    require_row_number,
)
from gateway.cli.named_files import (
    read_certificate_files,
    read_file,
    read_policy_octets,
    read_proof_document,
    write_file,
)
from gateway.cli.result_output import (
    print_json,
    print_line,
    print_sentence,
)
from gateway.cli.shared_options import FILE, changing_verb, home_verb, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, MISUSE, GatewayError
from gateway.evidence import (
    OPERATOR,
    TimeStampAuthorities,
    VerifiedProof,
    make_proof,
    search_heads,
    tree_heads,
    verify_proof,
)
from gateway.hub import Hub, RejectingComposer, build_hub, find_key_problem
from gateway.operations import Act, format_count, format_value, open_change
from gateway.pki import Certificate
from gateway.store import (
    ListPage,
    read_transaction,
    time_stamps,
)

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
    "database",
)
_STAMPER_WORDS = "a trust anchor of the time-stamping authorities; without it the time stamps prove nothing"
_RULES_WORDS = "the trust policy for the time-stamping authorities; if not given, that of the proof"


@home_verb("evidence list")
@list_options((), timed=True, text=False)
def list_sealed_heads(arguments: Arguments) -> None:
    """Print the sealed heads, the newest first, each with the time stamps over it."""
    with read_database(arguments, promises=True) as conn:
        list_filter = read_list_filter(arguments, read_clock(), after=require_row_number(arguments))
        page = search_heads(conn, list_filter)
        stamps_by_head: dict[int, list[Any]] = {}
        for stamp in time_stamps.list_time_stamps(conn, tuple(row["id"] for row in page.rows)):
            stamps_by_head.setdefault(stamp.seal, []).append(stamp)
    rows = [_describe_head(row, stamps_by_head.get(row["id"], ())) for row in page.rows]
    print_page(
        ListPage(rows, page.remaining),
        as_json=arguments.json,
        columns=("leaves", "sealed_at", "signed", "stamped_at", "authorities", "root"),
    )


def _describe_head(row: dict[str, Any], stamps: Sequence[Any]) -> dict[str, Any]:
    """Return a tree head as plain values, with the earliest time of its time stamps."""
    return {
        "leaves": row["last_seq"],
        "sealed_at": row["sealed_at"],
        "signed": row["signature"] is not None,
        "root": row["root_hash"],
        "stamped_at": min((stamp.at for stamp in stamps), default=None),
        "authorities": [stamp.authority for stamp in stamps],
    }


@home_verb("evidence prove")
@click.argument("subject", type=click.Choice(_SUBJECTS), help="the type of the object")
@click.argument("number", help="the row number of the object, or its name in the evidence")
@click.option("--to", type=FILE, metavar="FILE", help="write to a file")
def write_proof(arguments: Arguments) -> None:
    """Write the proof of the evidence about one object, to a file or to standard output.

    Raises GW805, after that, where a leaf about it was changed: the proof has only its hash.
    """
    with read_database(arguments, promises=True) as conn:
        document = make_proof(conn, arguments.subject, arguments.number, OPERATOR)
    if arguments.to is None:
        print_json(document, indent=1)
    else:
        _write_proof_file(arguments, document)
    if document["withheld"]:
        leaves = format_count(len(document["withheld"]), "leaf", "leaves")
        detail = f"the proof has only the hash of {leaves}, as the database has other content"
        raise GatewayError(EVIDENCE_BROKEN, detail, f"{arguments.subject} {arguments.number}"[:80])


def _write_proof_file(arguments: Arguments, document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    write_file(arguments.to, text.encode())
    if arguments.json:
        numbers = {name: len(document[name]) for name in ("leaves", "stamps")}
        print_json({"written": str(arguments.to), **numbers})
    else:
        leaves = format_count(len(document["leaves"]), "leaf", "leaves")
        stamped = format_count(len(document["stamps"]), "time stamp")
        print_sentence(f"Wrote the proof of {leaves} with {stamped} to {arguments.to}.")


@verb("evidence verify")
@click.argument("file", type=FILE, help="a proof that `gateway evidence prove` wrote")
@click.option("--anchor", type=FILE, multiple=True, metavar="PEM", help=_STAMPER_WORDS)
@click.option("--signer", type=FILE, metavar="PEM", help="the certificate that must have signed the head")
@click.option("--rules", type=FILE, metavar="TOML", help=_RULES_WORDS)
@json_option()
def verify_proof_file(arguments: Arguments) -> None:
    """Verify a proof under the trust anchors of the command line; raise its problem."""
    if not arguments.anchor and arguments.signer is None:
        detail = "give --anchor, --signer or both: a proof alone does not show who made it"
        raise GatewayError(MISUSE, detail, "evidence verify")
    rules = arguments.rules
    policy = None if rules is None else read_policy_octets(read_file(rules), str(rules)[-120:])
    anchors = tuple(anchor.der for anchor in read_certificate_files(arguments.anchor))
    proof = verify_proof(read_proof_document(arguments.file), TimeStampAuthorities(anchors, policy))
    if anchors and not proof.stamps:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the head has no time stamp", "time-stamp")
    _demand_head_signer(proof, arguments.signer)
    _print_proof_verdict(proof, arguments)


def _demand_head_signer(proof: VerifiedProof, file: Path | None) -> None:
    """Raise GW205 unless a certificate in `file` signed the head of the proof; without `file`, do nothing."""
    expected_signers = () if file is None else read_certificate_files((file,))
    if expected_signers and (
        proof.signer is None
        or proof.signer.sha256 not in {certificate.sha256 for certificate in expected_signers}
    ):
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the head is not signed by the certificate given", "head")


def _print_proof_verdict(proof: VerifiedProof, arguments: Arguments) -> None:
    """Print what the proof proves; say where no expected signer or time-stamp authority was given."""
    report = {
        "leaves": [dict(leaf) for leaf in proof.leaves],
        "withheld": list(proof.withheld),
        "head": proof.head,
        "signer": _name_certificate_subject(proof.signer),
        "signer_believed": arguments.signer is not None,
        "stamps": [
            {
                "at": stamp.at,
                "policy": stamp.policy,
                "authority": _name_certificate_subject(stamp.certificate),
            }
            for stamp in proof.stamps
        ],
        "stamps_believed": bool(arguments.anchor),
    }
    if arguments.json:
        print_json(report)
        return
    for leaf in proof.leaves:
        print_line(f"{leaf['at']}  {leaf['kind']}  {leaf['subject_type']} {leaf['subject_id']}")
    if proof.withheld:
        leaves = format_count(len(proof.withheld), "leaf is", "leaves are")
        print_line(f"{leaves} proved by hash alone: what is in them is not for the reader of this proof")
    doubt = _describe_doubt(arguments.signer is None, "signer")
    print_line(
        f"under a head signed by {report['signer']}{doubt}"
        if report["signer"]
        else "under a head without signature"
    )
    for stamp in proof.stamps:
        doubt = _describe_doubt(not arguments.anchor, "anchor")
        print_line(
            f"stamped at {format_value(stamp.at)} by {_name_certificate_subject(stamp.certificate)}{doubt}"
        )


def _describe_doubt(is_unproved: bool, option: str) -> str:
    return f" (not verified: no --{option} was given)" if is_unproved else ""


def _name_certificate_subject(certificate: Certificate | None) -> str | None:
    return None if certificate is None else certificate.subject[:200]


@changing_verb("evidence seal")
@click.option("--now", is_flag=True, help="seal; without it, print only how much is not sealed")
@click.option("--to", type=FILE, metavar="FILE", help="write the newest head to a file, to be kept elsewhere")
def seal_evidence(arguments: Arguments) -> None:
    """Seal all evidence that no head covers yet; raise GW803, and seal nothing, without the key."""
    if not arguments.now:
        _print_unsealed(arguments)
        return
    settings, act = read_verb_settings(arguments), read_act(arguments)
    with closing(build_hub(settings, RejectingComposer(), at_work=False)) as hub:
        problem = find_key_problem(hub)
        if problem is not None:
            raise problem
        before = _count_sealed_leaves(hub)
        audit = list(_seal_all_evidence(hub, settings, act))
        after = _count_sealed_leaves(hub)
        if arguments.to is not None:
            _write_newest_head(hub, arguments.to)
    leaves = format_count(after, "leaf", "leaves")
    sentence = f"All {leaves} were sealed before: nothing was changed."
    if audit:
        sentence = f"All {leaves} are sealed now, by {format_count(len(audit), 'new head')}."
    if arguments.to is not None:
        sentence = f"{sentence} The head is in {arguments.to}."
    if arguments.json:
        sizes = {"before": {"leaves": before}, "after": {"leaves": after}}
        print_json({"verb": act.verb, "done": sentence, "by": act.actor, "audit": audit, **sizes})
    else:
        print_sentence(sentence)


def _print_unsealed(arguments: Arguments) -> None:
    """Print the number of evidence leaves that no tree head covers yet."""
    with read_database(arguments) as conn:
        number = tree_heads.count_unsealed_leaves(conn)
    if arguments.json:
        print_json({"unsealed": number})
        return
    leaves = "1 leaf has" if number == 1 else f"{number} leaves have"
    print_sentence(f"{leaves} no head yet: a delivering process makes it in its turn, --now at once.")


def _seal_all_evidence(hub: Hub, settings: Settings, act: Act) -> Iterator[int]:
    """Make head after head, as a delivering process does; yield the row of audit of each."""
    while True:
        with read_transaction(hub.engine) as conn:
            head = tree_heads.make_next_head(conn, hub.party, hub.clock())
        if head is None:
            return
        # Outside of the transaction: a token may be slow.
        head = head.add_signature(hub.signer)
        with open_change(hub.engine, settings, act, "tsa.sealed") as change:
            if tree_heads.store_head(change.conn, head):
                before, after = {"leaves": head.first_leaf_number - 1}, {"leaves": head.tree.size}
                change.record_change("evidence", before=before, after=after)
            else:
                # A delivering process has stored a head meanwhile.
                change.leave_unchanged()
        if change.audit_number is not None:
            yield change.audit_number


def _count_sealed_leaves(hub: Hub) -> int:
    with read_transaction(hub.engine) as conn:
        last = tree_heads.find_latest_head(conn)
    return 0 if last is None else int(last.last_seq)


def _write_newest_head(hub: Hub, file: Path) -> None:
    with read_transaction(hub.engine) as conn:
        last = tree_heads.find_latest_head(conn)
    if last is None:
        raise GatewayError(MISUSE, "there is no evidence yet, and so no head", "--to")
    write_file(file, str(last.head).encode())
