"""``gateway map import``: converts an inventory of documents to a folder of mappings."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from gateway.cli.named_files import read_file
from gateway.cli.result_output import print_json, print_sentence, show_progress
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.operations import format_count
from gateway.share import MemoryPath, get_data_folder
from gateway_workbench import ImportResult, import_inventory, merge_folder

_BASE = ("codelists.yaml", "common.yaml", "organisations.yaml")


@verb("map import")
@click.argument("inventory", type=FILE, help="a field inventory in YAML")
@click.option("--out", type=FILE, required=True, help="the folder to write")
@click.option("--documents", help="only these documents: ids separated by commas")
@click.option("--replace", is_flag=True, help="overwrite entries and documents that differ")
@json_option("one JSON object")
def import_documents(arguments: Arguments) -> None:
    """Write the mappings of an inventory; write nothing unless everything loads."""
    content = read_file(arguments.inventory)
    document_names = [name.strip() for name in (arguments.documents or "").split(",") if name.strip()]
    existing_files = _read_mapping_files(arguments.out)
    into = None if existing_files is None else MemoryPath(existing_files)
    with show_progress("importing the inventory") as bar:
        imported = import_inventory(
            content, arguments.inventory.name, get_data_folder("mappings"), document_names, into
        )
        bar.change_title("loading the imported mappings")
        if existing_files is None:
            files = imported.files
            bundle = _load_imported(imported, files)
            _refuse_other_files(arguments.out, files, replace=arguments.replace)
        else:
            files = merge_folder(imported.added, existing_files, replace=arguments.replace)
            bundle = _load_imported(imported, {**existing_files, **files})
    _write_all_files(arguments.out, files)
    report = describe_imported_files(imported, files) | {"folder_documents": sorted(bundle.documents)}
    if arguments.json:
        print_json(report)
    else:
        _print_import_report(report, arguments)


def describe_imported_files(imported: ImportResult, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the printed result: files, counts by document, and the findings to finish by hand."""
    findings = [
        {
            "document": finding.document,
            "field": finding.field,
            "kind": finding.kind,
            "text": finding.text,
            "place": str(finding.mark or ""),
        }
        for finding in imported.findings
    ]
    documents = [{"document": name, **counts} for name, counts in imported.counts.items()]
    return {"written": sorted(files), "documents": documents, "to_finish": findings}


def _load_imported(imported: ImportResult, files: Mapping[str, bytes]) -> MappingBundle:
    """Return the bundle of `files`; report a fault of an imported document at its line of the inventory."""
    try:
        return load_bundle(MemoryPath(files))
    except GatewayError as error:
        raise imported.locate_fault(error, files) from None


def _read_mapping_files(out: Path) -> dict[str, bytes] | None:
    """Return the files of an existing folder of mappings, None where `out` is not one."""
    if not all((out / name).is_file() for name in _BASE):
        return None
    files = {}
    try:
        for path in sorted(out.rglob("*")):
            name = path.relative_to(out)
            if path.is_file() and not any(part.startswith((".", "__")) for part in name.parts):
                files[name.as_posix()] = path.read_bytes()
    except OSError as error:
        reason = f"{error.filename or out} cannot be read: {error.strerror}"
        raise GatewayError(MISUSE, reason, "--out") from None
    return files


def _refuse_other_files(out: Path, files: Mapping[str, bytes], *, replace: bool) -> None:
    """Raise before a file with other content is overwritten; a folder of mappings is merged instead."""
    try:
        others = [name for name, content in files.items() if _is_other_content(out / name, content)]
    except OSError as error:
        reason = f"{error.filename or out} cannot be read: {error.strerror}"
        raise GatewayError(MISUSE, reason, "--out") from None
    if others and not replace:
        reason = f"{out / others[0]} differs; --replace overwrites it"
        raise GatewayError(MISUSE, reason, "--out")


def _write_all_files(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files below `out`: all as temporary files first, then all renamed to their names."""
    temporary_files: list[tuple[Path, Path]] = []
    try:
        for name, content in files.items():
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary_file = target.with_name(f".{target.name}.new")
            temporary_files.append((temporary_file, target))
            temporary_file.write_bytes(content)
        for temporary_file, target in temporary_files:
            temporary_file.replace(target)
    except OSError as error:
        for temporary_file, _ in temporary_files:
            with suppress(OSError):
                temporary_file.unlink(missing_ok=True)
        reason = f"{error.filename or out} cannot be written: {error.strerror}"
        raise GatewayError(MISUSE, reason, "--out") from None


def _is_other_content(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)


def _print_import_report(report: Mapping[str, Any], arguments: Arguments) -> None:
    for counts in report["documents"]:
        numbers = ", ".join(
            f"{number} {key}" for key, number in counts.items() if key != "document" and number
        )
        print(f"{counts['document']}: {numbers.replace('_', ' ')}")
    for finding in report["to_finish"]:
        name = " ".join(part for part in (finding["document"], finding["field"]) if part)
        print(f"to finish: {name}: {finding['text']}{'; ' if finding['place'] else ''}{finding['place']}")
    print_sentence(f"Wrote {format_count(len(report['written']), 'file')} to {arguments.out}.")
    print_sentence(_describe_folder_content(report, arguments))


def _describe_folder_content(report: Mapping[str, Any], arguments: Arguments) -> str:
    """Return a text: the documents of the folder beside the imported ones, and how they come into force."""
    brought = [counts["document"] for counts in report["documents"]]
    others = [name for name in report["folder_documents"] if name not in brought]
    if others:
        return (
            f"The folder contains the imported documents ({', '.join(brought)}) and "
            f"{format_count(len(others), 'document')} that it had before ({', '.join(others)})."
        )
    only = f" --documents {arguments.documents}" if arguments.documents else ""
    return (
        f"The folder contains only the imported documents ({', '.join(brought)}). Alone in force, they would "
        "replace all others. To add them to what is in force: `gateway map export DIR --home D`, then "
        f"`gateway map import {arguments.inventory} --out DIR{only}`, finish DIR, "
        "`gateway map check --path DIR`, `gateway map use DIR --home D`."
    )
