"""What is used up on our side is GW806 and passes; nobody outside is blamed for it."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.exceptions import InternalError
from lxml import etree

from gateway.errors import GatewayError, find_resource_problem
from gateway.store import HttpResponse
from gateway.web.wsgi_application import build_ebms_endpoint
from gateway.wire import canonicalize_document

_PROGRAM = """
import resource, sys
from lxml import etree
from gateway.errors import GatewayError
from gateway.wire import canonicalize_document, canonicalize_element, parse_xml, read_wsdl
rows = b"".join(b"<b c='%d'>text %d</b>" % (at, at) for at in range(60000))
octets, work = b"<a xmlns='urn:x'>" + rows + b"</a>", sys.argv[1]
root = parse_xml(octets) if work.startswith("c14n") else None
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[2]), -1))
try:
    if work == "parse":
        parse_xml(octets)
    elif work == "c14n":
        canonicalize_document(root)
    elif work == "c14n-without":
        canonicalize_document(root, [root[0]])
    elif work == "c14n-element":
        canonicalize_element(root, exclusive=True)
    else:
        read_wsdl(octets)
    said = "done"
except GatewayError as error:
    said = error.problem.id
except MemoryError:
    said = "MemoryError"
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(said)
"""


def run_short_of_memory(work: str, spare: int) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, work, str(spare)], capture_output=True, text=True, check=False
    )
    return ran.stdout.strip() or ran.stderr[-500:]


@pytest.mark.parametrize("work", ["parse", "c14n", "c14n-without", "c14n-element", "wsdl"])
@pytest.mark.parametrize("spare", [0, 1_000_000])
def test_memory_that_is_used_up_is_no_fault_of_the_document(work: str, spare: int) -> None:
    assert run_short_of_memory(work, spare) in ("GW806", "MemoryError")


def test_a_namespace_without_canonical_form_is_a_fault_of_the_document() -> None:
    root = etree.fromstring(b"<a xmlns:x='relative'><x:b/></a>")
    with pytest.raises(GatewayError, match="no canonical form exists"):
        canonicalize_document(root)


def test_a_message_for_which_memory_lacks_may_be_sent_again() -> None:
    told: list[GatewayError] = []

    def receive(*_: object) -> HttpResponse:
        raise MemoryError

    def refuse(problem: GatewayError) -> HttpResponse:
        told.append(problem)
        return HttpResponse(503, {}, b"")

    answer = build_ebms_endpoint(receive, refuse, 1000)
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "1", "wsgi.input": BytesIO(b"x")}
    answer(environ, lambda *_: None)
    assert [one.problem.id for one in told] == ["GW806"]


def raise_within(error: BaseException) -> BaseException:
    """Return an exception that a library raised while it handled `error`."""
    try:
        try:
            raise error
        except BaseException:
            raise ValueError("malformed")  # noqa: B904
    except ValueError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EMFILE, "too many"),
        zlib.error("Error -4 while decompressing data"),
        InternalError(
            "unknown", [SimpleNamespace(lib=15, reason=786_688), SimpleNamespace(lib=16, reason=1)]
        ),
        raise_within(MemoryError()),
        RuntimeError("can't start new thread"),
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/nowhere']"),
        raise_within(OSError(errno.ENOMEM, "no")),
    ],
)
def test_a_resource_of_ours_is_recognized(error: BaseException) -> None:
    found = find_resource_problem(error)
    assert found is not None
    assert found.problem.id == "GW806"


def test_a_folder_for_temporary_files_that_was_removed_is_a_shortage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(FileNotFoundError) as missing_file:
        (folder / "key.pem").read_bytes()
    assert find_resource_problem(missing_file.value) is None, "another file may be missing there"
    folder.rmdir()
    with pytest.raises(FileNotFoundError) as missing_folder:
        tempfile.mkdtemp()
    assert find_resource_problem(missing_folder.value) is not None


def read_malformed() -> BaseException:
    try:
        etree.fromstring(b"<a>")
    except etree.XMLSyntaxError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("malformed"),
        OSError(errno.ENOENT, "no"),
        FileNotFoundError(errno.ENOENT, "no", "/nowhere/schema.xsd"),
        RuntimeError("dictionary changed size during iteration"),
        zlib.error("Error -3 while decompressing data"),
        read_malformed(),
        InternalError("unknown", [SimpleNamespace(lib=16, reason=1)]),
        raise_within(KeyError("x")),
    ],
)
def test_what_is_wrong_with_input_is_not_of_ours(error: BaseException) -> None:
    assert find_resource_problem(error) is None
