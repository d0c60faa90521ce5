"""``gateway map export``: writes the mappings in force to a folder, which can be changed and used again."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.named_files import write_file
from gateway.cli.result_output import count_things, print_json, print_sentence
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import MappingBundle, generate_all_files, load_bundle
from gateway.hub import get_current_time, open_active_mappings, read_mapping_files
from gateway.share import MemoryPath, get_data_folder

__all__ = ["export_mappings"]

_GENERATED = "mappings/"


@verb
@click.argument("folder", type=FILE, help="the folder to write: absent or empty")
@home_options()
def export_mappings(arguments: Arguments) -> int:
    """Write the whole folder in force: documents, dictionary, codes, notices, forms and labels."""
    _refuse_used_folder(arguments.folder)
    with read_database(arguments) as conn:
        files = read_mapping_files(open_active_mappings(conn, get_current_time()))
    bundle = load_bundle(MemoryPath(files))
    files = _generate_missing_files(bundle) | files
    for name, content in files.items():
        write_file(arguments.folder / name, content, make_folder=True)
    if arguments.json:
        documents = sorted(bundle.documents)
        print_json({"bundle": bundle.digest, "documents": documents, "written": sorted(files)})
        return 0
    held = f"{count_things(len(bundle.documents), 'document')}, {count_things(len(files), 'file')}"
    print_sentence(f"Wrote everything in force to {arguments.folder}: {held}, bundle {bundle.digest[:16]}.")
    return 0


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
