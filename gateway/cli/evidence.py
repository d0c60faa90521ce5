"""``gateway evidence …``: that what is kept is what was recorded, and when it was at the latest."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.cli.evidence_certificate import add_certificate
from gateway.cli.options import octets_of
from gateway.cli.settings import add_home, looking, print_rows, settings_of, shown
from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, SETTINGS_WRONG, GatewayError
from gateway.evidence.checking import Believed, Report, check_everything
from gateway.evidence.proofs import Authorities, Proved, prove, proved
from gateway.evidence.seals import all_heads
from gateway.hub.assembly import NoCalls, build_hub
from gateway.pki.certificates import Certificate, read_certificates
from gateway.pki.policy import read_policy
from gateway.store import stamps
from gateway.store.engine import reading

__all__ = ["add_parser"]

_SUBJECTS = ("message", "case", "request", "delivery", "verdict", "source", "party", "trust_list", "bundle")


def add_parser(verbs: Any) -> None:
    """Add ``evidence``."""
    group = verbs.add_parser("evidence", help="what is kept as proof").add_subparsers(
        metavar="WHAT", required=True
    )
    heads = group.add_parser("heads", help="list the sealed heads with their time stamps")
    add_home(heads)
    heads.set_defaults(run=_heads)
    check = group.add_parser("check", help="compute and judge all of it anew")
    check.add_argument(
        "--head", type=Path, action="append", default=[], metavar="FILE",
        help="a proof, or the text of a head, that was kept elsewhere: nothing under it may be another",
    )  # fmt: skip
    check.add_argument(
        "--signer", type=Path, action="append", default=[], metavar="PEM",
        help="a certificate with which we signed before those of the settings",
    )  # fmt: skip
    check.add_argument(
        "--anchor", type=Path, action="append", default=[], metavar="PEM",
        help="who certified authorities before those of the settings",
    )  # fmt: skip
    add_home(check)
    check.set_defaults(run=_check)
    one = group.add_parser("prove", help="write what proves the evidence about one thing")
    one.add_argument("subject", choices=_SUBJECTS, help="what it is")
    one.add_argument("number", help="the number of its row, or the name by which evidence knows it")
    one.add_argument("--to", type=Path, metavar="FILE", help="write to a file")
    add_home(one, as_json=False)
    one.set_defaults(run=_prove)
    add_certificate(group)
    verify = group.add_parser("verify", help="judge such a file, without the gateway that wrote it")
    verify.add_argument("file", type=Path, help="a proof that `gateway evidence prove` wrote")
    verify.add_argument(
        "--anchor", type=Path, action="append", default=[], metavar="PEM",
        help="who may certify the authorities of its time stamps; without it the stamps prove nothing",
    )  # fmt: skip
    verify.add_argument("--signer", type=Path, metavar="PEM", help="who must have signed its head")
    verify.add_argument(
        "--rules", type=Path, metavar="TOML",
        help="the trust policy by which the authorities are judged; that of the proof when not given",
    )  # fmt: skip
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=_verify)


def _heads(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        given: dict[int, list[Any]] = {}
        for stamp in stamps.everyone(conn):
            given.setdefault(stamp.seal, []).append(stamp)
        rows = [
            {
                "leaves": row.last_seq,
                "sealed_at": row.sealed_at,
                "signed": row.signature is not None,
                "root": row.root_hash,
                "stamped_at": min((one.at for one in given.get(row.id, ())), default=None),
                "authorities": [one.authority for one in given.get(row.id, ())],
            }
            for row in all_heads(conn)
        ]
    print_rows(
        rows,
        as_json=arguments.json,
        columns=("leaves", "sealed_at", "signed", "stamped_at", "authorities", "root"),
    )
    return 0


def _check(arguments: argparse.Namespace) -> int:
    heads = tuple(_head_in(file) for file in arguments.head)
    with closing(build_hub(settings_of(arguments), NoCalls(), at_work=False)) as hub:
        signers = (*(one.certificate for one in hub.signers), *_certificates(arguments.signer))
        anchors = (*hub.stamp_judge.trust.anchors, *_certificates(arguments.anchor))
        authorities = Authorities(tuple(one.der for one in anchors))
        believed = Believed(frozenset(one.sha256 for one in signers), authorities, heads)
        with reading(hub.engine) as conn:
            found = check_everything(conn, believed)
            waiting = stamps.unstamped_since(conn) if hub.stamping is not None else None
    vouched = not found.leaves or max(found.vouched, found.stamped) > 0
    if arguments.json:
        print(json.dumps({**asdict(found), "waiting_since": waiting}, default=shown))
    else:
        _print_report(found, waiting)
    return 0 if vouched else 1


def _print_report(found: Report, waiting: datetime | None) -> None:
    print(
        f"{found.leaves} leaves under {found.heads} heads, {found.unsealed} under none yet: all as recorded"
    )
    print(f"{found.signed} heads signed by us, over {found.vouched} leaves")
    print(f"{found.stamps} time stamps good, over {found.stamped} leaves")
    print(f"{found.verdicts} verdicts and {found.octets} stored contents as recorded")
    if found.leaves and not max(found.vouched, found.stamped):
        print("no key of ours and no authority vouches for any of it")
    if waiting is not None:
        print(f"evidence since {shown(waiting)} waits for a time stamp")


def _head_in(file: Path) -> str:
    """Return the text of a head: the file's own, or that of the proof which it is."""
    text = octets_of(file).decode("utf-8", errors="replace")
    if not text.lstrip().startswith("{"):
        return text
    head = _document(file).get("head")
    if not isinstance(head, str):
        raise GatewayError(EVIDENCE_BROKEN, "it holds no head", str(file)[-120:])
    return head


