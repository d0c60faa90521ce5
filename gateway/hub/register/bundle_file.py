"""A bundle of mappings as one file: address, dates, results of the proofs, content and signature.

The file is one XML document, signed like a Result (XAdES-B over all of it). The content is the archive that
the database stores. The results of the proofs in the file are shown and never trusted: every hub that loads
the mappings proves them again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any, Final

from lxml import etree

from gateway.errors import (
    BUNDLE_FILE_WRONG,
    MAPPING_WRONG,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.harmonize import PROOFS, ProofReport
from gateway.pki import Certificate, Signer
from gateway.share import MemoryPath
from gateway.wire import DS, begin_day, format_instant, parse_xml, serialize_element
from gateway.xmlsec import sign_document, verify_document

_SPACE: Final = "urn:single-window:mapping-bundle:1"
_B: Final = f"{{{_SPACE}}}"
_ROOT: Final = f"{_B}MappingBundle"
_SIGNATURE: Final = f"{{{DS}}}Signature"
#: The elements of the file in their order; the dates are optional.
_PARTS: Final = ("Address", "Made", "From", "Until", "Proofs", "Content")
_OPTIONAL: Final = frozenset({"From", "Until"})
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_HOLDS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class StatedProofResult:
    """The result of one proof as a file states it: whether it held, and how many obligations were checked."""

    holds: bool
    checked: int


@dataclass(frozen=True, slots=True)
class BundleTerms:
    """The statements of a file about its content: address, time of making, begin and end of its use.

    A day begins at midnight in the zone of the hub that uses the file.
    """

    address: str
    made_at: datetime
    starts: date | None = None
    ends: date | None = None

    def find_start(self, zone: tzinfo) -> datetime | None:
        """Return the first time at which a hub of this zone may use the content; None for at once."""
        return find_day_start(self.starts, zone)

    def find_end(self, zone: tzinfo) -> datetime | None:
        """Return the time from which a hub of this zone may not activate the content; None for never."""
        return find_day_start(self.ends, zone)


def find_day_start(day: date | None, zone: tzinfo) -> datetime | None:
    """Return, in UTC, the midnight at which a day begins in a zone; a time as it is; None if it is None."""
    return day if day is None or isinstance(day, datetime) else begin_day(day, zone)


@dataclass(frozen=True, slots=True)
class BundleFile:
    """The content of a bundle file whose signature, if any, is right; its signer is not judged."""

    terms: BundleTerms
    proofs: Mapping[str, StatedProofResult]
    samples: int
    archive: bytes = field(repr=False)
    signer: Certificate | None = None
    signed_at: datetime | None = None


def is_bundle_file(octets: bytes) -> bool:
    """Return whether octets begin as an XML document does, and not as an archive."""
    return octets[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def write_bundle_file(
    terms: BundleTerms, archive: bytes, report: ProofReport, samples: int, signer: Signer | None
) -> bytes:
    """Return a bundle file, signed at the time when it is made where there is a signer.

    `report` is that of the proofs, `samples` the number of submissions that were drawn for each document.
    """
    # The stubs of lxml do not support the default namespace.
    names: Any = {None: _SPACE}
    root = etree.Element(_ROOT, nsmap=names)
    etree.SubElement(root, f"{_B}Address").text = terms.address
    for name, moment in (("Made", terms.made_at), ("From", terms.starts), ("Until", terms.ends)):
        if moment is not None:
            etree.SubElement(root, f"{_B}{name}").text = _write_date(moment)
    proofs = etree.SubElement(root, f"{_B}Proofs", samples=str(samples))
    for name, verdict in report.verdicts.items():
        proof = {"name": name, "holds": "true" if verdict.ok else "false", "checked": str(verdict.checked)}
        etree.SubElement(proofs, f"{_B}Proof", proof)
    content = etree.SubElement(root, f"{_B}Content", sha256=hashlib.sha256(archive).hexdigest())
    content.text = base64.encodebytes(archive).decode()
    if signer is not None:
        sign_document(root, signer, now=terms.made_at)
    return serialize_element(root)


def _write_date(day: date) -> str:
    if isinstance(day, datetime):
        return format_instant(day, "seconds")
    return day.isoformat()


def read_bundle_file(octets: bytes) -> BundleFile:
    """Return the content of a bundle file; raise GW515 where it is malformed, or not as it was signed.

    A file without a signature is read too: the caller decides whether it may be used.
    """
    try:
        root = parse_xml(octets)
        if root.tag != _ROOT:
            raise _make_fault(f"not a bundle file: its root is {str(root.tag)[:80]}", "/")
        signed = verify_document(root) if next(root.iter(_SIGNATURE), None) is not None else None
    except GatewayError as error:
        raise_resource_problem(error)
        if error.problem is BUNDLE_FILE_WRONG:
            raise
        detail = f"{error.detail} ({error.problem.id})"
        raise GatewayError(BUNDLE_FILE_WRONG, detail, error.location or "/MappingBundle") from error
    parts = _collect_parts(root)
    stated_results, samples = _read_proofs(parts["Proofs"])
    return BundleFile(
        BundleTerms(
            _read_digest(_read_text(parts["Address"]), "Address"),
            _read_instant(parts["Made"]),
            _read_date(parts["From"]) if "From" in parts else None,
            _read_date(parts["Until"]) if "Until" in parts else None,
        ),
        stated_results,
        samples,
        _read_content(parts["Content"]),
        None if signed is None else signed.certificate,
        None if signed is None else signed.signing_time,
    )


def _make_fault(detail: str, location: str) -> GatewayError:
    return GatewayError(BUNDLE_FILE_WRONG, detail, location)


def _collect_parts(root: etree._Element) -> dict[str, etree._Element]:
    """Return the elements of the file by name; raise GW515 unless they are all there, in their order."""
    held = [child for child in root if child.tag != _SIGNATURE]
    names = [str(child.tag).removeprefix(_B) for child in held]
    expected = [name for name in _PARTS if name in names or name not in _OPTIONAL]
    if names != expected:
        extra = next(
            (name for name, expected_name in zip(names, expected, strict=False) if name != expected_name), ""
        )
        detail = (
            f"expected the elements {', '.join(expected)} in this order, "
            f"found {extra[:80] or 'fewer or more'}"
        )
        raise _make_fault(detail, "/MappingBundle")
    if root.attrib:
        raise _make_fault("the root has an attribute", "/MappingBundle")
    return dict(zip(names, held, strict=True))


def _read_text(element: etree._Element, attributes: tuple[str, ...] = ()) -> str:
    """Return the text of an element without children, which has these attributes and no others."""
    name = str(element.tag).removeprefix(_B)
    if len(element):
        raise _make_fault(f"{name} has a child", f"/MappingBundle/{name}")
    _check_attributes(element, attributes)
    return (element.text or "").strip()


def _check_attributes(element: etree._Element, attributes: tuple[str, ...]) -> None:
    if sorted(map(str, element.attrib)) != sorted(attributes):
        name = str(element.tag).removeprefix(_B)
        detail = f"{name} has the attributes {', '.join(attributes) or 'none'} and no others"
        raise _make_fault(detail, f"/MappingBundle/{name}")


def _read_digest(text: str, name: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise _make_fault("not a SHA-256 in hexadecimal", f"/MappingBundle/{name}")
    return text


def _read_date(element: etree._Element) -> date:
    """Return the day, or the time, that the text of an element is."""
    text = _read_text(element)
    if not _DAY.fullmatch(text):
        return _read_instant(element)
    try:
        return date.fromisoformat(text)
    except ValueError:
        name = str(element.tag).removeprefix(_B)
        raise _make_fault(f"not a day: {text}", f"/MappingBundle/{name}") from None


def _read_instant(element: etree._Element) -> datetime:
    """Return the time in the text of an element, such as 2027-03-01T00:00:00Z; raise GW515 for others."""
    text = _read_text(element)
    try:
        if _INSTANT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # told below: a day that no month has
    name = str(element.tag).removeprefix(_B)
    raise _make_fault(f"not a time as 2027-03-01T00:00:00Z: {text[:40]!r}", f"/MappingBundle/{name}")


def _read_proofs(element: etree._Element) -> tuple[dict[str, StatedProofResult], int]:
    """Return the results that a bundle file states for all proofs, by name, and the number of samples.

    Raises GW515 unless each proof is there once, in order.
    """
    _check_attributes(element, ("samples",))
    stated_results: dict[str, StatedProofResult] = {}
    for child in element:
        if child.tag != f"{_B}Proof" or _read_text(child, ("name", "holds", "checked")):
            raise _make_fault("Proofs has empty elements Proof and no others", "/MappingBundle/Proofs")
        stated_results[str(child.get("name"))] = StatedProofResult(
            _read_flag(str(child.get("holds"))), _read_count(str(child.get("checked")))
        )
    if tuple(stated_results) != PROOFS or len(element) != len(PROOFS):
        raise _make_fault(f"the proofs are {', '.join(PROOFS)}, each once", "/MappingBundle/Proofs")
    return stated_results, _read_count(str(element.get("samples")))


def _read_flag(text: str) -> bool:
    if text not in _HOLDS:
        raise _make_fault(f"holds is true or false, not {text[:20]!r}", "/MappingBundle/Proofs")
    return _HOLDS[text]


def _read_count(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _make_fault(f"not a number: {text[:20]!r}", "/MappingBundle/Proofs")
    return int(text)


def _read_content(element: etree._Element) -> bytes:
    """Return the archive; raise GW515 unless it has the digest that the element states."""
    text = _read_text(element, ("sha256",))
    location = "/MappingBundle/Content"
    try:
        archive = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _make_fault("the content is not base64", location) from None
    if hashlib.sha256(archive).hexdigest() != _read_digest(str(element.get("sha256")), "Content"):
        raise _make_fault("the content has another digest than the file states", location)
    return archive


#: Real bundles have under 1 MB in 100 files; a larger folder is not a mapping folder.
MAX_FILES: Final = 2000
MAX_OCTETS: Final = 32 * 1024 * 1024
_MAX_NAME_CHARACTERS: Final = 200
#: The methods that every writer of ZIP archives has (APPNOTE 4.4.5); others need libraries of their own.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What `zipfile` raises for offsets, sizes, fields and compressed octets that are wrong.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def unpack_mapping_archive(octets: bytes) -> MemoryPath:
    """Return the content of an archive as a folder in memory; raise GW502 for one that cannot be opened.

    No file is longer than its entry says: the reader stops there.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(octets)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_entries(entries)
            return MemoryPath({entry.filename: archive.read(entry) for entry in entries})
    except _BROKEN as error:
        raise_resource_problem(error)
        detail = f"neither a file of `gateway map pack` nor a ZIP archive: {describe_exception(error)}"
        raise _make_archive_fault(detail) from None


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Raise GW502 for too many files or octets, and for names that are no paths of different files."""
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_OCTETS:
        raise _make_archive_fault("the archive contains too many files or octets")
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        name = entry.orig_filename
        shown_name = ascii(name[:80])
        if len(name) > _MAX_NAME_CHARACTERS or not name.isprintable() or "\\" in name:
            raise _make_archive_fault(f"a name that no file of mappings has: {shown_name}")
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise _make_archive_fault(f"a name that leads out of the folder, or to none: {shown_name}")
        if name in files:
            raise _make_archive_fault(f"two files have the name {shown_name}")
        if entry.compress_type not in _METHODS:
            raise _make_archive_fault(f"{shown_name} is compressed by another method than deflate")
        files.add(name)
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
    both = min(files & folders, default=None)
    if both is not None:
        raise _make_archive_fault(f"{both[:80]!a} is a file and a folder")


def _make_archive_fault(detail: str) -> GatewayError:
    return GatewayError(MAPPING_WRONG, detail, "archive")
