"""Keeps objects in a bucket of a server that speaks S3: one request stores an object whole, or not at all.

An object is named as its file in a folder would be: `prefix/ab/abcd…`, and so is the mark of the database.
The server gets the SHA-256 with the object, and its answer must have the same SHA-256. An arriving object is
in a file of this machine first.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Final, cast

from gateway.errors import OBJECT_MISSING, GatewayError
from gateway.message_model import Body
from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.object_folder import ObjectFolder
from gateway.store.object_store import INLINE_OCTETS, MARK_NAME, make_changed_error

_KEY: Final = "the server refuses the key, or what it asks for"
#: The errors that an operator can mend, by their codes; for other errors the message has the code.
_SENTENCES: Final = {
    "NoSuchBucket": "there is no bucket {bucket}",
    "InvalidAccessKeyId": "the server does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "RequestTimeTooSkewed": "the clocks of server and gateway differ",
    "EntityTooLarge": "the server takes no object of this size",
    "403": _KEY,
    "AccessDenied": _KEY,
    "Forbidden": _KEY,
}


def load_bucket_errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors that a request to a bucket raises."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    return (BotoCoreError, ClientError, HTTPError, OSError)


def get_bucket_error_code(error: Any) -> str:
    """Return the code that the server has answered; empty where it has not answered."""
    answer = getattr(error, "response", None)
    return str(answer["Error"].get("Code", "")) if isinstance(answer, dict) and "Error" in answer else ""


def describe_bucket_error(error: Any, bucket: str) -> str:
    """Return a description of an error for the operator; of the server's answer it contains only the code."""
    code = get_bucket_error_code(error)
    if not code:
        return f"the object store does not answer ({type(error).__name__})"
    template = _SENTENCES.get(code)
    if template is not None:
        return f"the object store takes nothing now: {template.format(bucket=bucket)}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    printable_code = "".join(char for char in code if char.isascii() and char.isalnum())[:60]
    return f"the object store refuses the request: {' '.join(dict.fromkeys((str(status), printable_code)))}"


#: How often a stream asks again where the server has cut it.
_RESUMES: Final = 5


class SentBody:
    """The body of a request: its last octets are returned only if all octets have the expected digest.

    So octets with another digest never make a whole request. It can be sent again from its beginning.
    """

    def __init__(self, content: Body, make_error: Callable[[], Exception], digest: str) -> None:
        #: The error of the body itself; a client reports only that the body was not sent.
        self.problem: Exception | None = None
        self._content = content
        self._make_error = make_error
        self._expected_digest = digest
        self._stream: BinaryIO | None = None
        self._position = 0
        self._digest: Any = hashlib.sha256()

    def __enter__(self) -> SentBody:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_stream()

    def __len__(self) -> int:
        return self._content.octet_count

    def tell(self) -> int:
        """Return how many octets were read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the beginning, or stay."""
        if (offset, whence) == (self._position, io.SEEK_SET):
            return offset
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only to the beginning")
        self._close_stream()
        self._position, self._digest = 0, hashlib.sha256()
        return 0

    def read(self, size: int = -1) -> bytes:
        """Return the next octets; raise an exception of the body, and keep it in `problem`."""
        try:
            return self._read_piece(size)
        except Exception as error:
            self.problem = error
            raise

    def _read_piece(self, size: int) -> bytes:
        """Return the next octets, at most `size` (all, if it is negative or None).

        Raise an error if the content ends early, or at its end does not have the expected digest.
        """
        remaining = self._content.octet_count - self._position
        piece_size = remaining if size is None or size < 0 else min(size, remaining)
        if self._stream is None:
            self._stream = self._content.open_stream()
        piece = self._stream.read(piece_size) if piece_size else b""
        self._position += len(piece)
        self._digest.update(piece)
        is_last = self._position == self._content.octet_count
        if (piece_size and not piece) or (is_last and self._digest.hexdigest() != self._expected_digest):
            raise self._make_error()
        return piece

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None


