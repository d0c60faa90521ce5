"""``gateway map pack``, ``map verify`` and ``map use FILE``: a bundle is used as its publisher signed it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli import main
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import load_shipped_rules
from gateway.operations import ActOrder
from gateway.operations.act_kinds import read_order_mappings
from gateway.pki import encode_key_pem, read_certificate
from gateway_conformance.foreign_verifier import find_signature_fault
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.cli.test_map_import import INVENTORY

#: Each case is an attack of its own.

B = "{urn:single-window:mapping-bundle:1}"
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Press:
    """A home with one document in force, the folder of it, and the files that publishers signed."""

    home: Path
    folder: Path
    keys: Path
    signed: Path

    def write(self, change: Callable[[etree._Element], None]) -> Path:
        """Return the signed file, changed after it was signed."""
        root = etree.fromstring(self.signed.read_bytes())
        change(root)
        changed = self.keys / "changed.xml"
        changed.write_bytes(etree.tostring(root))
        return changed

    def pack(self, name: str, *words: object, key: str | None = "publisher") -> Path:
        """Return a file of the folder, with the signature of a key, or with none."""
        out = self.keys / name
        signing = (
            []
            if key is None
            else ["--key", self.keys / f"{key}.key", "--certificate", self.keys / f"{key}.crt"]
        )
        assert main(["map", "pack", *map(str, (self.folder, "--out", out, *signing, *words))]) == 0
        return out


@pytest.fixture(scope="module")
def press(tmp_path_factory: pytest.TempPathFactory) -> Press:
    """Make the keys of a publisher, of a stranger and of one whose certificate has ended."""
    place = tmp_path_factory.mktemp("press")
    authority = make_authority("CN=Press CA", NOW - timedelta(days=90), "p-256")
    for name, age, days in (("publisher", 1, 300), ("stranger", 1, 300), ("ended", 60, 30)):
        order = CertificateOrder(key_kind="p-256", days=days)
        issued = issue_certificate(authority, f"CN={name}", NOW - timedelta(days=age), order)
        (place / f"{name}.crt").write_bytes(issued.certificate.pem)
        (place / f"{name}.key").write_bytes(encode_key_pem(issued.key))
    (place / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    folder = place / "folder"
    assert main(["map", "import", str(place / "inventory.yaml"), "--out", str(folder)]) == 0
    made = Press(place / "home", folder, place, place / "signed.xml")
    made.pack("signed.xml", "--samples", 1)
    return made


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """Return a home with a new database, and every document that came with the program."""
    place = tmp_path_factory.mktemp("seed") / "home"
    assert main(["migrate", "--new", "--home", str(place)]) == 0
    return place, tuple(load_shipped_rules().bundle.documents)


@pytest.fixture
def home(press: Press, seed: tuple[Path, tuple[str, ...]], tmp_path: Path) -> Path:
    """Return a home that takes signed mappings only, of the publisher and of the one whose time is over."""
    place = tmp_path / "home"
    shutil.copytree(seed[0], place)
    names = ", ".join(f'"{press.keys / name}.crt"' for name in ("publisher", "ended"))
    (place / "gateway.toml").write_text(
        f'[hub]\nhome = "."\n[mappings]\npublishers = [{names}]\nrequire_signature = true\n'
    )
    return place


@pytest.fixture
def use(
    home: Path, seed: tuple[Path, tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Return ``map use`` on the home, which may remove every document that came with the program."""
    gone = [word for one in seed[1] for word in ("--remove", one)]
    capsys.readouterr()

    def run(*words: object) -> tuple[int, dict[str, Any]]:
        status = main(["map", "use", *map(str, words), *gone, "--json", "--home", str(home)])
        told = capsys.readouterr()
        return status, json.loads(told.out if status == 0 else told.err)

    return run


def list_audit(home: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["audit", "list", "--json", "--home", str(home)]) == 0
    row: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[0])
    return row


