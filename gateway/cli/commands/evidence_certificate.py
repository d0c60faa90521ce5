"""``gateway evidence certificate``: repeats certificate validations with the evidence stored then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Connection, Row

from gateway.cli.result_output import format_facts, print_json, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
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
from gateway.store import agency_requests, payloads, verdicts
from gateway.wire import parse_xml
from gateway.xmlsec import POLICIES, verify_soap_envelope

__all__ = ["judge_signers"]

_MOST: Final = 50
_ENDINGS: Final = {"intermediate": "pem", "rules": "toml"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A verdict to be repeated: its row, what depends on it, and for which time; or why there is none."""

    row: Row[Any] | None
    kind: str = "verdict"
    at: datetime | None = None
    problem: GatewayError | None = None


@verb
@click.argument("message", required=False, help="the row id or the MessageId of the signed message")
@click.option("--verdict", metavar="N", help="one verdict: its row number, or the digest of its document")
@click.option("--certificate", metavar="SHA256", help="every verdict on a certificate, newest first")
@click.option(
    "--out", type=FILE, metavar="D", help="write the stored data as files, one folder for each verdict"
)
@home_options()
def judge_signers(arguments: Arguments) -> int:
    """Print each stored verdict and its repetition; return 0 when all agree."""
    with read_database(arguments) as conn:
        asked = list(_find_asked_verdicts(conn, arguments))
        told = [_describe_asked_verdict(conn, one, arguments.out) for one in asked]
    if arguments.json:
        for one in told:
            print_json(one)
    elif told:
        print("\n\n".join(format_facts(one) for one in told))
    if not told:
        return report_wrong_row("no verdict on a certificate is stored for it")
    return 0 if all(one["agree"] for one in told) else 1


def _find_asked_verdicts(conn: Connection, arguments: Arguments) -> Iterator[_Asked]:
    given = [each for each in (arguments.message, arguments.verdict, arguments.certificate) if each]
    if len(given) != 1:
        raise GatewayError(MISUSE, "give one of MESSAGE, --verdict and --certificate", "evidence certificate")
    if arguments.certificate:
        found = verdicts.list_verdicts(conn, limit=_MOST, leaf_sha256=arguments.certificate.lower())
        yield from (_Asked(row) for row in found)
    elif arguments.verdict:
        row = find_named_verdict(conn, arguments.verdict)
        yield from () if row is None else (_Asked(row),)
    else:
        message = find_message(conn, arguments.message)
        if message is None:
            return
        yield from (_find_relied_verdict(conn, one) for one in list_verdict_references(conn, message))
        if message.case_id is not None:
            yield from (
                _find_relied_verdict(conn, one) for one in _find_reply_verdicts(conn, message.case_id)
            )


def _find_relied_verdict(conn: Connection, relied: VerdictReference) -> _Asked:
    row = find_named_verdict(conn, relied.verdict) if relied.problem is None else None
    gone = GatewayError(EVIDENCE_BROKEN, f"verdict {relied.verdict} is missing", relied.kind)
    return _Asked(row, relied.kind, relied.at, None if row is not None else relied.problem or gone)


def _describe_asked_verdict(conn: Connection, asked: _Asked, out: Path | None) -> dict[str, Any]:
    row = asked.row
    if row is None:
        problem = asked.problem or GatewayError(EVIDENCE_BROKEN)
        return {"for": asked.kind, "at": asked.at, **_describe_problem(problem)}
    told = {
        "verdict": row.id,
        "for": asked.kind,
        "certificate": row.leaf_sha256,
        "use": row.use,
        "judged_at": row.judged_at,
        "valid_until": row.valid_until,
        "digest": row.digest,
    }
    try:
        again = revalidate_verdict(conn, row, asked.at)
    except GatewayError as broken:
        return {**told, **_describe_problem(broken)}
    if out is not None:
        told["folder"] = str(_write_kept_material(out / str(row.id), again))
    said = again.material.said
    return {
        **told,
        "place": again.place,
        "at": again.at,
        "kept": {name: said[name] for name in ("status", "problem", "tolerated", "mode", "source", "path")},
        "again": _describe_verdict(again.verdict),
        "agree": not again.differences,
        "differences": list(again.differences),
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


def _write_kept_material(folder: Path, again: RevalidatedVerdict) -> Path:
    """Write the material as files, with the command line of `pki validate` that validates them."""
    material = again.material
    register = material.register
    rules = register.policy.certificates
    between = [read_certificate(each, rules).pem for each in register.intermediates]
    kinds = {
        "leaf": (material.leaf,),
        "anchor": register.anchors,
        # In one file: more than four files are refused as too many certificates of a peer.
        "intermediate": (b"".join(between),) if between else (),
        "crl": register.crls,
        "ocsp": register.responses,
        "rules": (material.policy,),
    }
    files = {
        name: [f"{name}-{number}.{_ENDINGS.get(name, 'der')}" for number in range(1, len(each) + 1)]
        for name, each in kinds.items()
    }
    words = ["gateway", "pki", "validate", "--use", material.use.value, "--at", again.at.isoformat()]
    for name, names in files.items():
        words += [word for each in names for word in (f"--{name}", each)]
    document = {**material.said, "at": again.at.isoformat(), "files": files, "command": " ".join(words)}
    _write_material_files(
        folder, {name: list(zip(files[name], kinds[name], strict=True)) for name in kinds}, document
    )
    return folder


def _write_material_files(
    folder: Path, files: Mapping[str, list[tuple[str, bytes]]], document: Mapping[str, Any]
) -> None:
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

    The evidence names the verdict; for older evidence it is found by certificate and time.
    """
    for request in agency_requests.list_by_case(conn, case):
        for leaf in list_subject_leaves(conn, "request", request.id):
            if leaf.kind != "reply":
                continue
            kind = f"reply of {request.agency}"
            try:
                signer = _find_envelope_signer(payloads.get_payload_octets(conn, leaf.digest), leaf.at)
                yield VerdictReference(kind, _find_reply_verdict(conn, signer, leaf), leaf.at)
            except GatewayError as broken:
                yield VerdictReference(kind, "", leaf.at, broken)


def _find_reply_verdict(conn: Connection, signer: Certificate, leaf: Row[Any]) -> str:
    """Return the digest of the verdict that a reply depends on; raise if it is not about its signer."""
    named = read_leaf_data(leaf).get("verdict")
    if named is not None:
        row = verdicts.find_by_digest(conn, named)
        if row is not None and row.leaf_sha256 != signer.sha256:
            raise GatewayError(EVIDENCE_BROKEN, "the verdict is about another certificate", leaf.kind)
        return str(named)
    row = verdicts.find_verdict_in_force(conn, signer.sha256, CertificateUse.SIGNING.value, leaf.at)
    if row is None:
        detail = f"no verdict on certificate {signer.sha256[:16]} of that time is stored"
        raise GatewayError(EVIDENCE_BROKEN, detail, leaf.kind)
    return str(row.digest)


def _find_envelope_signer(envelope: bytes, at: datetime) -> Certificate:
    """Return the certificate that signed an envelope, under the strictest policy that accepts it."""
    refused: GatewayError | None = None
    for policy in POLICIES.values():
        try:
            return verify_soap_envelope(parse_xml(envelope), policy, now=at).certificate
        except GatewayError as problem:
            refused = refused or problem
    raise refused or GatewayError(EVIDENCE_BROKEN, "it has no signer")
