"""The assertions of eDelivery AS4 1.15 against a live phase4: what it holds, and what it does not."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from gateway.cli import main
from gateway_conformance.as4 import select_assertions
from tests.kit.ports import find_free_port
from tests.system.interop.peer import choose_quick_options
from tests.system.interop.phase4 import build_phase4

#: Each message of the peer starts a Java process, which takes up to 20 s on a loaded machine.
pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long, pytest.mark.timeout(1200)]

TYPE = "urn:oasis:names:tc:ebcore:partyid-type:unregistered:suite"
EB3 = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
#: What phase4 does otherwise, with the clause of eDelivery AS4 1.15 (see the manual, conformance.md).
PHASE4_WANTS = {
    "ED13": "1.4.3.2",
    "ED17": "1.4.2.5",
}
#: The peer makes its P-Mode from the message, so that no agreement and no service is unknown to it; and it
#: sends each message once.
PEER_PROGRAM = {"ED08", "ED09", "TA09", "TA10"}
FEATURES = ["several-payloads", "test-service", "ping", "utf-16", "delivered"]


def make_keys(folder: Path) -> None:
    """Write a key with a certificate that signs and decrypts, as PEM and PKCS #12."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phase4")])
    at = datetime.now(UTC)
    usage = dict.fromkeys(
        ["content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"], False
    ) | dict.fromkeys(["encipher_only", "decipher_only"], False)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_encipherment=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "phase4.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    protection = serialization.BestAvailableEncryption(b"secret")
    (folder / "phase4.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"phase4", key, made, None, protection)
    )


class Bench:
    """The peer with its keys, and the partner folder of the suite."""

    def __init__(self, program: Path, place: Path) -> None:
        self.program, self.place, self.partner = program, place, place / "partner"
        self.port, self.listens = find_free_port(), find_free_port()
        make_keys(place)
        words = [
            "--certificate",
            str(place / "phase4.pem"),
            "--encryption-certificate",
            str(place / "phase4.pem"),
        ]
        words += ["--party", f"{TYPE}|phase4", "--url", self.url, "--out", str(self.partner)]
        callback = f"http://127.0.0.1:{self.listens}"
        assert main(["conformance", "invite", "as4", *words, "--callback", callback]) == 0
        anchors = x509.load_pem_x509_certificates((self.partner / "ca.pem").read_bytes())
        protection = serialization.BestAvailableEncryption(b"secret")
        named = [pkcs12.PKCS12Certificate(one, f"ca{n}".encode()) for n, one in enumerate(anchors)]
        (place / "trust.p12").write_bytes(pkcs12.serialize_java_truststore(named, protection))
        self._write_profile(callback)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/as4"

    def _options(self) -> list[str]:
        return [
            *("--keystore", str(self.place / "phase4.p12"), "--keystore-password", "secret"),
            *("--alias", "phase4", "--truststore", str(self.place / "trust.p12")),
        ]

    def _write_profile(self, callback: str) -> None:
        send = [
            str(self.program / "phase4-peer"),
            "send",
            "--url",
            f"{callback}/suite/main",
            *self._options(),
        ]
        send += ["--encrypt", "yes", "--peer-cert", str(self.partner / "suite.decryption.cert.pem")]
        send += ["--compress", "yes", "--agreement", "urn:single-window:suite:as4:main"]
        send += ["--initiator", "phase4", "--initiator-type", TYPE, "--initiator-role", f"{EB3}responder"]
        send += ["--responder", "suite-as4", "--responder-type", TYPE, "--responder-role", f"{EB3}initiator"]
        send += ["--conversation-id", "CONVERSATION"]
        store = ["--service", "store", "--service-type", "suite", "--action", "Answer"]
        parts = {"one.xml": b"<a>1</a>", "wide.xml": "<a>1</a>".encode("utf-16")}
        parts |= {f"{number}.txt": f"part {number}".encode() for number in (2, 3)}
        for name, content in parts.items():
            (self.place / name).write_bytes(content)

        def say(*words: str) -> str:
            return shlex.join([*send, *words]).replace("CONVERSATION", "{conversation}")

        one = ("--payload", str(self.place / "one.xml"), "--mime", "application/xml")
        wide = ("--payload", str(self.place / "wide.xml"), "--mime", "application/xml", "--charset", "UTF-16")
        more = [
            word
            for n in (2, 3)
            for word in ("--payload", str(self.place / f"{n}.txt"), "--mime", "text/plain")
        ]
        test = ("--service", f"{EB3}service", "--action", f"{EB3}test")
        inbox = f"sha256sum {shlex.quote(str(self.place))}/inbox/{{message_id}}/payload-* 2>/dev/null"
        table = {
            "name": "phase4 4.4.1",
            "features": FEATURES,
            "message": {"action": "Store"},
            "outbound": {
                "command": say(*store, *one, "--charset", "UTF-8"),
                "utf16": say(*store, *wide),
                "several": say(*store, *one, *more, "--charset", "UTF-8"),
                "ping": say(*test, *one),
            },
            "show": {"delivered": inbox},
            "patience": 8,
        }
        (self.partner / "profile.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")

    @contextmanager
    def serve(self, encrypt: str) -> Iterator[None]:
        command = [
            str(self.program / "phase4-peer"),
            "serve",
            "--port",
            str(self.port),
            "--home",
            str(self.place),
        ]
        with (self.place / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *self._options(), "--encrypt", encrypt],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("READY ")
                yield
            finally:
                process.terminate()
                process.communicate(timeout=30)

    def run(self, *only: str, profile: str = "edelivery-1.15") -> dict[str, Any]:
        """Run the assertions whose id matches each glob; return their results by id."""
        found = {}
        for one in only:
            out = self.place / "report.json"
            words = ["--url", self.url, "--partner", str(self.partner), "--only", one, "--json", str(out)]
            words += ["--profile", profile]
            main(["conformance", "run", "as4", *words])
            found |= {case["id"]: case for case in json.loads(out.read_bytes())["cases"]}
        return found


@pytest.fixture(scope="module")
def results(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the results of phase4: of the rows in clear where it takes both, of all others encrypted."""
    program = build_phase4(vectors)
    bench = Bench(program, tmp_path_factory.mktemp("suite"))
    rows = select_assertions("edelivery-1.15", None)
    # With --encrypt yes the program refuses what has no payload, too: nothing of it is encrypted.
    clear = [one.id for one in rows if one.send.get("agreement") == "clear" or one.send.get("payloads") == []]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_OPTS", choose_quick_options(program, "send"))
        with bench.serve("yes"):
            found = bench.run("*") | bench.run("*", profile="as4-1.0")
        with bench.serve("optional"):
            return found | bench.run(*clear)


@pytest.mark.night
def test_phase4_is_judged(results: dict[str, Any]) -> None:
    wanting = {name: one["got"] for name, one in results.items() if one["verdict"] in ("failed", "advised")}
    told = [name for name, one in results.items() if one["verdict"] == "not_yet"]
    assert told == []
    assert set(wanting) == set(PHASE4_WANTS) | PEER_PROGRAM
    assert sum(one["verdict"] == "passed" for one in results.values()) >= 40
