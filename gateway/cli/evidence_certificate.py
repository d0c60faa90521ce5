"""``gateway evidence certificate``: judges signers again by what was kept when they were believed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cli.evidence_replies import replies_of
from gateway.cli.messages import find_message
from gateway.cli.options import as_lines
from gateway.cli.settings import add_home, looking, shown
from gateway.errors import EVIDENCE_BROKEN, SETTINGS_WRONG, GatewayError
from gateway.evidence.verdicts import Again, Relied, judge_again, relied_on, verdict_named
from gateway.pki.certificates import read_certificate
from gateway.pki.trust import Verdict
from gateway.store import verdicts

__all__ = ["add_certificate"]

_MOST: Final = 50
_ENDINGS: Final = {"intermediate": "pem", "rules": "toml"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A verdict to be judged again: its row, what rests on it, and for which moment; or why there is none."""

    row: Row[Any] | None
    kind: str = "verdict"
    at: datetime | None = None
    problem: GatewayError | None = None


def add_certificate(group: Any) -> None:
    """Add ``certificate`` to the verbs of ``evidence``."""
    parser = group.add_parser(
        "certificate", help="judge a signer again, by what was kept of the first judgement alone"
    )
    parser.add_argument("message", nargs="?", help="the row id, or the MessageId, of what was signed")
    parser.add_argument("--verdict", metavar="N", help="one verdict: its row, or the digest of its document")
    parser.add_argument(
        "--certificate", metavar="SHA256", help="every verdict on a certificate, newest first"
    )
    parser.add_argument("--out", type=Path, metavar="D", help="write what was kept as files, a folder each")
    add_home(parser)
    parser.set_defaults(run=_certificate)


def _certificate(arguments: argparse.Namespace) -> int:
    """Print each verdict as it was and as it is; 0 where all agree."""
    with looking(arguments) as conn:
        asked = list(_asked(conn, arguments))
        told = [_told(conn, one, arguments.out) for one in asked]
    if arguments.json:
        for one in told:
            print(json.dumps(one, default=shown, ensure_ascii=False))
    elif told:
        print("\n\n".join(as_lines(one) for one in told))
    if not told:
        sys.stderr.write("gateway: no verdict on a certificate is kept for that\n")
    return 0 if told and all(one["agree"] for one in told) else 1


def _asked(conn: Connection, arguments: argparse.Namespace) -> Iterator[_Asked]:
    given = [each for each in (arguments.message, arguments.verdict, arguments.certificate) if each]
    if len(given) != 1:
        raise GatewayError(
            SETTINGS_WRONG, "one of MESSAGE, --verdict and --certificate", "evidence certificate"
        )
    if arguments.certificate:
        found = verdicts.search(conn, limit=_MOST, leaf_sha256=arguments.certificate.lower())
        yield from (_Asked(row) for row in found)
    elif arguments.verdict:
        row = verdict_named(conn, arguments.verdict)
        yield from () if row is None else (_Asked(row),)
    else:
        message = find_message(conn, arguments.message)
        if message is None:
            return
        yield from (_named(conn, one) for one in relied_on(conn, message))
        if message.case_id is not None:
            yield from (_named(conn, one) for one in replies_of(conn, message.case_id))


def _named(conn: Connection, relied: Relied) -> _Asked:
    row = verdict_named(conn, relied.verdict) if relied.problem is None else None
    gone = GatewayError(EVIDENCE_BROKEN, f"the verdict {relied.verdict} is gone", relied.kind)
    return _Asked(row, relied.kind, relied.at, None if row is not None else relied.problem or gone)


def _told(conn: Connection, asked: _Asked, out: Path | None) -> dict[str, Any]:
    row = asked.row
    if row is None:
        problem = asked.problem or GatewayError(EVIDENCE_BROKEN)
        return {"for": asked.kind, "at": asked.at, **_broken(problem)}
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
        again = judge_again(conn, row, asked.at)
    except GatewayError as broken:
        return {**told, **_broken(broken)}
    if out is not None:
        told["folder"] = str(_write(out / str(row.id), again))
    said = again.material.said
    return {
        **told,
        "place": again.place,
        "at": again.at,
        "kept": {name: said[name] for name in ("status", "problem", "tolerated", "mode", "source", "path")},
        "again": _said(again.verdict),
        "agree": not again.differences,
        "differences": list(again.differences),
    }


def _broken(problem: GatewayError) -> dict[str, Any]:
    return {"agree": False, "problem": problem.problem.id, "detail": problem.detail}


def _said(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "tolerated": verdict.tolerated,
        "path": [each.sha256 for each in verdict.path],
    }


def _write(folder: Path, again: Again) -> Path:
    """Write everything as files, with the words by which `pki validate` judges them."""
    material = again.material
    register = material.register
    rules = register.policy.certificates
    between = [read_certificate(each, rules).pem for each in register.intermediates]
    kinds = {
        "leaf": (material.leaf,),
        "anchor": register.anchors,
        # In one file: of more than four somebody sent too many.
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
    _write_files(folder, {name: list(zip(files[name], kinds[name], strict=True)) for name in kinds}, document)
    return folder


def _write_files(
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
        raise GatewayError(SETTINGS_WRONG, detail, "--out") from None
