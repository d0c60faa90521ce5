"""Schemas, compiled one at a time, and sets of them: lxml validates, xmlschema explains violations.

A set is compiled once from one entry file and the files it imports. Every import is resolved
inside the folder of the entry file; no URL in a schema or a message is fetched.
"""

from __future__ import annotations

import csv
import io
import re
import threading
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, SETTINGS_WRONG, GatewayError, Problem, raise_resource_problem
from gateway.share import get_data_folder
from gateway.wire.element_access import build_xpath
from gateway.wire.namespaces import XSD
from gateway.wire.schema_validation import LibxmlViolation, find_violation
from gateway.wire.violation_words import describe_schema_violation, find_concerned_element

if TYPE_CHECKING:
    from gateway.wire.schema_error_messages import ViolationExplainer


_COMPILATION_LOCK: Final = threading.Lock()
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
_MINIMAL_SCHEMA: Final = b'<schema xmlns="http://www.w3.org/2001/XMLSchema"><element name="a"/></schema>'


def compile_schema(source: bytes | Path) -> etree.XMLSchema:
    """Return the compiled schema of a document: octets that refer to no other document, or a file.

    Raises the exception of lxml when the document is not a schema.
    """
    with _COMPILATION_LOCK:
        if isinstance(source, Path):
            return etree.XMLSchema(etree.parse(str(source), _PARSER))
        return etree.XMLSchema(etree.fromstring(source, _PARSER))


# libxml2 sets up its table of built-in types when the first schema is compiled, without a lock. Two threads
# that do so at the same time can corrupt it for the whole process ("the given type is not a built-in type").
compile_schema(_MINIMAL_SCHEMA)


_REFERENCE_TAGS: Final = tuple(f"{{{XSD}}}{name}" for name in ("include", "import", "redefine"))
_RELATIVE_PATH: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_MAX_VIOLATIONS: Final = 50
_MAX_MESSAGE_LENGTH: Final = 500
_WHITE_SPACE: Final = re.compile("[ \t\n\r]+")


def collapse_whitespace(text: str) -> str:
    """Return the value of an xs:token, as schemas collapse white space (XML Schema part 2 §4.3.6).

    Only the white space of XML collapses. Other spaces, such as U+00A0, are characters of the
    value: removing them would make two names equal.
    """
    return _WHITE_SPACE.sub(" ", text).strip(" ")


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """One violation of a schema: its line, its XPath and its text."""

    line: int
    xpath: str
    message: str


class SchemaSet:
    """The schemas reachable from one entry file of a folder."""

    def __init__(self, folder: Traversable, entry: str, problem: Problem) -> None:
        self.entry = entry
        self._folder = folder
        self._problem = problem
        self._schema = _compile_entry(folder, entry)

    @classmethod
    def load_cached(cls, folder: Traversable, entry: str, problem: Problem = DOCUMENT_INVALID) -> SchemaSet:
        """Return the set of an entry file, compiled once in each process.

        `validate_document` of the set raises `problem`.
        """
        cache_key = (str(folder), entry, problem.id)
        if cache_key not in _LOADED_SETS:
            _LOADED_SETS[cache_key] = cls(folder, entry, problem)
        return _LOADED_SETS[cache_key]

    def is_valid(self, root: etree._Element) -> bool:
        """Return whether the element `root` is valid as a document."""
        return find_violation(self._schema, root) is None

    def validate_document(self, root: etree._Element) -> None:
        """Raise the problem of this set, with the first violation, unless `root` is valid."""
        libxml_violation = find_violation(self._schema, root)
        if libxml_violation is not None:
            first_violation = _make_first_violation(libxml_violation, root)
            raise GatewayError(
                self._problem,
                f"line {first_violation.line}: {first_violation.message}",
                first_violation.xpath,
            )

    def list_violations(self, root: etree._Element) -> list[SchemaViolation]:
        """Return the first fifty violations of `root`; an empty list when it is valid."""
        libxml_violation = find_violation(self._schema, root)
        if libxml_violation is None:
            return []
        explained_violations = map(
            _make_explained_violation, self._violation_explainer.list_violations(root, _MAX_VIOLATIONS)
        )
        # A derived type reports the same pattern twice.
        return list(dict.fromkeys(explained_violations)) or [_make_first_violation(libxml_violation, root)]

    @cached_property
    def _violation_explainer(self) -> ViolationExplainer:
        # Imported here because it takes a tenth of a second and most processes never explain a violation.
        from gateway.wire.schema_error_messages import ViolationExplainer

        if not isinstance(self._folder, Path):
            raise GatewayError(
                SETTINGS_WRONG, "schemas can be explained from a folder on disk only", self.entry
            )
        return ViolationExplainer(self._folder, self.entry)


