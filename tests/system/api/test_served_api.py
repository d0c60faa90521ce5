"""The API of running processes: a case from the submission to the result, streams, limits, an end."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lxml import etree

from gateway.wire import serialize_element
from gateway.xmlsec import sign_document, verify_document
from tests.flows.craft import reference, without_applications
from tests.kit.house import signer_named
from tests.kit.story import unsigned
from tests.kit.waiting import until
from tests.system.api.conftest import ServedApi, serve_api
from tests.system.large.large_place import list_family, measure_peak

pytestmark = pytest.mark.long


def make_submission(number: str) -> bytes:
    root = unsigned()
    without_applications(root)
    reference(number)(root)
    return serialize_element(sign_document(root, signer_named("broker1"), now=datetime.now(UTC)))


def test_a_case_is_filed_through_running_processes(served: ServedApi) -> None:
    with served.open() as client:
        head = {"Idempotency-Key": "live-1", "Content-Type": "application/xml"}
        assert client.post("/submissions", content=make_submission("LIVE-1"), headers=head).status_code == 201
        number = until(lambda: client.get("/messages/live-1").json().get("case"))
        until(lambda: client.get(f"/cases/{number}").json()["state"] == "CLOSED")
        result = client.get(f"/results/{number}")
        verify_document(etree.fromstring(result.content))
        assert (
            client.get(f"/results/{number}", headers={"If-None-Match": result.headers["etag"]}).status_code
            == 304
        )
        until(lambda: [one["type"] for one in client.get("/events").json()["events"]][-1:] == ["case.closed"])


def test_the_address_of_a_message_leads_to_it(served: ServedApi) -> None:
    """The server decodes a path once, and httpx normalizes it as clients do."""
    key = "a%2Fb/c?d=e#f//%2e%2e"
    with served.open() as client:
        head = {"Idempotency-Key": key, "Content-Type": "application/xml"}
        answer = client.post("/submissions", content=make_submission("LIVE-ADDRESS"), headers=head)
        place = answer.headers["Location"].removeprefix("/api/v1")
        assert client.get(place).json()["message_id"] == key
        receipt = client.get(answer.json()["receipt_url"].removeprefix("/api/v1"))
        assert receipt.content == base64.b64decode(answer.json()["receipt"])


def test_a_stream_brings_what_happens_and_goes_on_after_a_break(served: ServedApi) -> None:
    """Of the case that is filed meanwhile; those of other tests may still be under way."""
    with served.open() as client:
        events: list[dict[str, str]] = []
        ready, done = threading.Event(), threading.Event()

        def read_stream() -> None:
            decided = set()
            with client.stream("GET", "/events/stream") as answer:
                assert answer.headers["content-type"] == "text/event-stream"
                for line in answer.iter_lines():
                    ready.set()
                    if line.startswith("data: "):
                        events.append(json.loads(line[6:]))
                        kind, case = events[-1]["type"], events[-1]["case"]
                        if kind == "case.decided":
                            decided.add(case)
                        elif kind == "case.closed" and case in decided:
                            break
            done.set()

        threading.Thread(target=read_stream, daemon=True).start()
        assert ready.wait(60)
        head = {"Content-Type": "application/xml"}
        client.post("/submissions", content=make_submission("LIVE-2"), headers=head)
        assert done.wait(60)
        own_kinds = [event["type"] for event in events if event["case"] == events[-1]["case"]]
        assert (own_kinds[0], own_kinds[-1]) == ("case.decided", "case.closed")
        with client.stream("GET", "/events/stream", headers={"Last-Event-ID": events[0]["id"]}) as answer:
            following = next(line for line in answer.iter_lines() if line.startswith("id: "))
        assert following[4:] == events[1]["id"]


def test_a_stream_passes_nginx_as_it_is_set_up_by_default(served: ServedApi, proxied: int) -> None:
    """Both the head, before anything happens, and an event that is far smaller than a buffer."""
    with served.open(port=proxied) as client, client.stream("GET", "/events/stream", timeout=8) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": nothing new"
        head = {"Content-Type": "application/xml"}
        assert client.post("/submissions", content=make_submission("NGINX-1"), headers=head).is_success
        assert any(line == "event: case.decided" for line in lines)


def reset_peaks(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Let the peaks of memory begin anew; return what they are now, in MiB."""
    for pid in list_family(process.pid):
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    return measure_peak(process)


