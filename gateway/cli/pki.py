"""``gateway pki demo``: a sandbox authority with keys and certificates for trying things out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gateway.cli.settings import print_rows
from gateway.hub.assembly import now
from gateway.pki.issue import SandboxParty, demo_parties, make_sandbox

__all__ = ["add_parser"]


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
    demo.add_argument("--overwrite", action="store_true", help="replace a sandbox that is there")
    demo.add_argument("--json", action="store_true", help="print JSON")
    demo.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    asked = [_party(text) for text in arguments.party]
    names = {party.name for party in asked}
    parties = [*(party for party in demo_parties() if party.name not in names), *asked]
    made = make_sandbox(arguments.out, parties, now(), overwrite=arguments.overwrite)
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
