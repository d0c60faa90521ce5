"""Generated clients at a running gateway: they file, follow, turn pages, get files, and read problems.

What a client got is compared with what HTTP says, octet by octet. For Java, `mvn` and a Java of version 17
are needed, as for the foreign products in `tests/system/interop`. The client for TypeScript is generated only
(`tests/web/api/test_generated_clients.py`): no compiler for it is among the requirements of the tests.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.xmlsec import verify_document
from tests.kit.waiting import until
from tests.system.api.conftest import ServedApi
from tests.system.api.test_served_api import make_submission

pytestmark = pytest.mark.long

PROGRAMS = Path(__file__).with_name("clients")
OPTIONS = {
    "python": ("packageName=hub_client",),
    "java": ("library=native", "invokerPackage=hub", "apiPackage=hub.api", "modelPackage=hub.model"),
}


def run(command: list[str], folder: Path, **more: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | more, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def make_client(language: str, description: str, folder: Path) -> Path:
    """Generate a client from the description of the API, and build it where that is needed."""
    folder.mkdir()
    (folder / "openapi.json").write_text(description, encoding="utf-8")
    program = str(Path(sys.executable).with_name("openapi-generator-cli"))
    command = [program, "generate", "-i", "openapi.json", "-g", language, "-o", "client"]
    run([*command, f"--additional-properties={','.join(OPTIONS[language])}"], folder)
    if language == "java":
        quiet = ("-DskipTests", "-Dmaven.javadoc.skip=true", "-Dmaven.source.skip=true")
        run(["mvn", "-q", "-B", *quiet, "package"], folder / "client")
    return folder / "client"


def use_client(language: str, client: Path, words: list[str]) -> dict[str, Any]:
    if language == "python":
        out = run([sys.executable, str(PROGRAMS / "use_python.py"), *words], client, PYTHONPATH=str(client))
    else:
        path = f"{client}/target/*:{client}/target/lib/*"
        out = run(["java", "-cp", path, str(PROGRAMS / "UseJava.java"), *words], client)
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    return report


@pytest.mark.night
@pytest.mark.parametrize("language", OPTIONS)
def test_a_generated_client_reads_what_http_says(served: ServedApi, tmp_path: Path, language: str) -> None:
    with served.open() as http:
        client = make_client(language, http.get("/openapi.json").text, tmp_path / "made")
        key, folder = f"used-{language}", tmp_path / "files"
        folder.mkdir()
        first, second = tmp_path / "first.xml", tmp_path / "second.xml"
        first.write_bytes(make_submission(f"USED-{language}-1"))
        second.write_bytes(make_submission(f"USED-{language}-2"))
        # Other cases, so that there is a second page.
        for number in (3, 4):
            head = {"Content-Type": "application/xml", "Idempotency-Key": f"{key}-{number}"}
            content = make_submission(f"USED-{language}-{number}")
            assert http.post("/submissions", content=content, headers=head).status_code == 201
        until(lambda: len(http.get("/events").json()["events"]) > 3)
        words = [served.url, served.token(), str(folder), "no-token", key, str(first), str(second)]
        report = use_client(language, client, words)
        number = report["case"]
        assert report["filed"] == [[key, True], [key, False]]
        assert report["state"] == http.get(f"/cases/{number}").json()["state"] == "CLOSED"
        # Files are what HTTP gives, octet by octet.
        files = {name: (folder / name).read_bytes() for name in ("result", "bundle", "document", "receipt")}
        for name, path in (
            ("result", f"/results/{number}"),
            ("bundle", f"/cases/{number}/evidence/bundle"),
            ("document", f"/messages/{key}/document"),
            ("receipt", f"/messages/{key}/receipt"),
        ):
            assert files[name] == http.get(path).content, name
        assert files["document"] == first.read_bytes()
        verify_document(etree.fromstring(files["result"]))
        assert "README.txt" in zipfile.ZipFile(io.BytesIO(files["bundle"])).namelist()
        # Each page has what the one before it has not; together they are the whole list.
        pages = [page for page in report["cases"] if page]
        assert {len(page) for page in pages} == {1}
        rows = http.get("/cases", params={"limit": 200}).json()["cases"]
        assert [one for page in pages for one in page] == [row["number"] for row in rows]
        assert len(pages) > 1
        events = [event["id"] for event in http.get("/events", params={"limit": 500}).json()["events"]]
        turned = [one for page in report["events"] for one in page]
        assert turned[: len(events)] == events[: len(turned)]
        assert len([page for page in report["events"] if len(page) == 2]) > 1
        # Problems are read with their ids.
        refusals = {name: (report[name]["status"], report[name]["id"]) for name in ("conflict", "absent")}
        assert refusals == {"conflict": (409, "GW312"), "absent": (404, "GW112")}
        assert report["stranger"]["status"] == 401
        if language == "python":
            assert (report["conflict"]["typed"], report["absent"]["typed"]) == ("GW312", "GW112")