def test_large_attachments_are_not_in_memory(served: ServedApi) -> None:
    content = os.urandom(60 * 1024**2)
    with served.open() as client:
        before = reset_peaks(served.process)
        files = [
            ("submission", ("s.xml", make_submission("LARGE-1"), "application/xml")),
            ("attachments", ("large@sample", content, "application/octet-stream")),
        ]
        answer = client.post("/submissions", files=files, headers={"Idempotency-Key": "large-1"})
        assert answer.status_code == 201
        assert sha256(content).hexdigest().encode() in client.get(answer.json()["receipt_url"][7:]).content
        until(lambda: client.get("/messages/large-1").json().get("case"))
        after = measure_peak(served.process)
    grown = {name: after[name] - before[name] for name in before.keys() & after.keys()}
    print(grown)
    assert max(grown.values()) < 40, grown


def test_what_the_server_refuses_is_told_in_problem_details(served: ServedApi) -> None:
    with served.open() as client:
        large = client.post("/webhooks", content=b"a" * 100_000, headers={"Content-Type": "application/json"})
        assert (large.status_code, large.json()["id"]) == (413, "GW102")
        assert large.headers["content-type"] == "application/problem+json"
        odd = client.request("PUT", "/cases")
        assert (odd.status_code, odd.json()["id"]) == (400, "GW110")
        odd = client.delete("/webhooks/none")
        assert (odd.status_code, odd.json()["id"]) == (404, "GW112")


def generate_client(served: ServedApi, folder: Path) -> ModuleType:
    """Generate a client from the document that is served, and import it."""
    config = folder / "config.yaml"
    octets = "".join(
        f"  {kind}: application/octet-stream\n" for kind in ("application/xml", "application/zip", '"*/*"')
    )
    config.write_text(f"content_type_overrides:\n{octets}")
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate", "--url", f"{served.url}/openapi.json"),
        *("--meta", "none", "--output-path", str(folder / "generated_client"), "--config", str(config)),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("generated_client")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.night
def test_a_generated_client_files_a_case(served: ServedApi, tmp_path: Path) -> None:
    made = generate_client(served, tmp_path)

    def load(name: str) -> Any:
        return importlib.import_module(f"{made.__name__}.{name}")

    with load("client").AuthenticatedClient(base_url=served.url, token=served.token()) as client:
        file = load("types").File(payload=io.BytesIO(make_submission("LIVE-3")), file_name="s.xml")
        form = load("models").FileSubmissionFilesSubmissionForm(submission=file)
        answer = load("api.submissions.file_submission").sync(
            client=client, body=form, idempotency_key="live-3"
        )
        assert (answer.message_id, answer.new) == ("live-3", True)
        get_message = load("api.messages.get_message")
        message = until(lambda: (one := get_message.sync("live-3", client=client)).case and one)
        case = load("api.cases.get_case").sync(message.case, client=client)
        assert case.reference == "LIVE-3"
        listed = load("api.cases.list_cases").sync(client=client, reference="LIVE-3")
        assert [one.number for one in listed.cases] == [message.case]
        until(lambda: load("api.cases.get_case").sync(message.case, client=client).state == "CLOSED")
        for operation, key in (
            ("cases.get_result", message.case),
            ("cases.get_evidence_bundle", message.case),
            ("messages.get_document", "live-3"),
            ("messages.get_receipt", "live-3"),
        ):
            file = load(f"api.{operation}").sync(key, client=client)
            assert isinstance(file, load("types").File), operation
            assert file.payload.read()[:2] in (b"<?", b"PK", b"<S", b"<R", b"<r"), operation
        problem = load("api.cases.get_case").sync("SW260000009X", client=client)
        assert problem.id == "GW112"


@pytest.mark.night
def test_the_document_holds_for_generated_requests(served: ServedApi, tmp_path: Path) -> None:
    """Schemathesis makes requests from the document, good ones and bad ones, and judges the answers."""
    program = Path(sys.executable).with_name("schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [
        *(str(program), "run", f"{served.url}/openapi.json", "--url", served.url),
        *("--header", f"Authorization: Bearer {served.token()}", "--checks", checks),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "20261121"),
        *("--exclude-path-regex", "/events/stream|/token", "--workers", "1", "--no-color"),
        # A machine that has much else to do takes its time.
        *("--request-timeout", "60"),
    ]
    # It keeps what it found in the folder where it runs.
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.night
def test_a_gateway_with_an_open_stream_ends_quickly(tmp_path: Path) -> None:
    with (
        serve_api(tmp_path) as served,
        served.open() as client,
        client.stream("GET", "/events/stream") as answer,
    ):
        next(answer.iter_lines())
        begun = time.monotonic()
        served.process.terminate()
        assert served.process.wait(120) == 0
        assert time.monotonic() - begun < 20
