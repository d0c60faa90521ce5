"""Loads a folder of mappings into one bundle; every error names its file and line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Final

from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize.language.code_lists import read_code_lists, read_numbered_rows
from gateway.harmonize.language.data_dictionary import read_data_dictionary
from gateway.harmonize.language.declaration_rules import read_declaration_rules
from gateway.harmonize.language.document_mapping import DocumentMapping, find_type_code
from gateway.harmonize.language.document_reader import read_document_mapping
from gateway.harmonize.language.mapping_bundle import MappingBundle, Organisation, read_carrier_formats
from gateway.harmonize.language.notice_catalog_reader import read_notice_catalog
from gateway.harmonize.language.notice_tree import NoticeCatalog, NoticeMapping
from gateway.harmonize.language.shared_fields import find_matching_member
from gateway.harmonize.language.target_tree import TargetElement
from gateway.harmonize.language.unique_fields import UniqueField, to_element_name
from gateway.harmonize.language.unit_table import UnitTable, read_unit_table
from gateway.wire import SourceMark, YamlNode, read_yaml

_RULES: Final = "rules.yaml"
_CARRIERS: Final = "carriers.yaml"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
_MAX_RECENT_BUNDLES: Final = 4
#: The bundles read last, by the digest of all files: a verb asks for the same folder several times.
_RECENT_BUNDLES: Final[dict[str, MappingBundle]] = {}


def load_bundle(folder: Traversable, faults: list[GatewayError] | None = None) -> MappingBundle:
    """Return the bundle of the mappings in `folder`; raise GW502 with file, line and field.

    Where `faults` is given, the errors of single documents are added to it and these documents
    are left out.  `MappingBundle.decisions` are all rows of reconciled.csv, by document and field.
    The same files give the same bundle: the last ones are remembered.
    """
    key = None if faults is not None else _compute_folder_digest(folder)
    if key is None:
        return _read_bundle(folder, faults)
    bundle = _RECENT_BUNDLES.get(key)
    if bundle is None:
        bundle = _RECENT_BUNDLES[key] = _read_bundle(folder, None)
        for oldest in list(_RECENT_BUNDLES)[:-_MAX_RECENT_BUNDLES]:
            _RECENT_BUNDLES.pop(oldest, None)
    return bundle


def load_unit_table(folder: Traversable) -> UnitTable:
    """Return the units of the mappings in `folder` alone; raise GW502 with file, line and field."""
    files = _BundleFiles(folder)
    return read_unit_table(files.read_yaml_file("codelists.yaml"), files.read_file)


def load_organisations(folder: Traversable) -> dict[str, Organisation]:
    """Return the organisations of the mappings in `folder` alone; raise GW502 with file, line and field."""
    return _read_organisations(_BundleFiles(folder).read_yaml_file("organisations.yaml"))


def _compute_folder_digest(folder: Traversable) -> str | None:
    """Return the SHA-256 over all YAML and CSV files below `folder`; None if one cannot be read."""
    total = hashlib.sha256()
    try:
        for name, file in sorted(_walk_files(folder, "", (".yaml", ".csv")), key=lambda entry: entry[0]):
            total.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    except OSError:
        return None
    return total.hexdigest()


def _read_bundle(folder: Traversable, faults: list[GatewayError] | None) -> MappingBundle:
    """Return the mapping bundle of a folder; raise GW502 with file, line and field for an error.

    With `faults`, a document with an error is left out and its error is added there.
    """
    files = _BundleFiles(folder)
    registry = files.read_yaml_file("codelists.yaml")
    lists, units = read_code_lists(registry, files.read_file), read_unit_table(registry, files.read_file)
    dictionary = read_data_dictionary(files.read_yaml_file("common.yaml"), lists)
    organisations = _read_organisations(files.read_yaml_file("organisations.yaml"))
    has_file = folder.joinpath("notices.yaml").is_file()
    notices = (
        read_notice_catalog(files.read_yaml_file("notices.yaml"), lists) if has_file else NoticeCatalog()
    )
    zone = notices.zone
    has_file = folder.joinpath(_RULES).is_file()
    rules = read_declaration_rules(files.read_yaml_file(_RULES), dictionary, lists, zone) if has_file else ()
    has_file = folder.joinpath(_CARRIERS).is_file()
    carriers = read_carrier_formats(files.read_yaml_file(_CARRIERS), organisations) if has_file else {}
    documents: dict[str, DocumentMapping] = {}
    for name in sorted(name for name, _ in _walk_files(folder.joinpath("agencies"), "agencies/", (".yaml",))):
        try:
            node = files.read_yaml_file(name)
            document = read_document_mapping(node, dictionary, lists, organisations, units, zone)
            check_accepted_notices(document, notices)
            # The namespace of a document is its id in small letters.
            if document.id.lower() in map(str.lower, documents):
                raise node.make_error("document", "each document once", document.id)
        except GatewayError as error:
            if faults is None:
                raise
            faults.append(error)
            continue
        documents[document.id] = document
    _check_shared_fields(documents, faults)
    has_file = folder.joinpath("reconciled.csv").is_file()
    # Where a document is left out for its errors, a row that names no document cannot be detected.
    decisions = _read_field_decisions(files, None if faults else documents) if has_file else {}
    reconciled = _select_common_decisions(decisions)
    # The rules of need and some tables of codes are read elsewhere; a folder with others is another bundle
    # all the same.
    for part in ("codelists", "needs"):
        for name, _ in _walk_files(folder.joinpath(part), f"{part}/", (".csv",)):
            files.read_file(name)
    digest = files.compute_digest()
    return MappingBundle(
        dictionary,
        lists,
        organisations,
        documents,
        reconciled,
        digest,
        units=units,
        decisions=decisions,
        notices=notices,
        rules=rules,
        carriers=carriers,
    )


def _check_shared_fields(documents: dict[str, DocumentMapping], faults: list[GatewayError] | None) -> None:
    """Raise GW502, or add it to `faults`, where shared fields are incompatible with an earlier document."""
    earlier: dict[tuple[str, str], UniqueField] = {}
    for document in list(documents.values()):
        try:
            check_shared_fields(document, earlier)
        except GatewayError as error:
            if faults is None:
                raise
            faults.append(error)
            del documents[document.id]


def _read_field_decisions(
    files: _BundleFiles, documents: Mapping[str, DocumentMapping] | None
) -> dict[tuple[str, str], str]:
    """Return the decision about each field of a form and its reason, by document and field.

    A row names one of `documents`, where these are known.
    """
    name, columns = "reconciled.csv", ("document", "field", "decision", "reason")
    decisions: dict[tuple[str, str], str] = {}
    for line, (document, field_name, decision, reason) in read_numbered_rows(
        files.read_file(name), name, columns
    ):
        if documents is not None and document not in documents:
            raise SourceMark(name, line).make_error("document", "a document of the mappings", document)
        decisions[document, field_name] = f"{decision} ({reason})"
    return decisions


def _select_common_decisions(decisions: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Return the decisions about fields that are common and so not asked, by document and element name."""
    return {
        (document, ".".join(to_element_name(part) for part in name.split("."))): decision
        for (document, name), decision in decisions.items()
        if decision.startswith("common")
    }


