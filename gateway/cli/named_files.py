"""Reads and writes the files that verbs name; a file that cannot be read or written is GW808."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import MISUSE, GatewayError, make_path_problem

if TYPE_CHECKING:
    from gateway.cli.verb_groups import Arguments
    from gateway.pki import Certificate, Signer, TrustPolicy

__all__ = [
    "load_key_file",
    "name_file",
    "read_certificate_file",
    "read_certificate_files",
    "read_file",
    "read_policy_octets",
    "read_signers",
    "replace_file",
    "split_named_file",
    "write_file",
]

#: Four times the longest message by default: input of that size is refused much earlier.
_LONGEST_FILE: Final = 256 * 1024 * 1024


def read_file(path: Path) -> bytes:
    """Return the octets of a file; raise GW808 for one beyond the size limit."""
    try:
        with path.open("rb") as file:
            held = file.read(_LONGEST_FILE + 1)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "read", mistake) from None
    if len(held) > _LONGEST_FILE:
        raise GatewayError(MISUSE, f"{path} has more than {_LONGEST_FILE:,} octets", str(path))
    return held


def write_file(path: Path, content: bytes, *, location: str = "", make_folder: bool = False) -> None:
    """Write a file, and its folder if requested; the problem names `location`, or the path."""
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "written", mistake, location) from None


def replace_file(place: Path, data: bytes) -> None:
    """Replace a file atomically: a reader finds the old or the new octets, even after a power failure."""
    beside = place.with_name(place.name + ".new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(place, "written", mistake) from None


@contextmanager
def name_file(path: Path) -> Iterator[None]:
    """Put the name of the file into a problem of its content; misuse names its place itself."""
    try:
        yield
    except GatewayError as problem:
        if problem.problem is MISUSE or str(path) in problem.detail:
            raise
        detail = f"{path}: {problem.detail}"
        raise GatewayError(
            problem.problem, detail, problem.location, theirs=problem.theirs, code=problem.code or ""
        ) from problem


def split_named_file(text: str, option: str) -> tuple[str, Path]:
    """Return name and path of ``cid=FILE``; raise GW808 that names the option."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise GatewayError(MISUSE, f"{option} is cid=FILE, not {text[:80]!r}", option)
    return name, Path(path)


def read_certificate_files(files: Iterable[Path]) -> tuple[Certificate, ...]:
    """Return the certificates in files, PEM or DER, in their order."""
    from gateway.pki import read_certificates

    found: list[Certificate] = []
    for each in files:
        with name_file(each):
            found += read_certificates(read_file(each))
    return tuple(found)


def read_certificate_file(path: Path) -> Certificate:
    """Return the one certificate in a file, PEM or DER."""
    from gateway.pki import read_certificate

    with name_file(path):
        return read_certificate(read_file(path))


def read_policy_octets(data: bytes, name: str) -> TrustPolicy:
    """Return the trust policy that an option gives; one that is wrong is misuse of the verb, GW808."""
    from gateway.pki import read_policy

    try:
        return read_policy(data, name)
    except GatewayError as wrong:
        raise GatewayError(MISUSE, wrong.detail, wrong.location) from wrong


def read_signers(files: Iterable[Path]) -> set[Certificate]:
    """Return the certificates in files, each once."""
    return set(read_certificate_files(files))


def load_key_file(arguments: Arguments) -> Signer:
    """Return the signer that ``--key``, ``--certificate`` and ``--password-file`` name."""
    from gateway.pki import load_signer

    certificate = read_file(arguments.certificate) if arguments.certificate else None
    password = read_file(arguments.password_file).rstrip(b"\r\n") if arguments.password_file else None
    with name_file(arguments.key):
        return load_signer(read_file(arguments.key), certificate, password)
