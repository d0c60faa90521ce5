"""A broker's durable store: each message of the hub is a folder of files, complete or not there at all.

A folder ``0001-Result-SW…`` has ``message.http`` (headers, empty line, body, as received),
``payload-1.xml`` and so on, ``summary.json``, and ``receipt.http``, the answer that is given
again to a repeat. It is written under another name, synchronized to disk and renamed: the
rename is the moment from which the message is stored, and only then it is acknowledged.
"""

from __future__ import annotations

import base64
import errno
import json
import mimetypes
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol
from weakref import finalize

from gateway.client.message_files import synchronize_folder
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import Body, JoinedBody, UserMessage, iterate_octets
from gateway.protocols import OpenedMessage


class Journal:
    """Appends one line per call, written to the kernel at once, or to disk (`durable`); safe for threads."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._durable = durable
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._close = finalize(self, os.close, self._file)
        # A line cut short by a kill must not be joined with the next one.
        if not _ends_with_newline(path):
            os.write(self._file, b"\n")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append `row`; raises OSError where the disk does not take it whole."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._file, line) :]
            if self._durable:
                os.fsync(self._file)

    def write_refusal(self, problem: GatewayError) -> None:
        """Append the problem and the time of a refusal."""
        row = {
            "problem": problem.problem.id,
            "detail": problem.detail[:300],
            "location": problem.location[:200],
        }
        self.write(row | {"at": datetime.now(UTC).isoformat(timespec="milliseconds")})

    def close(self) -> None:
        """Close the file; it is closed without this, too, when nothing refers to the log any more."""
        self._close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log, as far as it has been written; none when there is no file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


_RECEIPT_KEYS: Final = ("receipt", "receipt_type")
_NEW_PREFIX: Final = ".new-"
_NUMBER_PATTERN: Final = re.compile(r"([0-9]{4,})-")


class MessageStore(Protocol):
    """A place in which a message handler stores received messages."""

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all stored messages, in the order of arrival."""

    def write_message(self, row: dict[str, Any], opened_message: OpenedMessage) -> None:
        """Store a message and its row, and add the name of its file or folder to the row."""

    def write_refusal(self, problem: GatewayError) -> None:
        """Store why a parcel was refused."""

    def write_signal(self, opened_message: OpenedMessage) -> None:
        """Store a signal about a message that another process has sent."""


class JournalStore:
    """Rows in ``messages.jsonl``, and the document of each message in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._messages = Journal(folder / "messages.jsonl", durable=True)
        self._refusals = Journal(folder / "refusals.jsonl")
        self._count = sum(1 for _ in self.read_rows())

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the journal."""
        return read_journal(self._messages.path)

    def write_message(self, row: dict[str, Any], opened_message: OpenedMessage) -> None:
        """Write the document, then the row, to disk: the message is acknowledged next. Raises OSError."""
        unit = opened_message.unit
        self._count += 1
        if isinstance(unit, UserMessage) and unit.payloads:
            document = self._create_document(str(row["action"]))
            with document:
                document.writelines(iterate_octets(unit.payloads[0].octets))
                document.flush()
                os.fsync(document.fileno())
            synchronize_folder(self._folder)
        row["file"] = self._name_document(str(row["action"]))
        self._messages.write(row)

    def _name_document(self, action: str) -> str:
        return f"{self._count:04d}-{action}.xml"

    def _create_document(self, action: str) -> BinaryIO:
        """Open a new file; one of another process that stores in the same folder keeps its number."""
        while True:
            with suppress(FileExistsError):
                return _create_private_file(self._folder / self._name_document(action))
            self._count += 1

    def write_refusal(self, problem: GatewayError) -> None:
        """Append the problem to ``refusals.jsonl``."""
        self._refusals.write_refusal(problem)

    def write_signal(self, opened_message: OpenedMessage) -> None:
        """Store nothing: a partner that is simulated sends its messages itself."""