class _BundleFiles:
    """Reads files below a folder, each once, and caches their content for the digest."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._contents: dict[str, bytes] = {}

    def read_file(self, name: str) -> bytes:
        """Return the content of a file below the folder."""
        if name not in self._contents:
            parts = name.split("/")
            if any(part in ("", ".", "..") for part in parts):
                raise GatewayError(
                    MAPPING_WRONG, f"file: expected a name inside the folder, found {name}", name
                )
            try:
                self._contents[name] = self._folder.joinpath(*parts).read_bytes()
            except OSError as error:
                reason = error.strerror or "not readable"
                raise GatewayError(
                    MAPPING_WRONG, f"file: expected {name}, found none ({reason})", name
                ) from None
        return self._contents[name]

    def read_yaml_file(self, name: str) -> YamlNode:
        """Return the root of a YAML file below the folder."""
        return read_yaml(self.read_file(name), name)

    def compute_digest(self) -> str:
        """Return the SHA-256 over names and contents of all files read."""
        total = hashlib.sha256()
        for name in sorted(self._contents):
            total.update(f"{name} {hashlib.sha256(self._contents[name]).hexdigest()}\n".encode())
        return total.hexdigest()


def _walk_files(
    folder: Traversable, prefix: str, endings: tuple[str, ...]
) -> Iterator[tuple[str, Traversable]]:
    """Yield each file below `folder` whose name ends with one of `endings`: its name, then the file.

    A name is the path from the folder, with `prefix` before it.
    """
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk_files(entry, f"{prefix}{entry.name}/", endings)
        elif entry.name.endswith(endings):
            yield f"{prefix}{entry.name}", entry


def _read_organisations(node: YamlNode) -> dict[str, Organisation]:
    """Return the organisations by code; raise GW502 for a wrong entry.

    The key ``today`` (present name of an organisation) is for human readers only; it is allowed and not used.
    """
    top = node.read_table("organisations")
    organisations = {}
    for code, value, mark in (
        top.get_required("organisations").read_table("organisations").take_unread_items()
    ):
        if not _NAME.fullmatch(code):
            raise mark.make_error("organisations", "a code of letters, digits, - _ and .", code)
        table = value.read_table(code)
        kind = table.get_required("kind").read_choice("kind", ("government", "commissioned"))
        names = table.get_required("ko").read_text("ko"), table.get_required("en").read_text("en")
        wants_clearance = table.read_choice("wants_clearance", ("true", "false")) == "true"
        organisations[code] = Organisation(code, *names, kind, wants_clearance)
        table.read_text("today")
        table.reject_unread_keys()
    top.reject_unread_keys()
    return organisations


def check_accepted_notices(document: DocumentMapping, notices: NoticeCatalog) -> None:
    """Raise GW502 for a notice that is not declared, or a certificate that does not fit the request.

    The request must have every element that the certificate always repeats.
    """
    for name, mark in document.accepted_notices.list_named_notices():
        if name not in notices.notices:
            raise mark.make_error("reads", "a notice of notices.yaml", name)
    for code, mark in document.accepted_notices.type_codes:
        if find_type_code(document) is not None:
            raise mark.make_error("type_codes", "none beside the TypeCode of the requests", code)
    if document.accepted_notices.certificate is None:
        return
    name, mark = document.accepted_notices.certificate
    notice = notices.notices[name]
    if notice.role != "certificate":
        raise mark.make_error("certificate", "a notice whose role is certificate", f"{name} ({notice.role})")
    request_paths = _collect_element_paths(document.root, "")
    for path in _list_repeated_paths(notice):
        if path not in request_paths:
            raise mark.make_error("certificate", f"{path} in the request, which {name} repeats", "none")
    if (
        request_paths
        and find_type_code(document) is None
        and any(line.request_path for line in notice.root.list_lines())
    ):
        raise mark.make_error("certificate", "a request that names its kind (TypeCode)", "none")


def _list_repeated_paths(notice: NoticeMapping) -> list[str]:
    """Return the request paths that mandatory lines of a notice repeat (of a split text, its first path)."""
    paths: list[str] = []
    for line in notice.root.list_lines():
        if line.request_path and line.requirement.mandatory:
            base, _, split = line.request_path.partition("{")
            paths.append(base + split.rstrip("}").split(",")[0])
    return paths


def _collect_element_paths(target: TargetElement, path: str) -> frozenset[str]:
    """Return the path of every element below `target`, from the root and without its name."""
    paths = {path}
    for child in target.children:
        paths |= _collect_element_paths(child, f"{path}/{child.name}{child.path_predicates}".lstrip("/"))
    return frozenset(paths)


def check_shared_fields(document: DocumentMapping, earlier: dict[tuple[str, str], UniqueField]) -> None:
    """Raise GW502 for a shared field that is incompatible with the `earlier` field of its meaning.

    The shared fields of `document` are added to `earlier`, by direction and meaning.
    """
    for ask in document.asks:
        if ask.shared:
            _check_compatible_fields(earlier.setdefault((document.direction, ask.means), ask), ask)


def _check_compatible_fields(first: UniqueField, second: UniqueField) -> None:
    """Raise GW502 unless two shared fields of one meaning have the same type, level and fixed unit.

    Their members that match are compared, too.
    """
    for aspect, first_value, second_value in (
        ("type", first.type, second.type),
        ("per", first.home, second.home),
        ("unit that need not be written", first.fixed_unit, second.fixed_unit),
    ):
        if first_value != second_value:
            expected = f"the {aspect} of {first.means} that is shared ({first.mark}): {first_value or 'none'}"
            raise second.mark.make_error(second.name, expected, second_value or "none")
    for member in second.fields:
        like = find_matching_member(member, first.fields)
        if like is not None:
            _check_compatible_fields(like, member)