def _certificates(files: Iterable[Path]) -> Iterator[Certificate]:
    for file in files:
        yield from read_certificates(octets_of(file))


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(octets_of(file))
    except (ValueError, RecursionError):
        raise GatewayError(EVIDENCE_BROKEN, "it is not JSON", str(file)[-120:]) from None
    if not isinstance(document, dict):
        raise GatewayError(EVIDENCE_BROKEN, "it is no proof of ours", str(file)[-120:])
    return document


def _prove(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        document = prove(conn, arguments.subject, arguments.number)
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    if arguments.to is None:
        sys.stdout.write(text)
    else:
        arguments.to.write_text(text, encoding="utf-8")
        print(f"{len(document['leaves'])} leaves, {len(document['stamps'])} time stamps: {arguments.to}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if not arguments.anchor and arguments.signer is None:
        detail = (
            "name whom you believe: --anchor, --signer or both; a proof agrees with itself whoever made it"
        )
        raise GatewayError(SETTINGS_WRONG, detail, "evidence verify")
    rules = arguments.rules
    policy = None if rules is None else read_policy(octets_of(rules), str(rules)[-120:])
    anchors = tuple(one.der for one in _certificates(arguments.anchor))
    found = proved(_document(arguments.file), Authorities(anchors, policy))
    if anchors and not found.stamps:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "no authority has stamped the head", "time-stamp")
    _demand_signer(found, arguments.signer)
    _print(found, arguments)
    return 0


def _demand_signer(found: Proved, file: Path | None) -> None:
    wanted = () if file is None else read_certificates(octets_of(file))
    if wanted and (found.signer is None or found.signer.sha256 not in {one.sha256 for one in wanted}):
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the head is not signed by the certificate named", "head")


def _print(found: Proved, arguments: argparse.Namespace) -> None:
    told = {
        "leaves": [dict(one) for one in found.leaves],
        "head": found.head,
        "signer": _named(found.signer),
        "signer_believed": arguments.signer is not None,
        "stamps": [
            {"at": one.at, "policy": one.policy, "authority": _named(one.certificate)} for one in found.stamps
        ],
        "stamps_believed": bool(arguments.anchor),
    }
    if arguments.json:
        print(json.dumps(told, default=shown, ensure_ascii=False))
        return
    for one in found.leaves:
        print(f"{one['at']}  {one['kind']}  {one['subject_type']} {one['subject_id']}")
    print(f"under a head signed by {told['signer'] or 'nobody'}{_doubt(arguments.signer is None, 'signer')}")
    for stamp in found.stamps:
        doubt = _doubt(not arguments.anchor, "anchor")
        print(f"stamped at {shown(stamp.at)} by {_named(stamp.certificate)}{doubt}")


def _doubt(unproved: bool, option: str) -> str:
    return f" (unproved: no --{option} was named)" if unproved else ""


def _named(certificate: Certificate | None) -> str | None:
    return None if certificate is None else certificate.subject[:200]