def _make_first_violation(libxml_violation: LibxmlViolation, root: etree._Element) -> SchemaViolation:
    return SchemaViolation(
        libxml_violation.line or _get_line_number(root),
        libxml_violation.path or build_xpath(root),
        _shorten_message(libxml_violation.message),
    )


def _make_explained_violation(error: Any) -> SchemaViolation:
    """Return the violation for an `error` of xmlschema; its line is 0 where the element is unknown."""
    element = find_concerned_element(error)
    has_element = isinstance(element, etree._Element)
    return SchemaViolation(
        _get_line_number(element) if has_element else 0,
        build_xpath(element) if has_element else str(error.path or ""),
        _shorten_message(describe_schema_violation(error)),
    )


_LOADED_SETS: Final[dict[tuple[str, str, str], SchemaSet]] = {}


def _compile_entry(folder: Traversable, entry_file: str) -> etree.XMLSchema:
    """Compile the file `entry_file` of the folder with the files it includes and imports.

    The files are loaded by path, not through custom resolvers: libxml2 has one loader for the
    whole process, and a parse in another thread removes a custom one in the middle of a
    compilation.
    """
    if not isinstance(folder, Path):
        raise GatewayError(SETTINGS_WRONG, "schemas may be read only from a folder on disk", entry_file)
    folder_path = folder.resolve()
    if (
        ".." in Path(entry_file).parts
        or not (folder_path / entry_file).is_relative_to(folder_path)
        or not (folder_path / entry_file).is_file()
    ):
        raise GatewayError(SETTINGS_WRONG, "the schema is not there", entry_file)
    try:
        _check_schema_references(folder_path, folder_path / entry_file)
        return compile_schema(folder_path / entry_file)
    except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise_resource_problem(error)
        raise GatewayError(
            SETTINGS_WRONG, f"the schema cannot be read: {_shorten_message(str(error))}", entry_file
        ) from None


def _check_schema_references(folder_path: Path, entry_file: Path) -> None:
    """Raise GW801 when a schema of the set refers to something that is not a file of the folder."""
    checked_files: set[Path] = set()
    pending_files = [entry_file]
    while pending_files:
        schema_file = pending_files.pop()
        if schema_file in checked_files:
            continue
        checked_files.add(schema_file)
        for reference in etree.fromstring(schema_file.read_bytes(), _PARSER).iter(*_REFERENCE_TAGS):
            schema_location = reference.get("schemaLocation")
            if schema_location is not None:
                pending_files.append(_resolve_schema_location(folder_path, schema_file, schema_location))


def _resolve_schema_location(folder_path: Path, referring_path: Path, schema_location: str) -> Path:
    """Return the file to which a schema refers; raise GW801 unless it is in the folder of the schemas."""
    schema_path = (referring_path.parent / schema_location).resolve()
    if (
        not _RELATIVE_PATH.fullmatch(schema_location)
        or not schema_path.is_relative_to(folder_path)
        or not schema_path.is_file()
    ):
        referring_file = referring_path.relative_to(folder_path).as_posix()
        raise GatewayError(
            SETTINGS_WRONG,
            f"a schema refers to {schema_location[:120]!r}, which is not a file here",
            referring_file,
        )
    return schema_path


def _get_line_number(element: Any) -> int:
    return int(element.sourceline or 0)  # bounded: a line number of libxml2


def _shorten_message(message: str) -> str:
    return " ".join(message.split())[:_MAX_MESSAGE_LENGTH]


DECLARATION: Final = "wco/submit.xsd"
"""A declaration in its metadata envelope, or bare."""
ANSWER: Final = "wco/answer.xsd"
"""Responses of customs in their metadata envelope, or one bare."""
SUBMISSION: Final = "hub/submission.xsd"
"""A submission; the fields of its applications are validated by the documents' own schemas."""
RESULT: Final = "hub/result.xsd"
"""A result or a notice to the applicant."""

FILING_RECEIPT: Final = "hub/receipt.xsd"
"""The receipt of a submission that came without ebXML."""


@cache
def load_shipped_schemas(entry_file: str) -> SchemaSet:
    """Return the shipped schemas of `entry_file`, one of the names of this module."""
    return SchemaSet.load_cached(get_data_folder("xsd"), entry_file)


@cache
def load_code_list(list_name: str) -> frozenset[str]:
    """Return the codes of a shipped list, such as ``iso3166`` or ``iso4217``."""
    csv_text = (
        get_data_folder("mappings").joinpath("codelists", f"{list_name}.csv").read_text(encoding="utf-8")
    )
    return frozenset(row["code"] for row in csv.DictReader(io.StringIO(csv_text)))
