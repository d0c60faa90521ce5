"""Evidence is verified by a second implementation, which has no code of the gateway, and both agree.

The other one is `tests/evidence/second_verifier.py`; it runs as a process of its own.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.config import Settings
from gateway.operations import Act, purge_octets
from gateway.store import make_engine, migrate_schema
from tests.flows.evidence_bundles import (
    KINDS,
    READERS,
    Files,
    find_fault,
    make_bundle,
    seal_evidence,
    write_bundle,
)
from tests.kit.house import authority, signer_named
from tests.kit.paths import ROOT

PROGRAM = ROOT / "tests/evidence/second_verifier.py"


@pytest.fixture(scope="module")
def get_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Files]]:
    """Give a function that makes the files of a bundle by its kind and its reader; each case happens once."""
    engines: list[Engine] = []

    @cache
    def run_story(kind: str) -> Any:
        folder = tmp_path_factory.mktemp(kind)
        engine = make_engine(f"sqlite:///{folder}/gateway.sqlite3")
        engines.append(engine)
        migrate_schema(engine)
        return KINDS[kind](engine)

    yield lambda kind, reader: make_bundle(run_story(kind), READERS[reader])
    for engine in engines:
        engine.dispose()


def ask_second(files: Files, folder: Path, *, stamped: bool) -> tuple[int, dict[str, Any], str]:
    """Let the second implementation judge a bundle, which sees nothing of this process."""
    path = write_bundle(files, folder / "bundle.zip")
    (folder / "hub.pem").write_bytes(signer_named("hub").certificate.pem)
    (folder / "ca.pem").write_bytes(authority().certificate.pem)
    words = [str(path), "--signer", "hub.pem", *(("--anchor", "ca.pem") if stamped else ())]
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_the_second_implementation_has_no_code_of_the_gateway() -> None:
    imported = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography", "lxml"}
    assert not {"importlib", "runpy", "ctypes"} & imported


@pytest.mark.long
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_verify_the_bundle_of_each_kind_of_case(
    get_bundle: Callable[[str, str], Files], tmp_path: Path, kind: str, reader: str
) -> None:
    files, stamped = get_bundle(kind, reader), kind == "stamped"
    assert find_fault(files, stamped=stamped) is None
    status, report, err = ask_second(files, tmp_path, stamped=stamped)
    assert (status, err) == (0, "")
    # Everything in the bundle is tied to a leaf.
    bodies = {name.split("/")[1] for name in files if name.startswith("messages/")}
    assert set(report["tied"]) == bodies | {name for name in files if name.startswith("agencies/")}
    if kind == "console":
        assert bool(report["withheld"]) == (reader == "party")
    assert (report["stamps"] > 0) == stamped


@pytest.mark.long
def test_both_verify_the_bundle_of_a_case_without_the_octets_that_were_removed(
    engine: Engine, tmp_path: Path
) -> None:
    story = KINDS["ebms2"](engine)
    whole = make_bundle(story, READERS["party"])
    for _ in range(9):
        story.tick(days=40)
    settings = Settings(**{"retention": {"octets": "10d"}})
    assert purge_octets(engine, settings, Act("retention purge", "Kim"), now=story.clock()).cases == 1
    seal_evidence(story)
    for name, reader in READERS.items():
        files = make_bundle(story, reader)
        assert files.keys() < whole.keys()
        assert find_fault(files, stamped=False) is None
        status, proved, err = ask_second(files, tmp_path, stamped=False)
        assert (status, err) == (0, "")
        assert set(proved["tied"]) == {file for file in files if file.startswith("agencies/")} != set()
        assert ("purged" in proved["leaves"], proved["withheld"]) == (name == "operator", name == "party")
    # Nobody can take a message away and say that retention did.
    lacking = {file: content for file, content in whole.items() if not file.endswith("/message.bin")}
    lacking["README.txt"] = files["README.txt"]
    assert "no leaf says that it was removed" in ask_second(lacking, tmp_path, stamped=False)[2]


def change_proof(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Files], None]:
    """Return what changes a proof of a bundle."""

    def apply(files: Files) -> None:
        document = json.loads(files[f"proofs/{name}.json"])
        change(document)
        files[f"proofs/{name}.json"] = json.dumps(document).encode()

    return apply


def change_leaf(change: Callable[[dict[str, Any]], object], kind: str) -> Callable[[dict[str, Any]], object]:
    """Return what changes the values of a leaf, which stays written as leaves are."""

    def apply(document: dict[str, Any]) -> None:
        for leaf in document["leaves"]:
            values = json.loads(leaf["leaf"])
            if values["kind"] == kind:
                change(values)
                leaf["leaf"] = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
                return
        raise AssertionError(f"there is no leaf {kind}")

    return apply


def flip(coded: str) -> str:
    """Return base64 with another octet in the middle."""
    octets = bytearray(base64.b64decode(coded))
    octets[len(octets) // 2] ^= 1
    return base64.b64encode(octets).decode()


def flip_last(coded: str) -> str:
    """Return base64 with another last octet: a time stamp ends with its signature (RFC 5652, 5.3)."""
    octets = base64.b64decode(coded)
    return base64.b64encode(octets[:-1] + bytes([octets[-1] ^ 1])).decode()


def change_stamped_year(coded: str) -> str:
    """Return a time stamp with a later year: its content precedes its certificates (RFC 5652, 5.1)."""
    token = base64.b64decode(coded)
    year = re.search(rb"\x18[\x0f-\x18](20\d\d)\d{10}", token)
    assert year is not None
    later = str(int(year[1]) + 1).encode()
    return base64.b64encode(token[: year.start(1)] + later + token[year.end(1) :]).decode()


def flip_hex(text: str) -> str:
    return ("0" if text[0] != "0" else "1") + text[1:]


def change_line(number: int, change: Callable[[str], str]) -> Callable[[dict[str, Any]], object]:
    """Return what changes a line of the head."""

    def apply(document: dict[str, Any]) -> None:
        lines = document["head"].split("\n")
        lines[number] = change(lines[number])
        document["head"] = "\n".join(lines)

    return apply


def change_octets(document: dict[str, Any]) -> None:
    name = next(iter(document["octets"]))
    document["octets"][name] = flip(document["octets"][name])


def change_file(prefix: str, suffix: str, old: bytes, new: bytes) -> Callable[[Files], None]:
    """Return what changes the first file of these names that has some octets."""

    def apply(files: Files) -> None:
        name = next(
            one for one in files if one.startswith(prefix) and one.endswith(suffix) and old in files[one]
        )
        files[name] = files[name].replace(old, new, 1)

    return apply


def add_octets(files: Files) -> None:
    first = next(one for one in files if one.startswith("agencies/"))
    files[first] = files[first] + b"\n"


def put_first(key: str, change: Callable[[Any], Any], part: str) -> Callable[[dict[str, Any]], object]:
    """Return what changes a part of the first member of a list of a proof."""

    def apply(document: dict[str, Any]) -> None:
        document[key][0][part] = change(document[key][0][part])

    return apply


STRANGER = base64.b64encode(signer_named("broker1").certificate.der).decode()
#: By name: the kind of the case, its reader, and what is changed in its bundle.
CHANGES: dict[str, tuple[str, str, Callable[[Files], None]]] = {
    "what a leaf says": (
        "ebms2",
        "party",
        change_proof("case", change_leaf(lambda one: one["data"].update(outcome="REJECTED"), "decided")),
    ),
    "the digest of a leaf": (
        "ebms2",
        "party",
        change_proof("message-1", change_leaf(lambda one: one.update(digest=flip_hex(one["digest"])), "NRO")),
    ),
    "the time of a leaf": (
        "refused",
        "party",
        change_proof(
            "case", change_leaf(lambda one: one.update(at=one["at"].replace("2026", "2027")), "refused")
        ),
    ),
    "the salt of a leaf": (
        "console",
        "operator",
        change_proof(
            "application-KPTA-1",
            change_leaf(lambda one: one["data"].update(salt=flip_hex(one["data"]["salt"])), "act"),
        ),
    ),
    "a leaf without its salt": (
        "console",
        "operator",
        change_proof("application-KPTA-1", change_leaf(lambda one: one["data"].pop("salt"), "act")),
    ),
    "the hash of a withheld leaf": (
        "console",
        "party",
        change_proof("application-KPTA-1", put_first("withheld", flip_hex, "hash")),
    ),
    "the place of a withheld leaf": (
        "console",
        "party",
        change_proof("application-KPTA-1", put_first("withheld", lambda one: one + 1, "place")),
    ),
    "the place of a leaf": (
        "as4",
        "party",
        change_proof("case", put_first("leaves", lambda one: one + 1, "place")),
    ),
    "a leaf beyond the head": (
        "as4",
        "party",
        change_proof("case", put_first("leaves", lambda _: 10**6, "place")),
    ),
    "a step of a path": (
        "api",
        "party",
        change_proof("case", put_first("leaves", lambda one: [flip_hex(one[0]), *one[1:]], "path")),
    ),
    "a shorter path": (
        "api",
        "party",
        change_proof("case", put_first("leaves", lambda one: one[:-1], "path")),
    ),
    "a longer path": (
        "api",
        "party",
        change_proof("case", put_first("leaves", lambda one: [*one, "00" * 32], "path")),
    ),
    "the order of a path": (
        "api",
        "party",
        change_proof("case", put_first("leaves", lambda one: one[::-1], "path")),
    ),
    "the number of leaves": (
        "withdrawn",
        "party",
        change_proof("case", change_line(1, lambda one: str(int(one) + 1))),
    ),
    "the root": ("withdrawn", "party", change_proof("case", change_line(2, flip))),
    "the time of a head": (
        "withdrawn",
        "party",
        change_proof("case", change_line(3, lambda _: "2020-01-01T00:00:00Z")),
    ),
    "the hub of a head": (
        "withdrawn",
        "party",
        change_proof("case", change_line(0, lambda _: "other/evidence")),
    ),
    "the signature of a head": (
        "ebms2",
        "party",
        change_proof("case", lambda one: one.update(signature=flip(one["signature"]))),
    ),
    "a head without signature": (
        "ebms2",
        "party",
        change_proof("case", lambda one: one.update(signature=None, certificate=None)),
    ),
    "the signer of a head": (
        "ebms2",
        "party",
        change_proof("case", lambda one: one.update(certificate=STRANGER)),
    ),
    "another version": ("ebms2", "party", change_proof("case", lambda one: one.update(version=2))),
    "the signature of a time stamp": (
        "stamped",
        "party",
        change_proof("case", put_first("stamps", flip_last, "token")),
    ),
    "the time of a time stamp": (
        "stamped",
        "party",
        change_proof("case", put_first("stamps", change_stamped_year, "token")),
    ),
    "no time stamp": ("stamped", "party", change_proof("case", lambda one: one.update(stamps=[]))),
    "octets of a verdict": ("stamped", "party", change_proof("case", change_octets)),
    "no octets of a verdict": ("stamped", "party", change_proof("case", lambda one: one.update(octets={}))),
    "the header of a message": (
        "ebms2",
        "party",
        change_file("messages/1-", "message.bin", b"Submit</eb:Action>", b"Subnit</eb:Action>"),
    ),
    "an attachment": ("ebms2", "party", change_file("messages/1-", "message.bin", b"%PDF-", b"%PDX-")),
    "a document beside its message": (
        "ebms2",
        "party",
        change_file("messages/1-", "document.xml", b"HB2026", b"HB2027"),
    ),
    "a receipt": (
        "ebms2",
        "party",
        change_file("messages/1-", "receipt.xml", b"<eb:Timestamp>2", b"<eb:Timestamp>3"),
    ),
    "a sent message": ("ebms2", "party", change_file("messages/", "message.bin", b"Result</", b"Resulx</")),
    "the header of a message of AS4": (
        "as4",
        "party",
        change_file("messages/1-", "message.bin", b">Submit</", b">Subnit</"),
    ),
    "a filed document": ("api", "party", change_file("messages/1-", "document.xml", b"HB2026", b"HB2027")),
    "a filed attachment": ("api", "party", change_file("messages/1-", "sample", b"%PDF-", b"%PDX-")),
    "the receipt of a filed document": (
        "api",
        "party",
        change_file("messages/1-", "receipt.xml", b"filed-1", b"filed-2"),
    ),
    "what an agency signed": ("ebms2", "party", change_file("agencies/", ".xml", b"Response", b"Responsf")),
    "octets behind what an agency signed": ("ebms2", "party", add_octets),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CHANGES)
def test_both_refuse_what_was_changed(
    get_bundle: Callable[[str, str], Files], tmp_path: Path, name: str
) -> None:
    kind, reader, change = CHANGES[name]
    before, stamped = get_bundle(kind, reader), kind == "stamped"
    files = dict(before)
    change(files)
    assert files != before
    status, report, err = ask_second(files, tmp_path, stamped=stamped)
    refused = find_fault(files, stamped=stamped)
    assert (status, report, err.startswith("broken: "), bool(refused)) == (1, {}, True, True), (err, refused)