class MessageFolder:
    """Store each message in its own folder; `report` gets a sentence on each refusal and each signal."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        _make_store_folder(folder)
        self._folder = folder
        self._report = report
        self._refusals = Journal(folder / "refusals.jsonl")
        for unfinished in folder.glob(f"{_NEW_PREFIX}*"):
            # Its writing was interrupted, so it was not acknowledged: the hub sends it again.
            shutil.rmtree(unfinished)
        self._last_number = max((_read_number(path.name) for path in folder.iterdir()), default=0)

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the messages in the folder, in the order of arrival."""
        summaries = self._folder.glob("[0-9]*/summary.json")
        # By number, not by name: 10000 comes after 9999.
        for path in sorted(summaries, key=lambda path: (_read_number(path.parent.name), path)):
            row = json.loads(path.read_bytes())
            receipt_path = path.with_name("receipt.http")
            if receipt_path.is_file():
                head, _, body = receipt_path.read_bytes().partition(b"\r\n\r\n")
                encoded_body = base64.b64encode(body).decode()
                yield row | dict(
                    zip(_RECEIPT_KEYS, (encoded_body, head.decode().partition(": ")[2]), strict=True)
                )

    def write_message(self, row: dict[str, Any], opened_message: OpenedMessage) -> None:
        """Store the message durably, or raise OSError and store nothing."""
        fields = row["said"]
        unit = opened_message.unit
        parcel = opened_message.parcel
        http_message = JoinedBody((_format_http(parcel.headers, b""), parcel.body))
        files: dict[str, bytes | Body] = {"message.http": http_message}
        payloads = []
        for number, payload in enumerate(unit.payloads if isinstance(unit, UserMessage) else (), start=1):
            file_name = f"payload-{number}{_guess_suffix(payload.media_type)}"
            files[file_name] = payload.octets
            payloads.append(
                {"file": file_name, "content_id": payload.content_id, "media_type": payload.media_type}
            )
        files["receipt.http"] = _format_http(
            {"Content-Type": row["receipt_type"]}, base64.b64decode(row["receipt"])
        )
        summary = {name: value for name, value in row.items() if name not in _RECEIPT_KEYS}
        files["summary.json"] = _format_summary(summary | {"payloads": payloads})
        row["file"] = self._write_files((row["action"], fields.get("case_number") or ""), files)

    def write_refusal(self, problem: GatewayError) -> None:
        """Report the problem, and append it to ``refusals.jsonl``; raises OSError."""
        self._report(f"refused: {problem}")
        self._refusals.write_refusal(problem)

    def write_signal(self, opened_message: OpenedMessage) -> None:
        """Store a receipt or an ErrorList for a message that another process has sent."""
        unit = opened_message.unit
        signal_kind = type(unit).__name__
        reference = getattr(unit, "ref_to_message_id", None) or ""
        summary = {"kind": signal_kind, "message_id": unit.message_id, "ref_to": reference, "checked": False}
        files = {
            "message.http": _format_http(opened_message.parcel.headers, opened_message.parcel.read_octets()),
            "signal.json": _format_summary(summary),
        }
        folder_name = self._write_files((signal_kind, ""), files)
        self._report(
            f"{signal_kind} for {reference or 'no message'}, not compared with what was sent: {folder_name}"
        )

    def _write_files(self, name_parts: tuple[str, ...], files: Mapping[str, bytes | Body]) -> str:
        """Write files into a new folder, synchronize it, and give it its name; return the name."""
        safe_parts = (re.sub(r"[^A-Za-z0-9_-]", "_", part)[:60] for part in name_parts if part)
        folder_name = "-".join([f"{self._last_number + 1:04d}", *safe_parts])
        new_folder = self._folder / f"{_NEW_PREFIX}{folder_name}"
        shutil.rmtree(new_folder, ignore_errors=True)
        new_folder.mkdir(mode=0o700)
        for file_name, content in files.items():
            with _create_private_file(new_folder / file_name) as stream:
                stream.writelines(iterate_octets(content))
                stream.flush()
                os.fsync(stream.fileno())
        synchronize_folder(new_folder)
        new_folder.rename(self._folder / folder_name)
        synchronize_folder(self._folder)
        self._last_number += 1
        return folder_name


def _read_number(folder_name: str) -> int:
    """Return the number at the beginning of the name of a folder; 0 when it has none."""
    number_match = _NUMBER_PATTERN.match(folder_name)
    return int(number_match[1]) if number_match else 0


def _make_store_folder(folder: Path) -> None:
    """Make the folder, for its owner alone; raise GW808 where that cannot be."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise GatewayError(MISUSE, f"{folder} is no folder for messages: {reason}", str(folder)) from None


def _create_private_file(path: Path) -> BinaryIO:
    """Open a new file that only its owner can read: messages contain personal data."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _format_http(headers: Mapping[str, str], body: bytes) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode("utf-8") + b"\r\n" + body


def _format_summary(summary: Mapping[str, Any]) -> bytes:
    return json.dumps(summary, ensure_ascii=False, indent=2).encode() + b"\n"


def _guess_suffix(media_type: str) -> str:
    suffixes = {"application/xml": ".xml", "text/xml": ".xml"}
    return suffixes.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"
