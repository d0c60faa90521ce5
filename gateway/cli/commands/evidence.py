"""``gateway evidence …``: verifies that stored evidence is unchanged, how old it is, and who signed it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.cli.audited_changes import read_act
from gateway.cli.home_folder import open_engine_of_any_version, read_database, read_verb_settings
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
    read_head_text,
    read_policy_octets,
    read_proof_document,
    write_file,
)
from gateway.cli.result_output import (
    WrongRowError,
    format_named_values,
    print_json,
    print_line,
    print_sentence,
    show_progress,
)
from gateway.cli.shared_options import FILE, changing_verb, home_verb, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, MISUSE, GatewayError
from gateway.evidence import (
    OPERATOR,
    RevalidatedVerdict,
    TimeStampAuthorities,
    TrustedEvidence,
    VerdictReference,
    VerificationReport,
    VerifiedProof,
    find_named_verdict,
    list_subject_leaves,
    list_verdict_references,
    make_proof,
    read_leaf_data,
    revalidate_verdict,
    search_heads,
    tree_heads,
    verify_all_evidence,
    verify_proof,
)
from gateway.hub import Hub, RejectingComposer, build_hub, find_key_problem
from gateway.operations import Act, find_message, format_count, format_value, open_change
from gateway.pki import Certificate, CertificateUse, Verdict, read_certificate
from gateway.store import (
    EvidenceRow,
    ListPage,
    VerdictRow,
    agency_requests,
    check_database_file,
    get_database_state,
    payloads,
    read_transaction,
    time_stamps,
    verdicts,
)
from gateway.wire import parse_xml
from gateway.xmlsec import POLICIES, verify_soap_envelope

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
_HEAD_WORDS = "a proof or a head that was stored elsewhere: the evidence under it must be unchanged"
_SIGNER_WORDS = "an earlier signing certificate of the gateway"
_ANCHOR_WORDS = "an earlier trust anchor of time-stamping authorities"
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


@home_verb("evidence check")
@click.option("--head", type=FILE, multiple=True, metavar="FILE", help=_HEAD_WORDS)
@click.option("--signer", type=FILE, multiple=True, metavar="PEM", help=_SIGNER_WORDS)
@click.option("--anchor", type=FILE, multiple=True, metavar="PEM", help=_ANCHOR_WORDS)
def check_evidence(arguments: Arguments) -> int:
    """Recompute the evidence; raise GW805 where it differs, return 1 when no signature or stamp covers it."""
    heads = tuple(read_head_text(file) for file in arguments.head)
    settings = read_verb_settings(arguments)
    with open_engine_of_any_version(settings) as engine, show_progress("reading the file of the database"):
        check_database_file(get_database_state(engine).damage)
    recomputed = _recompute_evidence(arguments, heads)
    verification, waiting_since = recomputed.verification, recomputed.waiting_since
    is_covered = not verification.leaves or max(verification.vouched, verification.stamped) > 0
    if arguments.json:
        print_json({**asdict(verification), "waiting_since": waiting_since})
    else:
        _print_check_report(verification, waiting_since)
    return 0 if is_covered else 1


@dataclass(frozen=True, slots=True)
class _RecomputedEvidence:
    """The report of one recomputing, and since when evidence waits for a time stamp; None if none waits."""

    verification: VerificationReport
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class _UntrustedEvidence:
    """Whom we trusted, and the GW205 of a signer or an authority that was none of these."""

    trusted: TrustedEvidence
    problem: GatewayError


def _recompute_evidence(arguments: Arguments, heads: tuple[str, ...]) -> _RecomputedEvidence:
    """Recompute the evidence, and trust whom the settings name now; raise the problem that is found.

    On GW205 the settings and keys are read again; if they name others now, it is recomputed once more. For a
    hub that was restarted with a new key may have sealed a head after they were read the first time.
    """
    refused: _UntrustedEvidence | None = None
    while True:
        with closing(build_hub(read_verb_settings(arguments), RejectingComposer(), at_work=False)) as hub:
            trusted = _read_trusted_evidence(hub, arguments, heads)
            if refused is not None and trusted == refused.trusted:
                raise refused.problem
            try:
                return _recompute_trusted_evidence(hub, trusted)
            except GatewayError as problem:
                if refused is not None or problem.problem is not CERTIFICATE_UNTRUSTED:
                    raise
                refused = _UntrustedEvidence(trusted, problem)


def _read_trusted_evidence(hub: Hub, arguments: Arguments, heads: tuple[str, ...]) -> TrustedEvidence:
    """Return the keys and authorities of a hub and of the command line, with heads stored elsewhere."""
    signers = (*(signer.certificate for signer in hub.signers), *read_certificate_files(arguments.signer))
    anchors = (*hub.register.stamp_judge.trust.anchors, *read_certificate_files(arguments.anchor))
    authorities = TimeStampAuthorities(tuple(anchor.der for anchor in anchors))
    return TrustedEvidence(frozenset(signer.sha256 for signer in signers), authorities, heads)


def _recompute_trusted_evidence(hub: Hub, trusted: TrustedEvidence) -> _RecomputedEvidence:
    with read_transaction(hub.engine) as conn:
        with show_progress("recomputing the evidence"):
            verification = verify_all_evidence(conn, trusted)
        waiting_since = time_stamps.find_unstamped_since(conn) if hub.stamping is not None else None
    return _RecomputedEvidence(verification, waiting_since)


def _print_check_report(report: VerificationReport, waiting_since: datetime | None) -> None:
    print_line(
        f"{report.leaves} leaves under {report.heads} heads, {report.unsealed} not yet under a head: "
        "all digests match"
    )
    print_line(f"{report.signed} heads signed by the gateway, over {report.vouched} leaves")
    print_line(f"{report.stamps} valid time stamps, over {report.stamped} leaves")
    print_line(f"{report.verdicts} verdicts and {report.octets} stored contents: all digests match")
    if report.removed:
        print_line(f"{report.removed} contents were removed by retention, as the evidence says")
    if report.leaves and not max(report.vouched, report.stamped):
        print("no signature of the gateway and no time stamp covers this evidence")
    if waiting_since is not None:
        print_line(f"evidence since {format_value(waiting_since)} waits for a time stamp")


@home_verb("evidence prove")
@click.argument("subject", type=click.Choice(_SUBJECTS), help="the type of the object")
@click.argument("number", help="the row number of the object, or its name in the evidence")
@click.option("--to", type=FILE, metavar="FILE", help="write to a file")
def write_proof(arguments: Arguments) -> None:
    """Write the proof of the evidence about one object, to a file or to standard output."""
    with read_database(arguments, promises=True) as conn:
        document = make_proof(conn, arguments.subject, arguments.number, OPERATOR)
    if arguments.to is None:
        print_json(document, indent=1)
        return
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


_MAX_VERDICTS: Final = 50
_FILE_ENDINGS: Final = {"intermediate": "pem", "rules": "toml"}


@dataclass(frozen=True, slots=True)
class _RequestedVerdict:
    """A verdict to repeat: its row, the kind of object that depends on it, and the time to judge for.

    Without a row, `problem` is the reason.
    """

    row: VerdictRow | None
    kind: str = "verdict"
    at: datetime | None = None
    problem: GatewayError | None = None


@home_verb("evidence certificate")
@click.argument("message", required=False, help="the row id or the MessageId of the signed message")
@click.option("--verdict", metavar="N", help="one verdict: its row number, or the digest of its document")
@click.option("--certificate", metavar="SHA256", help="every verdict on a certificate, newest first")
@click.option(
    "--out", type=FILE, metavar="D", help="write the stored data as files, one folder for each verdict"
)
def repeat_verdicts(arguments: Arguments) -> int:
    """Print each stored verdict and its repetition; return 0 when all agree."""
    with read_database(arguments) as conn:
        stored_verdicts = list(_find_asked_verdicts(conn, arguments))
        reports = [
            _describe_asked_verdict(conn, stored_verdict, arguments.out) for stored_verdict in stored_verdicts
        ]
    if arguments.json:
        for report in reports:
            print_json(report)
    elif reports:
        print("\n\n".join(format_named_values(report) for report in reports))
    if not reports:
        raise WrongRowError("no verdict on a certificate is stored for it")
    return 0 if all(report["agree"] for report in reports) else 1


def _find_asked_verdicts(conn: Connection, arguments: Arguments) -> Iterator[_RequestedVerdict]:
    """Yield the verdicts on a message, one verdict, or those on a certificate, as the arguments ask.

    Raise GW808 unless exactly one of the three is given.
    """
    options = [each for each in (arguments.message, arguments.verdict, arguments.certificate) if each]
    if len(options) != 1:
        raise GatewayError(MISUSE, "give one of MESSAGE, --verdict and --certificate", "evidence certificate")
    if arguments.certificate:
        verdict_rows = verdicts.list_verdicts(
            conn, limit=_MAX_VERDICTS, leaf_sha256=arguments.certificate.lower()
        )
        yield from (_RequestedVerdict(row) for row in verdict_rows)
    elif arguments.verdict:
        row = find_named_verdict(conn, arguments.verdict)
        yield from () if row is None else (_RequestedVerdict(row),)
    else:
        message = find_message(conn, arguments.message)
        if message is None:
            return
        yield from (
            _find_relied_verdict(conn, reference) for reference in list_verdict_references(conn, message)
        )
        if message.case_id is not None:
            yield from (
                _find_relied_verdict(conn, reference)
                for reference in _find_reply_verdicts(conn, message.case_id)
            )


def _find_relied_verdict(conn: Connection, reference: VerdictReference) -> _RequestedVerdict:
    row = find_named_verdict(conn, reference.verdict) if reference.problem is None else None
    gone = GatewayError(EVIDENCE_BROKEN, f"verdict {reference.verdict} is missing", reference.kind)
    return _RequestedVerdict(
        row, reference.kind, reference.at, None if row is not None else reference.problem or gone
    )


def _describe_asked_verdict(
    conn: Connection, stored_verdict: _RequestedVerdict, out: Path | None
) -> dict[str, Any]:
    """Repeat a stored verdict and return both verdicts with their differences, or the problem.

    With `out`, the validation input is written to a folder of its own there.
    """
    row = stored_verdict.row
    if row is None:
        problem = stored_verdict.problem or GatewayError(EVIDENCE_BROKEN)
        return {"for": stored_verdict.kind, "at": stored_verdict.at, **_describe_problem(problem)}
    report = {
        "verdict": row.id,
        "for": stored_verdict.kind,
        "certificate": row.leaf_sha256,
        "use": row.use,
        "judged_at": row.judged_at,
        "valid_until": row.valid_until,
        "digest": row.digest,
    }
    try:
        repetition = revalidate_verdict(conn, row, stored_verdict.at)
    except GatewayError as broken:
        return {**report, **_describe_problem(broken)}
    if out is not None:
        report["folder"] = str(_write_stored_material(out / str(row.id), repetition))
    document = repetition.material.document
    return {
        **report,
        "place": repetition.leaf_number,
        "at": repetition.at,
        "kept": {
            name: document[name] for name in ("status", "problem", "tolerated", "mode", "source", "path")
        },
        "again": _describe_verdict(repetition.verdict),
        "agree": not repetition.differences,
        "differences": list(repetition.differences),
    }


def _describe_problem(problem: GatewayError) -> dict[str, Any]:
    return {"agree": False, "problem": problem.problem.id, "detail": problem.detail}


def _describe_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "tolerated": verdict.tolerated,
        "path": [each.sha256 for each in verdict.path],
    }


def _write_stored_material(folder: Path, repetition: RevalidatedVerdict) -> Path:
    """Write the material as files, with the command line of `pki validate` that validates them."""
    material = repetition.material
    register = material.register
    rules = register.policy.certificates
    between = [read_certificate(each, rules).pem for each in register.intermediates]
    octets_by_option = {
        "leaf": (material.leaf,),
        "anchor": register.anchors,
        # In one file: more than four files are refused as too many certificates of a peer.
        "intermediate": (b"".join(between),) if between else (),
        "crl": register.crls,
        "ocsp": register.responses,
        "rules": (material.policy,),
    }
    files = {
        name: [f"{name}-{number}.{_FILE_ENDINGS.get(name, 'der')}" for number in range(1, len(each) + 1)]
        for name, each in octets_by_option.items()
    }
    command_words = [
        "gateway",
        "pki",
        "validate",
        "--use",
        material.use.value,
        "--at",
        repetition.at.isoformat(),
    ]
    for name, names in files.items():
        command_words += [word for each in names for word in (f"--{name}", each)]
    document = {
        **material.document,
        "at": repetition.at.isoformat(),
        "files": files,
        "command": " ".join(command_words),
    }
    _write_material_files(
        folder,
        {name: list(zip(files[name], octets_by_option[name], strict=True)) for name in octets_by_option},
        document,
    )
    return folder


def _write_material_files(
    folder: Path, files: Mapping[str, list[tuple[str, bytes]]], document: Mapping[str, Any]
) -> None:
    """Write the named contents and `verdict.json` to `folder`; raise GW808 if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in files.values():
            for name, content in each:
                (folder / name).write_bytes(content)
        text = json.dumps(document, ensure_ascii=False, indent=2)
        (folder / "verdict.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        detail = f"{folder} cannot be written: {error.strerror}"
        raise GatewayError(MISUSE, detail, "--out") from None


def _find_reply_verdicts(conn: Connection, case: int) -> Iterator[VerdictReference]:
    """Yield the verdict on the signer of each stored answer and callback, after verifying its signature.

    The evidence names the verdict.
    """
    for request in agency_requests.list_by_case(conn, case):
        for leaf in list_subject_leaves(conn, "request", request.id):
            if leaf.kind != "reply":
                continue
            kind = f"reply of {request.agency}"
            try:
                signer = _find_envelope_signer(payloads.get_payload_octets(conn, leaf.digest or ""), leaf.at)
                yield VerdictReference(kind, _find_reply_verdict(conn, signer, leaf), leaf.at)
            except GatewayError as broken:
                yield VerdictReference(kind, "", leaf.at, broken)


def _find_reply_verdict(conn: Connection, signer: Certificate, leaf: EvidenceRow) -> str:
    """Return the digest of the verdict that a reply depends on; raise if it is not about its signer."""
    verdict_digest = read_leaf_data(leaf).get("verdict")
    if verdict_digest is not None:
        row = verdicts.find_by_digest(conn, verdict_digest)
        if row is not None and row.leaf_sha256 != signer.sha256:
            raise GatewayError(EVIDENCE_BROKEN, "the verdict is about another certificate", leaf.kind)
        return str(verdict_digest)
    # Evidence of 0.1.0 may name none: what one version wrote, every later one verifies.
    row = verdicts.find_verdict_in_force(conn, signer.sha256, CertificateUse.SIGNING.value, leaf.at)
    if row is None:
        detail = f"no verdict on certificate {signer.sha256[:16]} of that time is stored"
        raise GatewayError(EVIDENCE_BROKEN, detail, leaf.kind)
    return str(row.digest)


def _find_envelope_signer(envelope: bytes, at: datetime) -> Certificate:
    """Return the certificate that signed an envelope, under the strictest policy that accepts it."""
    first_refusal: GatewayError | None = None
    for policy in POLICIES.values():
        try:
            return verify_soap_envelope(parse_xml(envelope), policy, now=at).certificate
        except GatewayError as problem:
            first_refusal = first_refusal or problem
    raise first_refusal or GatewayError(EVIDENCE_BROKEN, "it has no signer")
