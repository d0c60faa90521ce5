"""``gateway pki list make|show|import``: trusted lists, ours and those of others; files in, files out."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.cli.list_description import read_description
from gateway.cli.options import add_home, add_moment, as_lines, octets_of
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki.certificates import Certificate, read_certificates
from gateway.pki.keys import Signer, load_signer
from gateway.recognition.chains import open_list, open_named
from gateway.recognition.lists import TrustedList, levels_of
from gateway.recognition.own import sign_list
from gateway.recognition.succession import check_fresh, succeed

__all__ = ["add_list", "add_signing", "replace_file", "signer_named", "signers_in"]


def add_list(group: Any) -> None:
    """Add ``list`` to the verbs of ``pki``."""
    lists = group.add_parser("list", help="trusted lists").add_subparsers(metavar="WHAT", required=True)
    make = lists.add_parser("make", help="write and sign a list of ours from its description")
    make.add_argument("file", type=Path, help="the description, TOML; certificates lie beside it")
    make.add_argument("--out", type=Path, required=True, help="the file to write")
    add_signing(make)
    add_moment(make, "issue it")
    make.add_argument("--json", action="store_true", help="print JSON")
    make.set_defaults(run=_make)
    show = lists.add_parser("show", help="verify a list and say what is on it")
    show.add_argument("file", type=Path, help="the list, ours or of ETSI TS 119 612")
    _add_signers(show)
    add_moment(show, "judge")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)
    take = lists.add_parser("import", help="verify a list and keep it in place of the one in hand")
    take.add_argument("file", type=Path, help="the list, ours or of ETSI TS 119 612")
    take.add_argument("--into", type=Path, metavar="DIR", help="where lists lie that no hub judges by")
    _add_signers(take)
    take.add_argument("--named-by", type=Path, metavar="FILE", help="a list in hand that names who may sign")
    add_moment(take, "judge")
    add_home(take)
    take.set_defaults(run=_import)
    held = lists.add_parser("held", help="list the lists that a hub has in hand, and which are in force")
    held.add_argument("--all", action="store_true", help="also those whose place another one took")
    add_home(held)
    held.set_defaults(run=_held)


def _add_signers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--signer", type=Path, action="append", default=[], metavar="PEM", help="who may sign it; repeatable"
    )


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Add ``--key``, ``--certificate`` and ``--password-file``."""
    parser.add_argument("--key", type=Path, required=True, metavar="F", help="the key to sign with")
    parser.add_argument(
        "--certificate", type=Path, metavar="F", help="its certificate, unless PKCS#12 brings it"
    )
    parser.add_argument("--password-file", type=Path, metavar="F", help="a file with the password of the key")


def signer_named(arguments: argparse.Namespace) -> Signer:
    """Return the signer that ``--key`` and ``--certificate`` name."""
    certificate = octets_of(arguments.certificate) if arguments.certificate else None
    password = octets_of(arguments.password_file).rstrip(b"\r\n") if arguments.password_file else None
    return load_signer(octets_of(arguments.key), certificate, password)


def signers_in(files: list[Path]) -> set[Certificate]:
    """Return the certificates in files that were named."""
    return {one for each in files for one in read_certificates(octets_of(each))}


def _make(arguments: argparse.Namespace) -> int:
    draft = read_description(arguments.file)
    at = arguments.at or datetime.now(UTC)
    signer = signer_named(arguments)
    made = sign_list(draft, signer, now=at)
    opened = open_list(made, {signer.certificate})
    check_fresh(opened, opened.issued)
    replace_file(arguments.out, made)
    _print({"written": str(arguments.out), **_shown(opened, at)}, as_json=arguments.json)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    at = arguments.at or datetime.now(UTC)
    found = open_list(octets_of(arguments.file), signers_in(arguments.signer))
    told = _shown(found, at)
    _print({"file": str(arguments.file), **told}, as_json=arguments.json)
    return 0 if told["problem"] is None else 1


def _import(arguments: argparse.Namespace) -> int:
    at = arguments.at or datetime.now(UTC)
    kept, told = _into_folder(arguments, at) if arguments.into else _into_home(arguments, at)
    _print({**told, **_shown(kept, at)}, as_json=arguments.json)
    return 0


