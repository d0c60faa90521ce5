"""Loads the mappings and rules of need in force: the shipped ones, or those that an operator activated.

A folder is packed into one archive and stored in the database under the digest of its bundle. Every
process reads the archive, so the folder is not needed afterwards, and all processes split by the
same files. Rules of need are read when they are first asked for: most verbs never ask.
"""

from __future__ import annotations

import csv
import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Final, TypeVar

from sqlalchemy import Connection

from gateway.cases import CustomsCode, StatusCode, read_customs_codes, read_parent_codes, read_status_codes
from gateway.errors import (
    MAPPING_WRONG,
    STORED_MAPPINGS_UNREAD,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.harmonize import MappingBundle, load_bundle
from gateway.hub.register.bundle_file import MAX_FILES, MAX_OCTETS, unpack_mapping_archive
from gateway.needs import (
    MappedDocument,
    NeedIndex,
    NeedRules,
    NeedTable,
    TableNames,
    load_need_rules,
    read_need_table,
)
from gateway.share import get_data_folder
from gateway.store import dated_editions, mapping_bundles

#: A folder of mappings that has this file has rules of need of its own.
LAWS_FILE: Final = "needs/laws.csv"


class ActiveNeeds:
    """The rules of need of a folder of mappings, the shipped ones where it has none; thread-safe."""

    def __init__(self, folder: Traversable, bundle: MappingBundle, loaded: Sequence[NeedTable] = ()) -> None:
        is_own = folder.joinpath(*LAWS_FILE.split("/")).is_file()
        self._folder = folder if is_own else get_data_folder("mappings")
        self._bundle = bundle
        self._loaded = tuple(loaded)
        self._rules: NeedRules | None = None
        self._indexes: dict[bool, NeedIndex] = {}
        self._reading = threading.Lock()

    def replace_tables(self, loaded: Sequence[NeedTable]) -> ActiveNeeds:
        """Return the rules with other loaded tables."""
        renewed = ActiveNeeds(self._folder, self._bundle, loaded)
        renewed._rules = self._rules
        return renewed

    def get_rules(self) -> NeedRules:
        """Return the law book and the tables of the folder; raises GW512 with file, line and column."""
        with self._reading:
            return self._read_rules()

    def get_index(self, *, test_editions: bool = True) -> NeedIndex:
        """Return the index of all tables, without those marked as test editions where asked; raises GW512."""
        with self._reading:
            index = self._indexes.get(test_editions)
            if index is None:
                rules = self._read_rules()
                index = rules.make_index(self._loaded, test_editions=test_editions)
                self._indexes[test_editions] = index
            return index

    def _read_rules(self) -> NeedRules:
        """Return the needs rules of the folder, read at the first call; the caller holds the lock."""
        if self._rules is None:
            documents = self._bundle.documents.values()
            mapped_documents = [
                MappedDocument(document.id, document.organisation, document.direction, document.laws)
                for document in documents
            ]
            self._rules = load_need_rules(self._folder, mapped_documents)
        return self._rules


def make_table_names(needs: ActiveNeeds, bundle: MappingBundle) -> TableNames:
    """Return the names that the rows of a table may use: laws, documents, organisations, countries."""
    countries = bundle.lists.get("iso3166")
    book = needs.get_rules().book
    return TableNames(
        frozenset(book.laws),
        frozenset(bundle.documents),
        frozenset(bundle.organisations),
        frozenset(countries.code_set) if countries is not None else frozenset(),
        {key: {code: book.organisations[code] for code in codes} for key, codes in book.documents.items()},
    )


_ENDINGS: Final = (".yaml", ".csv")
_Codes = TypeVar("_Codes")
#: The table of the status codes of agencies, in a folder of mappings.
STATUS_CODES: Final = "codelists/requirement-status.csv"
#: The table of the codes of customs, in a folder of mappings.
_CUSTOMS_CODES: Final = "codelists/customs-code.csv"
#: The table of the documents that an item of a declaration may name as previous ones.
_PREVIOUS_DOCUMENTS: Final = "codelists/previous-document.csv"
_SHIPPED_WHERE_MISSING: Final = (STATUS_CODES, _CUSTOMS_CODES, _PREVIOUS_DOCUMENTS)
#: A fixed time, so that the archive depends on names and contents alone.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


def _load_customs_codes(folder: Traversable) -> Mapping[str, CustomsCode]:
    return _read_table(folder, _CUSTOMS_CODES, read_customs_codes)


def _load_parent_codes(folder: Traversable) -> frozenset[str]:
    return _read_table(folder, _PREVIOUS_DOCUMENTS, read_parent_codes)


def _read_table(folder: Traversable, table_path: str, read: Callable[[str, str], _Codes]) -> _Codes:
    """Return the content of a table of a folder; of the shipped table where the folder has none."""
    parts = table_path.split("/")
    own_file = folder.joinpath(*parts)
    table = own_file if own_file.is_file() else get_data_folder("mappings").joinpath(*parts)
    try:
        return read(table.read_text(encoding="utf-8-sig"), table_path)
    except (UnicodeDecodeError, csv.Error) as error:
        detail = f"no table in CSV and UTF-8: {describe_exception(error)}"
        raise GatewayError(MAPPING_WRONG, detail, table_path) from None


def _load_shipped_customs_codes() -> Mapping[str, CustomsCode]:
    return _load_customs_codes(get_data_folder("mappings"))


def _load_shipped_parent_codes() -> frozenset[str]:
    return _load_parent_codes(get_data_folder("mappings"))


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """The data the hub decides by: mappings, status codes, rules of need, and the codes of customs.

    `version` is the digest of the mappings in the database, and `tables` are the numbers of the tables
    of needs in it. `parent_codes` are the type codes of a document that names the case whose items a
    declaration takes. `folder` is the folder that the mappings were read from, where it is known.
    """

    bundle: MappingBundle
    status_codes: Mapping[str, StatusCode]
    needs: ActiveNeeds
    version: str | None = None
    tables: tuple[int, ...] = ()
    customs_codes: Mapping[str, CustomsCode] = field(default_factory=_load_shipped_customs_codes)
    parent_codes: frozenset[str] = field(default_factory=_load_shipped_parent_codes)
    folder: Traversable | None = field(default=None, compare=False, repr=False)


def load_shipped_rules() -> DecisionRules:
    """Return the rules that are shipped with the program."""
    return load_rules(get_data_folder("mappings"))


def load_rules(folder: Traversable, version: str | None = None) -> DecisionRules:
    """Return the rules of a folder; raises GW502 naming file, line and field.

    A stored bundle keeps the digest under which it was stored, its `version`: another version of the program
    may compute it from other files.
    """
    bundle = load_bundle(folder)
    if version is not None:
        bundle = replace(bundle, digest=version)
    needs = ActiveNeeds(folder, bundle)
    return DecisionRules(
        bundle,
        load_status_codes(folder),
        needs,
        version,
        customs_codes=_load_customs_codes(folder),
        parent_codes=_load_parent_codes(folder),
        folder=folder,
    )


def load_status_codes(folder: Traversable) -> Mapping[str, StatusCode]:
    """Return the status codes of a folder, the shipped ones where it has none; raises GW502."""
    return _read_table(folder, STATUS_CODES, read_status_codes)


def load_active_rules(conn: Connection, current_rules: DecisionRules, at: datetime) -> DecisionRules:
    """Return the rules in force at a time; this is `current_rules` when they are unchanged."""
    version = mapping_bundles.find_active_digest(conn, at)
    return renew_need_tables(
        conn, current_rules if version == current_rules.version else load_stored_rules(conn, version)
    )


def load_stored_rules(conn: Connection, version: str | None) -> DecisionRules:
    """Return the rules of a stored bundle, the shipped ones without a digest.

    Raises GW904 for one that was stored by an earlier version of the program and does not load in this one.
    The tables of needs that operators loaded are not read: `renew_need_tables` adds them.
    """
    if version is None:
        return load_shipped_rules()
    folder = open_stored_mappings(conn, version)
    try:
        return load_rules(folder, version)
    except GatewayError as error:
        raise_resource_problem(error)
        raise make_unread_problem(error, version) from error


def make_unread_problem(error: GatewayError, version: str) -> GatewayError:
    """Return GW904 for stored mappings of this digest that do not load for an error (GW502)."""
    location = f"{error.location} of bundle {version[:16]}" if error.location else f"bundle {version[:16]}"
    return GatewayError(STORED_MAPPINGS_UNREAD, f"{error.problem.id} {error.detail}", location)


def renew_need_tables(conn: Connection, rules: DecisionRules) -> DecisionRules:
    """Return the rules with the tables of needs that operators loaded; `rules` when they are unchanged."""
    tables = dated_editions.list_need_table_ids(conn)
    if rules.tables == tables:
        return rules
    return replace(rules, needs=rules.needs.replace_tables(_load_need_tables(conn)), tables=tables)


def _load_need_tables(conn: Connection) -> list[NeedTable]:
    """Return the tables of needs that operators loaded; they were checked when they were loaded."""
    return [
        read_need_table(content, label) for label, content in dated_editions.list_need_table_contents(conn)
    ]


def complete_mapping_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a folder of mappings, and the shipped ones that hold where it has none."""
    complete = dict(files)
    shipped = get_data_folder("mappings")
    if LAWS_FILE not in complete:
        needs = list_mapping_files(shipped.joinpath("needs"))
        complete |= {f"needs/{name}": file.read_bytes() for name, file in needs}
    for name in _SHIPPED_WHERE_MISSING:
        if name not in complete:
            complete[name] = shipped.joinpath(*name.split("/")).read_bytes()
    return complete


def open_active_mappings(conn: Connection, at: datetime) -> Traversable:
    """Return the folder of mappings in force at a time, as it was stored; the shipped one where none was."""
    return open_stored_mappings(conn, mapping_bundles.find_active_digest(conn, at))


def open_stored_mappings(conn: Connection, version: str | None) -> Traversable:
    """Return the folder of a stored bundle; the shipped one without a digest."""
    if version is None:
        return get_data_folder("mappings")
    octets = mapping_bundles.find_bundle_content(conn, version)
    if octets is None:
        raise GatewayError(MAPPING_WRONG, f"the bundle {version[:16]} is in force but not stored", version)
    return unpack_mapping_archive(octets)


def pack_mapping_folder(folder: Traversable) -> bytes:
    """Return the files of a mapping folder as one archive; the same files give the same octets."""
    packed, total = io.BytesIO(), 0
    files = list_mapping_files(folder)
    if len(files) > MAX_FILES:
        raise GatewayError(MAPPING_WRONG, f"the folder contains more than {MAX_FILES} files", "")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files:
            content = file.read_bytes()
            total += len(content)
            if total > MAX_OCTETS:
                raise GatewayError(MAPPING_WRONG, f"the folder contains more than {MAX_OCTETS} octets", name)
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def pack_shipped_rules(rules: DecisionRules) -> bytes | None:
    """Return the folder of rules as one archive; None where the folder has other files than it had when read.

    Its files may have been replaced while the program runs.
    """
    if rules.folder is None:
        return None
    octets = pack_mapping_folder(rules.folder)
    return octets if load_bundle(unpack_mapping_archive(octets)).digest == rules.bundle.digest else None


def list_mapping_files(folder: Traversable) -> list[tuple[str, Traversable]]:
    """Return the files of a mapping folder that are stored, with their names below it, in order."""
    return sorted(_walk_mapping_files(folder, ""), key=lambda entry: entry[0])


def _walk_mapping_files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    """Yield the mapping files in a folder and below, each name with `prefix` before it."""
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk_mapping_files(entry, f"{name}/")
        elif entry.name.endswith(_ENDINGS):
            yield name, entry
