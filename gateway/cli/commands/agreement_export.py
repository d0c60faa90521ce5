"""``gateway agreement export|diff``: agreements as CPA documents, and what differs between two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gateway.agreements import (
    PMode,
    convert_cpa,
    is_peer_pmode,
    is_xml_document,
    list_differences,
    read_cpa,
    write_cpa,
)
from gateway.cli.agreement_files import read_agreement_file
from gateway.cli.loaded_agreements import collect_certificates, find_loaded_agreement
from gateway.cli.named_files import read_file, write_file
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import get_current_time
from gateway.operations import list_known_parties

__all__ = ["compare_agreements", "export_agreement"]

_OLD_WORDS = "the earlier agreement: a file, or the name of a loaded one"
_NEW_WORDS = "the later agreement: a file, or the name of a loaded one"


@verb
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@click.option("--out", type=FILE, required=True, help="the file to write")
@click.option("--original", is_flag=True, help="the file as it was loaded, with its signatures")
@home_options()
def export_agreement(arguments: Arguments) -> int:
    """Write an agreement as a CPA; raise GW301 for an unknown one, GW313 for one that no CPA can say."""
    with read_database(arguments) as conn:
        loaded = find_loaded_agreement(conn, arguments.agreement)
        known = {pin: one.der for pin, one in collect_certificates(conn, loaded).items()}
        names = {one: party.name for party in list_known_parties(conn) for one in party.ids}
    if loaded.cpa is not None:
        names = {
            ids: party.name
            for party in loaded.cpa.parties
            for pmode in loaded.pmodes
            for ids in (*pmode.from_party, *pmode.to_party)
            if (ids.value, ids.type) in {(one.value, one.type) for one in party.ids}
        }
    data = loaded.row.source if arguments.original else write_cpa(loaded.pmodes, names, known)
    write_file(arguments.out, data, location="--out")
    sentence = f"Agreement {arguments.agreement} is written to {arguments.out}."
    if arguments.json:
        modes = [one.id for one in loaded.pmodes]
        print_json({"done": sentence, "file": str(arguments.out), "octets": len(data), "pmodes": modes})
    else:
        print_sentence(sentence)
    return 0


@verb
@click.argument("old", help=_OLD_WORDS)
@click.argument("new", help=_NEW_WORDS)
@home_options()
def compare_agreements(arguments: Arguments) -> int:
    """Print what differs between two agreements, in words of the business; nothing where they are equal."""
    found = list_differences(*(_read_pmodes(arguments, name) for name in (arguments.old, arguments.new)))
    if arguments.json:
        print_json({"differences": [one._asdict() | {"sentence": one.sentence} for one in found]})
        return 0
    for one in found:
        print(one.sentence)
    if not found:
        print_sentence("nothing differs")
    return 0


def _read_pmodes(arguments: Arguments, name: str) -> Sequence[PMode]:
    path = Path(name)
    if path.is_file():
        data = read_file(path)
        if is_xml_document(data) and not is_peer_pmode(data):
            return convert_cpa(read_cpa(data, path.name))
        return read_agreement_file(data, path.name, get_current_time()).pmodes
    if not (arguments.home or arguments.config):
        detail = f"{name[:80]} is no file; a loaded agreement is found in a home, with --home"
        raise GatewayError(MISUSE, detail, name[:80])
    with read_database(arguments) as conn:
        return find_loaded_agreement(conn, name).pmodes
