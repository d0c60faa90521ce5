"""Builds and runs the peer that speaks AS4 by phase4; its keys are those of the parties of the tests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.pki import Certificate
from tests.kit.house import authority, signer_named
from tests.system.interop.peer import build, quick_start

_PASSWORD = "secret"
#: What the peer's program does not offer of phase4: digest and mask of OAEP, derivation and wrap of a key.
_CHANGES = {
    "Exchange.java": (
        """    String agreement = flags.get("key-agreement", "none");
    if (agreement.equals("x25519")) params.setEDelivery2KeyAgreementX25519();
    if (agreement.equals("ecdh-es")) params.setEDelivery2KeyAgreementECDHES();
""",
        """    String agreement = flags.get("key-agreement", "none");
    if (agreement.equals("x25519")) params.setEDelivery2KeyAgreementX25519();
    if (agreement.equals("ecdh-es")) params.setEDelivery2KeyAgreementECDHES();
    if (flags.on("oaep-digest")) params.setDigestAlgorithm(flags.get("oaep-digest"));
    if (flags.on("oaep-mask")) params.setMGFAlgorithm(flags.get("oaep-mask"));
    if (flags.on("key-transport")) params.setKeyEncAlgorithm(
        com.helger.phase4.crypto.ECryptoKeyEncryptionAlgorithm.valueOf(flags.get("key-transport")));
    if (flags.on("key-derivation")) params.setKeyDerivationMethod(
        com.helger.phase4.crypto.ECryptoKeyDerivationMethod.valueOf(flags.get("key-derivation")));
    if (flags.on("key-wrap")) params.setKeyWrapAlgorithm(
        com.helger.phase4.crypto.ECryptoKeyWrapAlgorithm.valueOf(flags.get("key-wrap")));
""",
    )
}


def build_phase4(vectors: Path) -> Path:
    """Return the folder of the program, built when it is not yet."""
    return build(vectors / "peers" / "phase4", _CHANGES)


@dataclass(frozen=True)
class Phase4:
    """The program of the peer, and a folder with its keys."""

    folder: Path
    keys: Path
    signature: str = "ecdsa-sha-256"

    def _options(self) -> list[str | Path]:
        return [
            *("--keystore", self.keys / "broker1.p12", "--keystore-password", _PASSWORD),
            *("--alias", "broker1", "--truststore", self.keys / "trust.p12"),
            *("--sign-algorithm", self.signature),
        ]

    def send(self, url: str, *options: str | Path) -> dict[str, Any]:
        """Send a message; returns what the peer reports of its answer."""
        command = [self.folder / "phase4-peer", "send", "--url", url, *self._options(), *options]
        return self._run(command)

    def pull(self, url: str, home: Path, *options: str | Path) -> dict[str, Any]:
        """Pull once, and post the receipt of what came; returns what the peer reports."""
        place = ["--url", url, "--home", home]
        command = [self.folder / "phase4-peer", "pull", *place, *self._options(), *options]
        return self._run(command)

    def _run(self, command: list[str | Path]) -> dict[str, Any]:
        with quick_start(self.folder, str(command[1])) as options:
            environment = os.environ | {"JAVA_OPTS": options}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=180, check=False
            )
        lines = done.stdout.strip().splitlines()
        assert lines, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    @contextmanager
    def serve(self, home: Path, port: int, *options: str) -> Iterator[Path]:
        """Serve `/as4` at a port until the block ends; yields the folder of what it received."""
        place = ["--port", str(port), "--home", str(home)]
        command = [self.folder / "phase4-peer", "serve", *place, *self._options(), *options]
        with (home / "phase4.log").open("wb") as log:
            environment = os.environ | {"JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"}
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line.startswith("READY "), f"phase4 did not start: {line}"
                yield home / "inbox"
            finally:
                process.terminate()
                process.communicate(timeout=30)


def make_key_stores(folder: Path, kind: str = "p-256", known: Sequence[Certificate] = ()) -> Path:
    """Write the key of broker1, the authority of all and certificates that messages may only name.

    Each is a PKCS #12 file.
    """
    protection = serialization.BestAvailableEncryption(_PASSWORD.encode())
    signer = signer_named("broker1", kind)
    anchor = x509.load_der_x509_certificate(authority().certificate.der)
    own = x509.load_der_x509_certificate(signer.certificate.der)
    (folder / "broker1.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"broker1", signer.key, own, [anchor], protection)  # type: ignore[arg-type]
    )
    trusted = [pkcs12.PKCS12Certificate(anchor, b"ca")]
    for number, certificate in enumerate(known):
        parsed = x509.load_der_x509_certificate(certificate.der)
        trusted.append(pkcs12.PKCS12Certificate(parsed, f"known{number}".encode()))
    java = pkcs12.serialize_java_truststore(trusted, protection)
    (folder / "trust.p12").write_bytes(java)
    return folder
