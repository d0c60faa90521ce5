"""``gateway pki demo|crl``: a sandbox authority for trying things out; revocation lists for the register."""

from __future__ import annotations

import argparse
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from gateway.cli.pki.lists import add_list
from gateway.cli.pki.own_key import add_key
from gateway.cli.pki.recognize import add_recognize
from gateway.cli.pki.requests import add_requests
from gateway.cli.pki.sources import add_sources
from gateway.cli.pki.validate import add_validate
from gateway.cli.settings import add_home, print_rows, read_file, writing
from gateway.hub.assembly import now
from gateway.pki.issue import SandboxParty, demo_parties, make_sandbox
from gateway.pki.revocation import read_crls
from gateway.store import revocations
from gateway.store.revocations import NewRevocations

__all__ = ["add_parser", "load_crls"]


def add_parser(verbs: Any) -> None:
    """Add ``pki``."""
    group = verbs.add_parser("pki", help="keys and certificates").add_subparsers(
        metavar="WHAT", required=True
    )
    demo = group.add_parser("demo", help="make a sandbox authority with parties, good and declared bad ones")
    demo.add_argument("--out", type=Path, required=True, help="the folder to write")
    demo.add_argument(
        "--party", action="append", default=[], metavar="NAME[:rsa-2048|:p-256]", help="one more party"
    )
    demo.add_argument("--authority", metavar="NAME", help="its name, CN=…,O=…, when not the sandbox's")
    demo.add_argument("--bridges", action="store_true", help="it may certify authorities of others")
    demo.add_argument("--overwrite", action="store_true", help="replace a sandbox that is there")
    demo.add_argument("--json", action="store_true", help="print JSON")
    demo.set_defaults(run=_demo)
    add_validate(group)
    add_key(group)
    add_list(group)
    add_recognize(group)
    add_requests(group)
    add_sources(group)
    crl = group.add_parser("crl", help="judge certificates by these revocation lists from now on")
    crl.add_argument("file", type=Path, help="a DER list, or a file of PEM lists")
    add_home(crl, as_json=False)
    crl.set_defaults(run=_load_crl)


def _demo(arguments: argparse.Namespace) -> int:
    asked = [_party(text) for text in arguments.party]
    names = {party.name for party in asked}
    parties = [*(party for party in demo_parties() if party.name not in names), *asked]
    named = {"authority": arguments.authority} if arguments.authority else {}
    length = 1 if arguments.bridges else 0
    made = make_sandbox(
        arguments.out, parties, now(), overwrite=arguments.overwrite, path_length=length, **named
    )
    rows = [
        {
            "name": party.name,
            "state": party.state,
            "key": party.key_kind,
            "sha256": made.signers[party.name].certificate.sha256,
            "certificate": str(arguments.out / f"{party.name}.cert.pem"),
        }
        for party in parties
    ]
    print_rows(rows, as_json=arguments.json, columns=("name", "state", "key", "certificate"))
    return 0


def _party(text: str) -> SandboxParty:
    name, _, kind = text.partition(":")
    return SandboxParty(name, key_kind=kind or "p-256")


def _load_crl(arguments: argparse.Namespace) -> int:
    """Keep revocation lists in the register; every process judges by them from its next message on."""
    with writing(arguments) as conn:
        for issuer, new in load_crls(conn, read_file(arguments.file), now()):
            print(f"{issuer}: {'taken' if new else 'in hand already'}")
    return 0


def load_crls(conn: Connection, content: bytes, at: datetime) -> list[tuple[str, bool]]:
    """Keep lists (DER or PEM) in the register; return each issuer, and whether its list is a new one."""
    told = []
    for found in read_crls(content):
        issuer = hashlib.sha256(found.issuer_key.encode()).hexdigest()
        new = NewRevocations(issuer, found.sha256, found.this_update, found.next_update, found.der)
        told.append((found.issuer, revocations.add(conn, new, at)))
    return told
