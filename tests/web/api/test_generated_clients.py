"""Clients that foreign generators make of the description of the API: what is a document is a file there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.api import document

pytestmark = pytest.mark.night

OPERATIONS = ("getResult", "getDocument", "getReceipt", "getEvidenceBundle")
#: By generator: the declaration of an operation, with its return type as the last group, and what it is.
DECLARATIONS = {
    "typescript-fetch": (r"async {name}\([^)]*\): Promise<([\w.]+)>", {"runtime.HttpFile", "Blob"}),
    "java": (r"public (\w+) {name}\(", {"File"}),
    "python": (r"def {name}\((?:(?!\n    def ).)*?\) -> (\w+):", {"bytes", "bytearray"}),
}


@pytest.mark.parametrize("generator", DECLARATIONS)
def test_a_generated_client_returns_documents_as_files(generator: str, tmp_path: Path) -> None:
    description, folder = tmp_path / "openapi.json", tmp_path / "client"
    description.write_text(json.dumps(document()), encoding="utf-8")
    program = Path(sys.executable).with_name("openapi-generator-cli")
    command = [str(program), "generate", "-i", str(description), "-g", generator, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    pattern, files = DECLARATIONS[generator]
    written = "\n".join(
        one.read_text(encoding="utf-8")
        for one in sorted(folder.rglob("*Api.*" if generator != "python" else "*_api.py"))
        if "test" not in one.parts
    )
    for operation in OPERATIONS:
        name = operation if generator != "python" else re.sub(r"(?=[A-Z])", "_", operation).lower()
        found = set(re.findall(pattern.replace("{name}", name), written, re.DOTALL))
        assert found, f"{operation} is not there"
        assert found <= files, f"{operation} returns {found}"