class BucketStream(io.RawIOBase):
    """A stream of an object of `size` octets that continues at the same octet after a lost connection.

    `open_from` opens the object at an offset; `cut_error` is raised after too many tries.
    """

    def __init__(self, size: int, open_from: Callable[[int], Any], cut_error: Exception) -> None:
        self._size = size
        self._open_from = open_from
        self._cut_error = cut_error
        self._tries_left = _RESUMES
        self._position = 0
        self._body: Any = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next octet."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; the next octets are asked for from there."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset != self._position:
            self._drop_body()
            self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read one piece; raises GW325 where the object is gone, GW806 where it may pass."""
        if self._position >= self._size:
            return 0
        piece = self._read_piece(len(buffer))
        while not piece:
            self._drop_body()
            if not self._tries_left:
                raise self._cut_error
            self._tries_left -= 1
            piece = self._read_piece(len(buffer))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _read_piece(self, size: int) -> bytes:
        """Return the next octets; none where the connection is cut."""
        if self._body is None:
            self._body = self._open_from(self._position)
        try:
            piece: bytes = self._body.read(size)
        except load_bucket_errors():
            return b""
        return piece

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body = None

    def close(self) -> None:
        """Give up the connection."""
        self._drop_body()
        super().close()


_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: Requests of one act, the first one counted.
_ATTEMPTS: Final = 3
#: An object younger than this is fresh enough: no sweep removes an object less than a day old.
_FRESH: Final = timedelta(hours=1)
#: A bucket is named by the settings of a process: unlike a mounted folder it does not become another one.
_MARK_KEPT_SECONDS: Final = 10.0
_CUT: Final = "the server cuts the connection before the end of the object"
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})
#: The codes for another put of the same object, which has ended or is in progress.
_OTHERS: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
#: The server does not know the condition.
_UNCONDITIONAL: Final = frozenset({"NotImplemented", "501"})


@dataclass(frozen=True)
class BucketAccess:
    """The address of a bucket, the keys and options of its requests, and the maximum `seconds` of a wait."""

    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    prefix: str = ""
    path_style: bool = True
    ca: str | None = None
    seconds: float = 10.0
    connections: int = 10


@dataclass(frozen=True)
class _StoredObject:
    size: int
    written: datetime
    #: By the clock of the server, which also says when an object was written.
    age: timedelta
    checksum: str | None

    def matches(self, digest: str, content: Body) -> bool:
        """Return whether the server says that it has these octets; one of equal size may be another."""
        return self.size == content.octet_count and self.checksum == _make_checksum(digest)


@dataclass(frozen=True)
class _ReadMark:
    """The mark of a bucket, and when it was read, in seconds of the monotonic clock."""

    mark: str
    read_at: float


class ObjectBucket:
    """An `ObjectStore` in a bucket; `inline` octets stay in the database.

    `arriving` is the folder of this machine in which bodies arrive.
    """

    def __init__(self, access: BucketAccess, arriving: ObjectFolder, inline: int = INLINE_OCTETS) -> None:
        self.inline = inline
        self._access = access
        self._arriving = arriving
        self._guard = threading.Lock()
        self._client: Any = None
        self._mark_key = f"{access.prefix}{MARK_NAME}"
        self._last_mark: _ReadMark | None = None

    def put_object(self, digest: str, content: Body) -> None:
        """Store the content durably; raises GW806 where this fails. A repeat changes nothing."""
        stored = self._find(digest)
        if stored is not None and stored.matches(digest, content):
            # Fresh again: so the sweep keeps it, as a transaction is about to name it.
            if stored.age < _FRESH or self._renew(digest):
                return
            stored = None
        if not self._send_object(digest, content, is_new=stored is None):
            stored = self._find(digest)
            if stored is None or not stored.matches(digest, content):
                detail = "another put of the same object has not ended"
                raise InsufficientStorageError(detail, self.describe_object(digest))

    def _send_object(self, digest: str, content: Body, *, is_new: bool) -> bool:
        """Send an object; return False where a `is_new` one is there meanwhile."""
        checksum = _make_checksum(digest)
        sent = SentBody(content, lambda: make_changed_error(self, digest), digest)
        conditions = {"IfNoneMatch": "*"} if is_new else {}
        try:
            with sent:
                answer = self._send_request(
                    "put_object",
                    digest,
                    Body=sent,
                    ContentLength=content.octet_count,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                    **conditions,
                )
        except _RefusedError as refused:
            if sent.problem is not None:
                raise sent.problem from None
            if is_new and refused.code in _OTHERS:
                return False
            if is_new and refused.code in _UNCONDITIONAL:
                return self._send_object(digest, content, is_new=False)
            raise refused.problem from refused
        self._require_checksum(digest, answer, checksum)
        return True

    def _require_checksum(self, digest: str, answer: dict[str, Any], checksum: str) -> None:
        """Raise GW806 unless the server says that it has the octets that were sent."""
        stored_checksum = answer.get("ChecksumSHA256")
        if stored_checksum is None:
            stored = self._find(digest)
            stored_checksum = stored.checksum if stored is not None else None
        if stored_checksum != checksum:
            description = "no SHA-256" if stored_checksum is None else "another SHA-256"
            detail = f"the server confirms {description} for what it was sent"
            raise InsufficientStorageError(detail, self.describe_object(digest))

    def _renew(self, digest: str) -> bool:
        """Let the server write an old object again, which renews its time; return False if it is missing."""
        source = {"Bucket": self._access.bucket, "Key": self._get_key(digest)}
        try:
            self._send_request(
                "copy_object",
                digest,
                CopySource=source,
                MetadataDirective="REPLACE",
                ChecksumAlgorithm="SHA256",
            )
        except _RefusedError as refused:
            if refused.code in _ABSENT:
                return False
            raise refused.problem from refused
        return True

    def has_object(self, digest: str, size: int) -> bool:
        """Return whether there is an object of this size; raises GW806 where the server does not say."""
        stored = self._find(digest)
        return stored is not None and stored.size == size

    def open_object(self, digest: str) -> BinaryIO:
        """Return a stream at its first octet; raises GW325 where there is none, GW806 where it may pass."""
        stored = self._find(digest)
        if stored is None:
            # Without a bucket nothing is said about its objects.
            self.check_store()
            raise self._make_missing_error(digest)
        stream = BucketStream(
            stored.size, lambda offset: self._open_from(digest, offset), self._make_cut(digest)
        )
        return cast("BinaryIO", io.BufferedReader(stream, 64 * 1024))

    def _open_from(self, digest: str, offset: int) -> Any:
        """Return the stream of an object from the octet `offset` on; raise an error if there is none."""
        try:
            answer = self._send_request("get_object", digest, Range=f"bytes={offset}-")
        except _RefusedError as refused:
            if refused.code in _ABSENT:
                raise self._make_missing_error(digest) from None
            raise refused.problem from refused
        if answer.get("ContentRange", "").startswith(f"bytes {offset}-"):
            return answer["Body"]
        # The octets of another place would look as if the object had changed.
        answer["Body"].close()
        raise self._make_protocol_error(digest)

    def _make_cut(self, digest: str) -> InsufficientStorageError:
        return InsufficientStorageError(_CUT, self.describe_object(digest))

    def _make_missing_error(self, digest: str) -> GatewayError:
        return GatewayError(OBJECT_MISSING, "the object is not there", self.describe_object(digest))

    def describe_object(self, digest: str) -> str:
        """Return the place of an object as `s3://bucket/key`."""
        return f"s3://{self._access.bucket}/{self._get_key(digest)}"

    def remove_object(self, digest: str) -> None:
        """Remove an object; one that is gone is no error."""
        self._send_request_or_raise("delete_object", digest)

    def get_write_time(self, digest: str) -> datetime | None:
        """Return when an object was last written; None where there is none."""
        stored = self._find(digest)
        return None if stored is None else stored.written

    def list_objects(self, part: int) -> Iterator[tuple[str, datetime]]:
        """Yield digest and time of the last writing of the objects whose digest begins with this octet."""
        folder, terms = f"{self._access.prefix}{part:02x}/", dict[str, Any]()
        while True:
            answer = self._send_request_or_raise("list_objects_v2", "", Prefix=folder, **terms)
            for entry in answer.get("Contents", ()):
                digest = entry["Key"][len(folder) :]
                if _DIGEST.fullmatch(digest) and entry["Key"] == self._get_key(digest):
                    yield digest, entry["LastModified"]
            if not answer.get("IsTruncated"):
                return
            terms = {"ContinuationToken": answer["NextContinuationToken"]}

    def remove_abandoned_files(self) -> int:
        """Remove the files that a killed process was receiving on this machine; return their number.

        The server keeps nothing of an object that was not sent whole.
        """
        return self._arriving.remove_abandoned_files()

    def check_store(self) -> None:
        """Raise GW806 where the bucket cannot be listed: no server, no bucket, or the key is refused."""
        self._send_request_or_raise("list_objects_v2", "", Prefix=self._access.prefix, MaxKeys=1)

    def read_mark(self) -> str | None:
        """Return the mark below the prefix, as it was some seconds ago; None where there is none.

        Raises GW806 where the server does not say.
        """
        last = self._last_mark
        if last is not None and time.monotonic() - last.read_at < _MARK_KEPT_SECONDS:
            return last.mark
        try:
            mark: bytes = self._send_request("get_object", "", Key=self._mark_key)["Body"].read()
        except _RefusedError as refused:
            if refused.code in _ABSENT:
                return None
            raise refused.problem from refused
        except load_bucket_errors() as cut:
            raise InsufficientStorageError(_CUT, self.describe_mark()) from cut
        self._last_mark = _ReadMark(mark.decode("ascii", "replace").strip(), time.monotonic())
        return self._last_mark.mark

    def forget_mark(self) -> None:
        """Let the next reading of the mark return the present one."""
        self._last_mark = None

    def write_mark(self, mark: str) -> None:
        """Store the mark below the prefix; raises GW806 where this fails."""
        self._last_mark = None
        self._send_request_or_raise("put_object", "", Key=self._mark_key, Body=f"{mark}\n".encode())

    def describe_mark(self) -> str:
        """Return the place of the mark as `s3://bucket/key`."""
        return f"s3://{self._access.bucket}/{self._mark_key}"

    def close(self) -> None:
        """Close the connections."""
        with self._guard:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _find(self, digest: str) -> _StoredObject | None:
        """Return size, time and checksum of an object as the store reports them; None if there is none."""
        try:
            answer = self._send_request("head_object", digest, ChecksumMode="ENABLED")
        except _RefusedError as refused:
            if refused.code in _ABSENT:
                return None
            raise refused.problem from refused
        if "LastModified" not in answer or "ContentLength" not in answer:
            raise self._make_protocol_error(digest)
        written = answer["LastModified"]
        age = _compute_age(answer["ResponseMetadata"]["HTTPHeaders"].get("date"), written)
        return _StoredObject(answer["ContentLength"], written, age, answer.get("ChecksumSHA256"))

    def _make_protocol_error(self, digest: str) -> InsufficientStorageError:
        detail = "the server does not answer as a server of S3 does"
        return InsufficientStorageError(detail, self.describe_object(digest))

    def _send_request_or_raise(self, operation: str, digest: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._send_request(operation, digest, **parameters)
        except _RefusedError as refused:
            raise refused.problem from refused

    def _send_request(self, operation: str, digest: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer of the server; raises `_RefusedError` with GW806 for every other one."""
        key = {"Key": self._get_key(digest)} if digest else {}
        location = (
            self.describe_object(digest) if digest else f"s3://{self._access.bucket}/{self._access.prefix}"
        )
        try:
            answer = getattr(self._get_client(), operation)(Bucket=self._access.bucket, **key, **parameters)
        except load_bucket_errors() as error:
            problem = InsufficientStorageError(describe_bucket_error(error, self._access.bucket), location)
            raise _RefusedError(get_bucket_error_code(error), problem) from error
        return cast("dict[str, Any]", answer)

    def _get_client(self) -> Any:
        """Return the client of this process, made for the first request; it is safe for many threads."""
        with self._guard:
            if self._client is None:
                self._client = _make_client(self._access)
            return self._client

    def _get_key(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest must be 64 hexadecimal digits")
        return f"{self._access.prefix}{digest[:2]}/{digest}"


class _RefusedError(Exception):
    """A refusal by the server: its error code, and the problem to raise if the caller has no better one."""

    def __init__(self, code: str, problem: InsufficientStorageError) -> None:
        super().__init__(str(problem))
        self.code = code
        self.problem = problem


def _make_checksum(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _compute_age(now: str | None, written: datetime) -> timedelta:
    """Return an age by the server's own clock; without it, an object is taken as old, and written anew."""
    try:
        return parsedate_to_datetime(now) - written if now else _FRESH
    except (TypeError, ValueError):
        return _FRESH


def _make_client(access: BucketAccess) -> Any:
    """Return a client that follows the settings alone, and reads nothing else from the environment."""
    from botocore.config import Config
    from botocore.session import Session

    style = "path" if access.path_style else "virtual"
    config = Config(
        region_name=access.region,
        signature_version="s3v4",
        connect_timeout=access.seconds,
        read_timeout=access.seconds,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=access.connections,
        proxies={},
        s3={"addressing_style": style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # Neither a profile nor files of other tools decide about anything.
    unset = ("profile", "config_file", "credentials_file")
    session = Session(session_vars=dict.fromkeys(unset, (None, None, None, None)))
    return session.create_client(
        "s3",
        endpoint_url=access.endpoint,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        verify=access.ca or True,
        config=config,
    )
