"""``gateway map export``: writes the mappings in force to a folder, which can be changed and used again."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

import click
from sqlalchemy import Connection

from gateway.cli.named_files import write_file
from gateway.cli.result_output import count_things, print_json, print_sentence
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import MappingBundle, generate_all_files, load_bundle
from gateway.hub import get_current_time, open_active_mappings, open_stored_mappings, read_mapping_files
from gateway.share import MemoryPath, get_data_folder
from gateway.store import mapping_bundles

__all__ = ["export_mappings"]

_GENERATED = "mappings/"


@verb
@click.argument("folder", type=FILE, help="the folder to write: absent or empty")
@click.option(
    "--bundle",
    metavar="DIGEST",
    help="these stored mappings, as `case show` and `map list` name them; default: those in force",
)
@click.option("--shipped", is_flag=True, help="the mappings that are shipped with the program; needs no home")
@home_options()
def export_mappings(arguments: Arguments) -> int:
    """Write a whole folder: documents, dictionary, codes, notices, forms and labels.

    Mappings that this version of the program does not load are written as they are stored, to be mended.
    """
    if arguments.shipped and arguments.bundle is not None:
        raise GatewayError(MISUSE, "give --shipped or --bundle", "map export")
    _refuse_used_folder(arguments.folder)
    files, fault, digest = _read_files(arguments), None, None
    documents: list[str] = []
    try:
        bundle = load_bundle(MemoryPath(files))
    except GatewayError as error:
        fault = error
    else:
        files = _generate_missing_files(bundle) | files
        digest, documents = bundle.digest, sorted(bundle.documents)
    for name, content in files.items():
        write_file(arguments.folder / name, content, make_folder=True)
    if arguments.json:
        told = {} if fault is None else {"problem": {"id": fault.problem.id, "message": str(fault)}}
        print_json({"bundle": digest, "documents": documents, "written": sorted(files), **told})
        return 0
    what = "everything in force" if arguments.bundle is None else "the stored mappings"
    what = "the shipped mappings" if arguments.shipped else what
    written = count_things(len(files), "file")
    if digest is None:
        print_sentence(f"Wrote {what} to {arguments.folder} as stored: {written}.")
        print_sentence(f"They do not load: {fault}. Mend this, then `gateway map use {arguments.folder}`.")
        return 0
    held = f"{count_things(len(documents), 'document')}, {written}"
    print_sentence(f"Wrote {what} to {arguments.folder}: {held}, bundle {digest[:16]}.")
    return 0


def _read_files(arguments: Arguments) -> dict[str, bytes]:
    if arguments.shipped:
        return read_mapping_files(get_data_folder("mappings"))
    with read_database(arguments) as conn:
        return read_mapping_files(_open_mappings(conn, arguments.bundle))


def _open_mappings(conn: Connection, named: str | None) -> Traversable:
    """Return the folder in force, or the stored one of a digest or its beginning; raise GW808 without one."""
    if named is None:
        return open_active_mappings(conn, get_current_time())
    return open_stored_mappings(conn, find_stored_digest(conn, named))


def find_stored_digest(conn: Connection, named: str) -> str:
    """Return the stored digest that begins so; raise GW808 where none does, or more than one."""
    found = [row.digest for row in mapping_bundles.list_bundles(conn) if row.digest.startswith(named)]
    if len(found) != 1:
        words = "no stored mappings have" if not found else f"{len(found)} stored mappings have"
        raise GatewayError(MISUSE, f"{words} a digest that begins with {named[:64]!r}", "--bundle")
    return str(found[0])


def _refuse_used_folder(folder: Path) -> None:
    """Raise GW801 for a file, or for a folder with content: its documents would be activated too."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        reason = "is not empty" if folder.is_dir() else "is not a folder"
    except (OSError, ValueError) as mistake:
        reason = f"cannot be read: {getattr(mistake, 'strerror', None) or 'the name is not possible'}"
    raise GatewayError(MISUSE, f"{folder} {reason}")


def _generate_missing_files(bundle: MappingBundle) -> dict[str, bytes]:
    """Return the forms and labels of all documents, by their names in the folder."""
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    return {
        name.removeprefix(_GENERATED): content
        for name, content in generate_all_files(bundle, template).items()
        if name.startswith(_GENERATED)
    }