def test_a_signed_file_comes_into_force_and_the_audit_names_its_publisher(
    press: Press, home: Path, use: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = use(press.signed)
    assert (status, said["documents"]) == (0, ["D-1"])
    root = etree.fromstring(press.signed.read_bytes())
    assert said["bundle"] == root.findtext(f"{B}Address")
    published = json.dumps(list_audit(home, capsys))
    assert "CN=publisher" in published
    certificate = read_certificate((press.keys / "publisher.crt").read_bytes())
    assert find_signature_fault(press.signed.read_bytes(), certificate, NOW) is None


def test_what_is_not_signed_is_refused_where_it_must_be(
    press: Press, use: Callable[..., Any], tmp_path: Path
) -> None:
    bare = press.pack("bare.xml", key=None)
    for offered in (bare, press.folder):
        status, said = use(offered)
        assert (status, said["problem"]) == (1, "GW514")
        assert said["location"] == "/MappingBundle/ds:Signature"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for file in press.folder.rglob("*.yaml"):
            packed.write(file, file.relative_to(press.folder))
    (tmp_path / "folder.zip").write_bytes(archive.getvalue())
    assert use(tmp_path / "folder.zip")[1]["problem"] == "GW514"


@pytest.mark.parametrize(
    ("key", "words"), [("stranger", "not one of mappings.publishers"), ("ended", "valid from")]
)
def test_a_stranger_and_a_certificate_out_of_its_dates_are_refused(
    press: Press, use: Callable[..., Any], key: str, words: str
) -> None:
    status, said = use(press.pack(f"{key}.xml", key=key))
    assert (status, said["problem"], said["location"]) == (
        1,
        "GW514",
        "/MappingBundle/ds:Signature/ds:KeyInfo",
    )
    assert words in said["detail"]


def set_text(name: str, text: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = root.find(f"{B}{name}")
        assert found is not None
        found.text = text

    return change


def swap_content(root: etree._Element) -> None:
    """Put another archive in, with its right digest."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("common.yaml", "")
    found = root.find(f"{B}Content")
    assert found is not None
    found.set("sha256", hashlib.sha256(made.getvalue()).hexdigest())
    found.text = base64.b64encode(made.getvalue()).decode()


def claim_more(root: etree._Element) -> None:
    proof = root.find(f"{B}Proofs/{B}Proof")
    assert proof is not None
    proof.set("checked", "999999")


@pytest.mark.parametrize(
    "change",
    [set_text("Address", "0" * 64), set_text("Made", "2020-01-01T00:00:00Z"), swap_content, claim_more],
)
def test_a_file_that_was_changed_is_refused(
    press: Press, use: Callable[..., Any], change: Callable[[etree._Element], None]
) -> None:
    status, said = use(press.write(change))
    assert (status, said["problem"]) == (1, "GW515")
    assert "digest" in said["detail"], said
    assert said["location"]


def unsign(root: etree._Element) -> None:
    root.remove(root[-1])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (set_text("Address", "0" * 64), "/MappingBundle/Address"),
        (set_text("Address", "x"), "/MappingBundle/Address"),
        (set_text("Made", "2026-02-30T00:00:00Z"), "/MappingBundle/Made"),
        (set_text("Content", "!"), "/MappingBundle/Content"),
        (set_text("Content", "AAAA"), "/MappingBundle/Content"),
        (claim_more, None),
        (lambda root: root.append(root[0]), "/MappingBundle"),
        (lambda root: root.set("more", "1"), "/MappingBundle"),
        (lambda root: root[2].set("samples", "-1"), "/MappingBundle/Proofs"),
        (lambda root: root[2][0].set("holds", "yes"), "/MappingBundle/Proofs"),
        (lambda root: root[2].remove(root[2][0]), "/MappingBundle/Proofs"),
        (lambda root: root[2].append(etree.Comment("x")), "/MappingBundle/Proofs"),
    ],
)
def test_a_file_without_signature_is_read_strictly_and_its_report_is_not_believed(
    press: Press,
    home: Path,
    use: Callable[..., Any],
    change: Callable[[etree._Element], Any],
    place: str | None,
) -> None:
    (home / "gateway.toml").write_text('[hub]\nhome = "."\n')

    def change_unsigned(root: etree._Element) -> None:
        unsign(root)
        change(root)

    status, said = use(press.write(change_unsigned))
    if place is None:
        assert status == 0
    else:
        assert (status, said["problem"], said["location"]) == (1, "GW515", place)


@pytest.mark.parametrize("octets", [b"<", b"<a/>", b"<!DOCTYPE a []><a/>", b'<a xmlns="urn:x"/>'])
def test_a_file_that_is_none_is_refused_with_its_place(
    use: Callable[..., Any], tmp_path: Path, octets: bytes
) -> None:
    (tmp_path / "none.xml").write_bytes(octets)
    status, said = use(tmp_path / "none.xml")
    assert (status, said["problem"]) == (1, "GW515")
    assert said["location"]


@pytest.mark.night
def test_the_dates_of_a_file_hold(press: Press, use: Callable[..., Any]) -> None:
    planned = press.pack("planned.xml", "--from", "2100-03-01", "--until", "2100-04-01")
    instant = press.pack("instant.xml", "--from", "2100-03-01T00:00:00Z")
    status, said = use(planned, "--from", "2100-02-28")
    assert (status, said["problem"], said["location"]) == (1, "GW515", "/MappingBundle/From")
    status, said = use(planned, "--from", "2100-04-02")
    assert (status, said["problem"], said["location"]) == (1, "GW515", "/MappingBundle/Until")
    status, said = use(planned)
    # The day begins where the hub is, as the day of `--from` does.
    assert (status, said["from"]) == (0, "2100-02-28T15:00:00.000Z")
    assert use(instant)[1]["from"] == "2100-03-01T00:00:00.000Z"
    over = press.pack("over.xml", "--at", "2026-01-01T00:00:00Z", "--until", "2026-01-02")
    assert use(over)[1]["location"] == "/MappingBundle/Until"
    early = press.pack("early.xml", "--at", "2099-01-01T00:00:00Z")
    assert "signed in the future" in use(early)[1]["detail"]


def test_the_console_holds_the_same_rules(press: Press) -> None:
    publisher = Settings.model_validate(
        {"mappings": {"publishers": [str(press.keys / "publisher.crt")], "require_signature": True}}
    )

    def prepare(octets: bytes) -> str | None:
        try:
            found = read_order_mappings(ActOrder("map use", {}, octets, "f"), publisher, datetime.now(UTC))
        except GatewayError as refused:
            return refused.problem.id
        return found and found.bundle.digest

    assert prepare(press.signed.read_bytes()) not in ("GW514", "GW515", None)
    assert prepare(press.pack("other.xml", key="stranger").read_bytes()) == "GW514"
    assert prepare(b"PK") == "GW514"
    assert prepare(press.pack("later.xml", "--from", "2100-01-01").read_bytes()) == "GW515"


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["map", "verify", *map(str, words), "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, told


def test_a_file_is_verified_and_proved_again(press: Press, capsys: pytest.CaptureFixture[str]) -> None:
    publisher = press.keys / "publisher.crt"
    status, told = verify(capsys, press.signed, "--publisher", publisher, "--samples", 1)
    assert (status, told["accepted"], told["problem"], told["documents"]) == (0, True, None, ["D-1"])
    assert told["signer"] == "CN=publisher"
    assert re.fullmatch("[0-9a-f]{64}", told["bundle"])
    assert all(one["claimed"] == one["found"] and one["found"]["ok"] for one in told["proofs"].values())
    status, told = verify(capsys, press.signed, "--publisher", press.keys / "stranger.crt")
    assert (status, told["accepted"], told["problem"]) == (1, False, "GW514")
    status, told = verify(capsys, press.write(swap_content), "--publisher", publisher)
    assert (status, told["problem"], told["bundle"]) == (1, "GW515", None)


def test_mappings_that_do_not_hold_are_not_packed(
    press: Press, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(press.folder.glob("agencies/*/D-1.yaml"))
    good = file.read_text("utf-8")
    file.write_text(good + "nonsense: 1\n", encoding="utf-8")
    try:
        assert main(["map", "pack", str(press.folder), "--out", str(tmp_path / "never.xml")]) == 1
    finally:
        file.write_text(good, encoding="utf-8")
    assert "GW502" in capsys.readouterr().err
    assert not (tmp_path / "never.xml").exists()
    assert main(["map", "verify", str(press.signed)]) != 0
    assert "GW808" in capsys.readouterr().err
