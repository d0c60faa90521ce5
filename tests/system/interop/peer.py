"""Builds the Java peer once, outside the checkout, and runs it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway_conformance.pki import CertificateOrder, IssuedCertificate, issue_certificate, make_authority

PASSWORD = "changeit"
PARTIES = {
    "agency-rsa": "rsa-2048",
    "agency-ec": "p-256",
    "hub-rsa": "rsa-2048",
    "hub-ec": "p-256",
    "stranger": "rsa-2048",
}


def build(source: Path, changes: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """Return the folder of the peer built from `source`; the build is kept under a name of its content.

    `changes` has, by the name of a file, what is replaced in the copy, and by what.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file() and "target" not in path.parts)
    made = b"".join(path.read_bytes() for path in files) + json.dumps(changes or {}).encode()
    content = hashlib.sha256(made).hexdigest()[:16]
    cache = Path(os.environ.get("GATEWAY_PEER_CACHE") or Path.home() / ".cache" / "single-window-gateway")
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / f"{source.name}-{content}"
    with (cache / f"{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "built").exists():
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(source, home, ignore=shutil.ignore_patterns("target"))
            for name, (old, new) in (changes or {}).items():
                (file,) = home.rglob(name)
                text = file.read_text()
                assert old in text, f"{name} is not as it was"
                file.chmod(0o644)
                file.write_text(text.replace(old, new, 1))
            done = subprocess.run(["./build.sh"], cwd=home, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, (
                f"the peer cannot be built (Java 17 and Maven are needed):\n{done.stdout[-3000:]}"
            )
            (home / "built").touch()
    return home


_QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:disable"


def choose_quick_options(home: Path, use: str) -> str:
    """Return options of the virtual machine for short runs: one quick compiler, and the archive of a use."""
    archive = home / f"{use}.jsa"
    return f"{_QUICK} -XX:SharedArchiveFile={archive}" if archive.exists() else _QUICK


@contextmanager
def quick_start(home: Path, use: str) -> Iterator[str]:
    """Give options of the virtual machine for a short run of one use of a built peer.

    One quick compiler; and the classes of the use from an archive, which its first run writes.
    """
    archive = home / f"{use}.jsa"
    if archive.exists():
        yield choose_quick_options(home, use)
        return
    # Another process may make one at the same time: it takes its name when it is whole.
    made = home / f"{use}-{os.getpid()}.jsa"
    yield f"{_QUICK} -XX:ArchiveClassesAtExit={made}"
    if made.exists():
        made.replace(archive)


@dataclass(frozen=True)
class Keys:
    """Keys of the parties, and the same as the files that the peer reads."""

    folder: Path
    issued: dict[str, IssuedCertificate]

    def store(self, name: str) -> Path:
        return self.folder / f"{name}.p12"

    @property
    def trust(self) -> Path:
        return self.folder / "ca.pem"


def make_keys(folder: Path) -> Keys:
    """Issue keys for PARTIES: one CA for all but the stranger."""
    now = datetime.now(UTC) - timedelta(hours=1)
    ours, others = (
        make_authority("CN=Interop CA", now, "rsa-2048"),
        make_authority("CN=Other CA", now, "rsa-2048"),
    )
    issued = {
        name: issue_certificate(
            others if name == "stranger" else ours, f"CN={name}", now, CertificateOrder(key_kind=kind)
        )
        for name, kind in PARTIES.items()
    }
    pem = x509.load_der_x509_certificate(ours.certificate.der).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    for name, one in issued.items():
        certificate = x509.load_der_x509_certificate(one.certificate.der)
        protection = serialization.BestAvailableEncryption(PASSWORD.encode())
        store = pkcs12.serialize_key_and_certificates(name.encode(), one.key, certificate, None, protection)
        (folder / f"{name}.p12").write_bytes(store)
        (folder / f"{name}.key.pem").write_bytes(one.key_pem)
        (folder / f"{name}.cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Keys(folder, issued)


@dataclass(frozen=True)
class Serving:
    """A running agency."""

    port: int
    home: Path

    def url(self, code: str) -> str:
        return f"http://127.0.0.1:{self.port}/agency/{code}"

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def count(self, code: str, what: str) -> int:
        return int(self.stats()["agencies"].get(code, {}).get(what, 0))


@dataclass(frozen=True)
class Peer:
    """The peer's program and the keys it uses."""

    folder: Path
    keys: Keys

    @contextmanager
    def serve(self, home: Path, *options: str | Path, party: str = "agency-rsa") -> Iterator[Serving]:
        """Run an agency until the block ends."""
        command = [self.folder / "cxf-agency", "serve", "--port", "0", "--home", home]
        command += ["--keystore", self.keys.store(party), "--truststore", self.keys.trust, *options]
        environment = os.environ | {"CXF_AGENCY_JAVA": "-XX:TieredStopAtLevel=1"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("READY "):
                process.kill()
                raise AssertionError(f"the peer did not start: {line}{process.communicate()[1][-3000:]}")
            yield Serving(int(line.split()[1]), home)
        finally:
            process.terminate()
            process.communicate(timeout=30)

    def call(self, *options: str | Path, party: str = "agency-rsa") -> dict[str, Any]:
        """Let the peer's client call a service; returns its report."""
        keys = ("--keystore", self.keys.store(party), "--truststore", self.keys.trust)
        return self.report("call", *keys, *options)

    def report(self, *arguments: str | Path) -> dict[str, Any]:
        command = [self.folder / "cxf-agency", *arguments]
        # Only what runs often is worth an archive.
        start = quick_start(self.folder, "call") if arguments[0] == "call" else nullcontext("")
        with start as options:
            environment = os.environ | {"CXF_AGENCY_JAVA": options}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=280, check=False
            )
        assert done.returncode in (0, 1), done.stderr[-2000:]
        found = json.loads(done.stdout)
        return found if isinstance(found, dict) else {"files": found}
