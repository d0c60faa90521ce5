"""Reads and writes the files that verbs name; a file that cannot be read or written is GW808."""

from __future__ import annotations

import json
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.agreements import AgreementDocument, is_peer_pmode, read_agreement, read_peer_pmode
from gateway.cli.shared_options import FILE
from gateway.errors import EVIDENCE_BROKEN, MISUSE, GatewayError, make_path_problem
from gateway.file_owner import make_owned_folder, open_owned_file
from gateway.harmonize import DocumentMapping, MappingBundle, load_bundle
from gateway.share import get_data_folder

if TYPE_CHECKING:
    from gateway.cli.verb_groups import Arguments
    from gateway.pki import Certificate, Signer, TrustPolicy

#: Four times the longest message by default: input of that size is refused much earlier.
_LONGEST_FILE: Final = 256 * 1024 * 1024
#: The mode of a new file, before the umask of the process is applied.
_FILE_MODE: Final = 0o666


def read_file(path: Path) -> bytes:
    """Return the octets of a file; raise GW808 if it cannot be read or is larger than the limit."""
    try:
        with path.open("rb") as file:
            octets = file.read(_LONGEST_FILE + 1)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "read", mistake) from None
    if len(octets) > _LONGEST_FILE:
        raise GatewayError(MISUSE, f"{path} has more than {_LONGEST_FILE:,} octets", str(path))
    return octets


def write_file(path: Path, content: bytes, *, location: str = "", make_folder: bool = False) -> None:
    """Write a file, and its folder if requested; the problem names `location`, or the path."""
    try:
        if make_folder:
            make_owned_folder(path.parent)
        with os.fdopen(open_owned_file(path, os.O_WRONLY | os.O_TRUNC, _FILE_MODE), "wb") as file:
            file.write(content)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "written", mistake, location) from None


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically: a reader finds the old or the new octets, even after a power failure."""
    new_file = path.with_name(path.name + ".new")
    try:
        make_owned_folder(path.parent)
        flags = os.O_WRONLY | os.O_TRUNC
        with os.fdopen(open_owned_file(new_file, flags, _FILE_MODE, owner_path=path), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new_file, path)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "written", mistake) from None


@contextmanager
def add_file_name_to_problem(path: Path) -> Iterator[None]:
    """Add the file name to a problem that the block raises; leave GW808 and a detail with the name as is."""
    try:
        yield
    except GatewayError as problem:
        if problem.problem is MISUSE or str(path) in problem.detail:
            raise
        detail = f"{path}: {problem.detail}"
        raise GatewayError(
            problem.problem, detail, problem.location, theirs=problem.theirs, code=problem.code or ""
        ) from problem


def split_named_file(option_value: str, option: str) -> tuple[str, Path]:
    """Return name and path of ``cid=FILE``; raise GW808 that names the option."""
    content_id, equals, path = option_value.partition("=")
    if not (content_id and equals and path):
        raise GatewayError(MISUSE, f"{option} is cid=FILE, not {option_value[:80]!r}", option)
    return content_id, Path(path)


def read_certificate_files(files: Iterable[Path]) -> tuple[Certificate, ...]:
    """Return the certificates in files, PEM or DER, in their order."""
    from gateway.pki import read_certificates

    certificates: list[Certificate] = []
    for each in files:
        with add_file_name_to_problem(each):
            certificates += read_certificates(read_file(each))
    return tuple(certificates)


def read_certificate_file(path: Path) -> Certificate:
    """Return the one certificate in a file, PEM or DER."""
    from gateway.pki import read_certificate

    with add_file_name_to_problem(path):
        return read_certificate(read_file(path))


def read_anchor_files(paths: Iterable[Path], option: str = "") -> list[bytes]:
    """Return the octets of certificate files; raise GW808 for a file without a readable certificate."""
    from gateway.pki import read_certificates

    anchors = []
    for path in paths:
        anchors.append(read_file(path))
        try:
            read_certificates(anchors[-1])
        except GatewayError as wrong:
            raise GatewayError(MISUSE, f"{path}: {wrong.detail}", option or str(path)) from wrong
    return anchors


def read_policy_octets(data: bytes, name: str) -> TrustPolicy:
    """Return the trust policy in the octets of a file; raise GW808 if it is wrong."""
    from gateway.pki import read_policy

    try:
        return read_policy(data, name)
    except GatewayError as wrong:
        raise GatewayError(MISUSE, wrong.detail, wrong.location) from wrong


def read_signers(files: Iterable[Path]) -> set[Certificate]:
    """Return the certificates in files, each once."""
    return set(read_certificate_files(files))


def read_password_file(path: Path) -> bytes:
    """Return the password in a file, without a UTF-8 mark before it and line ends after it."""
    return read_file(path).removeprefix(BOM_UTF8).rstrip(b"\r\n")


def load_key_file(arguments: Arguments) -> Signer:
    """Return the signer that ``--key``, ``--certificate`` and ``--password-file`` name."""
    from gateway.pki import load_signer

    certificate = read_certificate_file(arguments.certificate).der if arguments.certificate else None
    password = read_password_file(arguments.password_file) if arguments.password_file else None
    with add_file_name_to_problem(arguments.key):
        return load_signer(read_file(arguments.key), certificate, password)


def read_head_text(file: Path) -> str:
    """Return a tree head as text, from a file that is the head or a proof with it; raise GW805 without it."""
    text = read_file(file).decode("utf-8", errors="replace")
    if not text.lstrip().startswith("{"):
        return text
    head = read_proof_document(file).get("head")
    if not isinstance(head, str):
        raise GatewayError(EVIDENCE_BROKEN, "it holds no head", str(file)[-120:])
    return head


def read_proof_document(file: Path) -> dict[str, Any]:
    """Return the proof in a file; raises GW805 for a file that holds none."""
    try:
        document = json.loads(read_file(file))
    except (ValueError, RecursionError):
        raise GatewayError(EVIDENCE_BROKEN, "it is not JSON", str(file)[-120:]) from None
    if not isinstance(document, dict):
        raise GatewayError(EVIDENCE_BROKEN, "it is not a proof of a gateway", str(file)[-120:])
    return document


def mapping_path_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return ``--path``."""
    return click.option("--path", type=FILE, help="a folder of mappings instead of the shipped ones")


def find_mapping_folder(path: Path | None) -> Traversable:
    """Return a folder of mappings, the shipped one for None; raise GW808 where there is no folder."""
    if path is None:
        return get_data_folder("mappings")
    if not path.is_dir():
        detail = f"{path} is no folder" if path.exists() else f"there is no folder {path}"
        raise GatewayError(MISUSE, detail, str(path))
    return path


def load_mappings(path: Path | None) -> MappingBundle:
    """Return the mappings of a folder; raise GW502 with file, line and field."""
    return load_bundle(find_mapping_folder(path))


def find_document(bundle: MappingBundle, document_id: str, location: str) -> DocumentMapping:
    """Return a document by its id; raise GW808 with the known ids."""
    if document_id not in bundle.documents:
        document_names = ", ".join(bundle.documents)
        raise GatewayError(MISUSE, f"no document {document_id[:70]!r}; known: {document_names}", location)
    return bundle.documents[document_id]


def read_agreement_file(data: bytes, name: str, at: datetime) -> AgreementDocument:
    """Return the agreement in a file; one that says no period is in force from `at`. Raises GW808."""
    return read_peer_pmode(data, name, at) if is_peer_pmode(data) else read_agreement(data, name)
