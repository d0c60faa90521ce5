"""``gateway evidence certificate``: validates signers again with the stored data of the first validation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.cli.home_folder import read_database
from gateway.cli.result_output import WrongRowError, format_named_values, print_json
from gateway.cli.shared_options import FILE, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.errors import EVIDENCE_BROKEN, MISUSE, GatewayError
from gateway.evidence import (
    RevalidatedVerdict,
    VerdictReference,
    find_named_verdict,
    list_subject_leaves,
    list_verdict_references,
    read_leaf_data,
    revalidate_verdict,
)
from gateway.operations import find_message
from gateway.pki import Certificate, CertificateUse, Verdict, read_certificate
from gateway.store import EvidenceRow, VerdictRow, agency_requests, payloads, verdicts
from gateway.wire import parse_xml
from gateway.xmlsec import POLICIES, verify_soap_envelope

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