def _into_home(arguments: argparse.Namespace, at: datetime) -> tuple[TrustedList, dict[str, Any]]:
    """Let a hub judge by the list: who may sign it, its settings say, and the lists that it has."""
    # Loaded when it is used: it brings the database along.
    from gateway.cli.pki.lists_held import take

    if arguments.signer or arguments.named_by or not (arguments.home or arguments.config):
        raise GatewayError(
            SETTINGS_WRONG, "name --into DIR, or --home alone: a hub knows who may sign", "--into"
        )
    done = take(arguments, at)
    return done.list, {"taken": done.taken, "before": done.before, "named_by": done.named_by}


def _held(arguments: argparse.Namespace) -> int:
    from gateway.cli.pki.lists_held import show_held

    return show_held(arguments)


def _into_folder(arguments: argparse.Namespace, at: datetime) -> tuple[TrustedList, dict[str, Any]]:
    data = octets_of(arguments.file)
    new = _expected(data, arguments)
    place = arguments.into / f"{_file_name(new)}.xml"
    beside = place.with_suffix(".signer.pem")
    held = open_list(octets_of(place), signers_in([beside])) if place.exists() else None
    kept = succeed(held, new, at)
    if kept is new:
        replace_file(beside, _both(held, new))
        replace_file(place, data)
        replace_file(beside, new.signer.pem)
    return kept, {"file": str(place), "taken": kept is new, "before": held.sequence if held else None}


def _both(held: TrustedList | None, new: TrustedList) -> bytes:
    """Return the signers of the old list and of the new: whichever lies there can be read again."""
    return (held.signer.pem if held else b"") + new.signer.pem


def _expected(data: bytes, arguments: argparse.Namespace) -> TrustedList:
    """Open a list whose signer was named on the command line, or by a list in hand for its territory."""
    signers = signers_in(arguments.signer)
    if arguments.named_by is None:
        return open_list(data, signers)
    naming = open_list(
        octets_of(arguments.named_by), signers_in([arguments.named_by.with_suffix(".signer.pem")])
    )
    check_fresh(naming, arguments.at or datetime.now(UTC))
    return open_named(data, [naming], signers)[0]


def _file_name(found: TrustedList) -> str:
    territory = found.territory
    if not territory.isascii() or not territory.isalnum() or len(territory) > 20:
        raise GatewayError(
            SETTINGS_WRONG, f"territory {territory[:20]!r} makes no name of a file", "territory"
        )
    return f"{territory}-{found.form}"


def replace_file(place: Path, data: bytes) -> None:
    """Write a file whole: a reader finds the old octets or the new, also after a power cut."""
    beside = place.with_name(place.name + ".new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except OSError as mistake:
        raise GatewayError(
            SETTINGS_WRONG, f"{place} cannot be written: {mistake.strerror}", str(place)
        ) from None


def _shown(found: TrustedList, at: datetime) -> dict[str, Any]:
    problem = None
    try:
        check_fresh(found, at)
    except GatewayError as stale:
        problem = stale
    return {
        "form": found.form,
        "operator": found.operator,
        "territory": found.territory,
        "sequence": found.sequence,
        "issued": found.issued.isoformat(),
        "next_update": found.next_update.isoformat() if found.next_update else None,
        "signer": found.signer.subject,
        "certificate": found.signer.sha256,
        "problem": problem.problem.id if problem else None,
        "reason": problem.detail if problem else "",
        "services": [_service(found, number, at) for number in range(len(found.services))],
        "schemes": [
            {
                "territory": each.territory,
                "role": each.role,
                "location": each.location,
                "signers": [one.sha256 for one in each.signers],
                "unread": list(each.unread),
                "rules": None if each.rules is None else [rule.identifier for rule in each.rules],
            }
            for each in found.schemes
        ],
        "bridges": [
            {"certificate": each.certificate.sha256, "policies": dict(each.policies)}
            for each in found.bridges
        ],
    }


def _service(found: TrustedList, number: int, at: datetime) -> dict[str, Any]:
    service = found.services[number]
    standing = service.standing(at)
    return {
        "provider": service.provider,
        "name": service.name,
        "type": standing.type if standing else None,
        "status": standing.status if standing else None,
        "since": standing.since.isoformat() if standing else None,
        "levels": sorted(levels_of(standing, (found.rules,), at)) if standing else [],
        "certificates": [each.sha256 for each in service.certificates],
        "unread": list(service.unread),
    }


def _print(told: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    counted = {name: len(value) if isinstance(value, list) else value for name, value in told.items()}
    print(as_lines(counted))
    for each in told["services"]:
        levels = ", ".join(each["levels"]) or "no level"
        print(f"  {each['name']}: {each['status']} since {each['since']}, {levels}")
