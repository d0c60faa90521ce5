"""`gateway pki list`, `recognize` and `vouch`: the three modes from files, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.pki import encode_key_pem
from gateway.recognition import open_trusted_list
from gateway_conformance.pki import IssuedCertificate
from tests.kit.paths import ROOT
from tests.recognition import sample_lists
from tests.recognition.sample_lists import DAY, GRANTED, NOW, QC, SIGNATURES, WITHDRAWN, country

AT = NOW.isoformat()
MANUAL = ROOT / "gateway" / "manual" / "mutual-recognition.md"
Run = Callable[..., tuple[int, Any]]

DESCRIPTION = f"""
operator = "Home"
territory = "KR"
sequence = 7
next_update = 2026-12-20T09:00:00Z

[[service]]
provider = "Yan's authority"
name = "Yan CA"
certificates = ["yan.pem"]
[[service.standing]]
type = "ca"
status = "granted"
since = 2026-01-01T00:00:00Z

[[equivalence]]
identifier = "our law"
kinds = ["ca"]
statuses = ["granted"]
levels = ["basic"]
since = 2026-01-01T00:00:00Z

[[scheme]]
territory = "ZZ"
signers = ["zed-operator.pem"]
[[scheme.equivalence]]
identifier = "treaty"
kinds = ["{QC} {SIGNATURES}"]
statuses = ["{GRANTED}"]
levels = ["qualified"]
since = 2026-01-01T00:00:00Z

[[scheme]]
territory = "ZZ"
role = "voucher"
signers = ["zed-party.pem"]
[[scheme.equivalence]]
identifier = "treaty on vouching"
kinds = ["gold"]
statuses = ["vouched"]
levels = ["vouched-for"]
since = 2026-01-01T00:00:00Z
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object, status: int | None = None) -> tuple[int, Any]:
        got = main(["pki", *map(str, words)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert status is None or got == status, printed
        told = json.loads(printed.out) if printed.out.startswith("{") else printed.out + printed.err
        return got, told

    return call


def party(folder: Path, name: str, issued: IssuedCertificate) -> None:
    (folder / f"{name}.pem").write_bytes(issued.certificate.pem)
    (folder / f"{name}.key").write_bytes(encode_key_pem(issued.key))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with keys, a description of our list, and Zed's list."""
    for name in ("Home", "Zed", "Yan"):
        low = name.lower()
        party(tmp_path, f"{low}-operator", country(name).operator)
        party(tmp_path, f"{low}-party", country(name).party)
        (tmp_path / f"{low}.pem").write_bytes(country(name).authority.certificate.pem)
    (tmp_path / "ours.toml").write_text(f"\ufeff{DESCRIPTION}", encoding="utf-8")
    (tmp_path / "zed.xml").write_bytes(zed_list())
    return tmp_path


def zed_list(status: str = GRANTED, sequence: int = 5) -> bytes:
    one = sample_lists.etsi_service(country("Zed").authority.certificate, [(status, 40)])
    return sample_lists.etsi_list("ZZ", "Zed", [one], sequence=sequence)


def signing(here: Path, name: str) -> list[object]:
    return ["--key", here / f"{name}.key", "--certificate", here / f"{name}.pem"]


@pytest.fixture
def ours(here: Path, run: Run) -> Path:
    out = here / "ours.xml"
    made = ["list", "make", here / "ours.toml", "--out", out, "--at", (NOW - DAY).isoformat(), "--json"]
    _, told = run(*made, *signing(here, "home-operator"), status=0)
    assert (told["form"], told["territory"], told["sequence"], told["problem"]) == ("own", "KR", 7, None)
    assert told["services"][0]["levels"] == ["basic"]
    return out


def test_a_list_is_made_and_shown(here: Path, ours: Path, run: Run) -> None:
    signer = here / "home-operator.pem"
    _, told = run("list", "show", ours, "--signer", signer, "--at", AT, "--json", status=0)
    assert [each["role"] for each in told["schemes"]] == ["list", "voucher"]
    _, told = run("list", "show", ours, "--signer", signer, "--at", AT, status=0)
    assert "Yan CA: granted since" in told
    _, told = run(
        "list", "show", ours, "--signer", signer, "--at", "2027-01-01T00:00:00Z", "--json", status=1
    )
    assert told["problem"] == "GW804"
    _, told = run("list", "show", ours, "--signer", here / "zed-operator.pem", "--at", AT, status=1)
    assert told.startswith("gateway: GW205 signed by CN=Home Operator")


def test_the_lists_of_the_manual(here: Path, run: Run) -> None:
    texts = dict(
        re.findall(
            r"^```toml file=([\w-]+)\.toml\n(.*?)^```$",
            MANUAL.read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
    )
    counts = {}
    for name in ("ours", "zz-5"):
        (here / f"{name}.toml").write_text(texts[name], encoding="utf-8")
        for certificate in re.findall(r'"([\w./-]+\.pem)"', texts[name]):
            (here / certificate).parent.mkdir(exist_ok=True)
            (here / certificate).write_bytes((here / "zed.pem").read_bytes())
        made = ["list", "make", here / f"{name}.toml", "--out", here / f"{name}.xml", "--at", AT, "--json"]
        _, told = run(*made, *signing(here, "home-operator"), status=0)
        counts[name] = [len(told[part]) for part in ("services", "schemes", "bridges")]
        if name == "ours":
            assert told["bridges"][0]["policies"] == {"1.2.410.1": "qualified"}
    assert counts == {"ours": [0, 2, 1], "zz-5": [1, 0, 0]}


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('operator = "Home"', "", "operator"),
        ("sequence = 7", "sequence = 0", "sequence"),
        ("sequence = 7", "sequence = true", "sequence"),
        ("sequence = 7", "sequence = 7\nserial = 1", "serial"),
        ("2026-12-20T09:00:00Z", "2026-12-20T09:00:00", "next_update"),
        ("2026-12-20T09:00:00Z", "9999-12-31T23:59:59-05:00", "next_update"),
        ("2026-01-01T00:00:00Z", "0001-01-01T00:00:00+09:00", "service[1].standing[1].since"),
        ('["yan.pem"]', '["nobody.pem"]', "nobody.pem"),
        ('["yan.pem"]', "[]", "service[1].certificates"),
        ('role = "voucher"', 'role = "friend"', "scheme[2].role"),
        ('levels = ["qualified"]', "levels = []", "scheme[1].equivalence[1].levels"),
        ("[[service.standing]]", "[service.standing]", "service[1].standing"),
        ('operator = "Home"', "operator =", "not TOML"),
    ],
)
def test_a_description_that_is_wrong(before: str, after: str, key: str, here: Path, run: Run) -> None:
    assert before in DESCRIPTION
    (here / "ours.toml").write_text(DESCRIPTION.replace(before, after, 1), encoding="utf-8")
    out = here / "ours.xml"
    _, told = run("list", "make", here / "ours.toml", "--out", out, *signing(here, "home-operator"), status=2)
    assert "GW808" in told
    assert key in told
    assert not out.exists()


def test_lists_are_imported_and_never_rolled_back(here: Path, ours: Path, run: Run) -> None:
    hand = here / "hand"
    into = ["--into", hand, "--at", AT, "--json"]
    _, told = run("list", "import", ours, "--signer", here / "home-operator.pem", *into, status=0)
    assert (told["taken"], told["before"], told["file"]) == (True, None, str(hand / "KR-own.xml"))
    named = ["--named-by", hand / "KR-own.xml", *into]
    assert run("list", "import", here / "zed.xml", *named, status=0)[1]["taken"]
    assert not run("list", "import", here / "zed.xml", *named, status=0)[1]["taken"]
    newer = here / "newer.xml"
    newer.write_bytes(zed_list(WITHDRAWN, 6))
    _, told = run("list", "import", newer, *named, status=0)
    assert (told["taken"], told["before"], told["sequence"]) == (True, 5, 6)
    held = (hand / "ZZ-etsi.xml").read_bytes()
    forged, unnamed = here / "forged.xml", here / "unnamed.xml"
    forged.write_bytes(zed_list(sequence=9).replace(b">9<", b">8<"))
    unnamed.write_bytes(sample_lists.etsi_list("ZZ", "Mallory", sequence=9))
    for refused, problem in ((here / "zed.xml", "GW804"), (forged, "GW202"), (unnamed, "GW205")):
        _, told = run("list", "import", refused, *named, status=1)
        assert problem in told
        assert (hand / "ZZ-etsi.xml").read_bytes() == held, "the last good one is kept"
    assert open_trusted_list(held, {country("Zed").operator.certificate}).sequence == 6


def test_the_signer_of_a_list_may_change(here: Path, run: Run) -> None:
    hand, newer = here / "hand", here / "newer.xml"
    into = ["--into", hand, "--at", AT, "--json"]
    run("list", "import", here / "zed.xml", "--signer", here / "zed-operator.pem", *into, status=0)
    newer.write_bytes(sample_lists.etsi_list("ZZ", "Yan", sequence=6))
    assert run("list", "import", newer, "--signer", here / "zed-operator.pem", *into)[0] == 1
    _, told = run("list", "import", newer, "--signer", here / "yan-operator.pem", *into, status=0)
    assert (told["taken"], told["before"], told["signer"]) == (True, 5, "CN=Yan Operator")
    old = here / "zed.xml"
    _, told = run("list", "import", old, "--signer", here / "zed-operator.pem", *into, status=1)
    assert "sequence number 5, and 6 is in hand" in told
    (here / "plain").write_bytes(b"")
    nowhere = ["--into", here / "plain", "--at", AT]
    _, told = run("list", "import", old, "--signer", here / "zed-operator.pem", *nowhere, status=2)
    assert "GW808" in told


def test_a_signer_named_for_another_territory(here: Path, ours: Path, run: Run) -> None:
    hand = here / "hand"
    run("list", "import", ours, "--signer", here / "home-operator.pem", "--into", hand, "--at", AT, status=0)
    other = here / "other.xml"
    other.write_bytes(sample_lists.etsi_list("YY", "Zed"))
    named = ["--named-by", hand / "KR-own.xml", "--into", hand, "--at", AT]
    _, told = run("list", "import", other, *named, status=1)
    assert "GW205 CN=Zed Operator is not named for the list of 'YY'" in told


def recognize(run: Run, here: Path, file: Path, *more: object) -> dict[str, Any]:
    common = ["--anchor", here / "home.pem", "--revocation", "none", "--at", AT, "--json"]
    rooted = ["--root", here / "ours.xml", "--signer", here / "home-operator.pem"]
    status, told = run("recognize", file, *common, *rooted, *more)
    assert status == (0 if told["admitted"] else 1)
    assert told["admitted"] == (told["mode"] is not None)
    return dict(told)


def test_who_is_recognised_and_how(here: Path, ours: Path, run: Run) -> None:
    told = recognize(run, here, here / "home-party.pem")
    assert (told["mode"], told["levels"], told["source"]) == ("anchor", [], "CN=Home CA,C=ZZ")
    told = recognize(run, here, here / "yan-party.pem")
    assert (told["mode"], told["levels"]) == ("trust-list", ["basic"])
    assert (recognize(run, here, here / "zed-party.pem")["mode"]) is None
    told = recognize(run, here, here / "zed-party.pem", "--list", here / "zed.xml")
    assert (told["mode"], told["levels"], told["lists_refused"]) == ("trust-list", ["qualified"], [])
    signed = here / "signed.xml"
    signed.write_bytes(sample_lists.document("Zed"))
    assert recognize(run, here, signed, "--list", here / "zed.xml")["signer"] == "CN=Zed Party"
    (here / "zed.xml").write_bytes(zed_list(WITHDRAWN))
    told = recognize(run, here, here / "zed-party.pem", "--list", here / "zed.xml")
    assert (told["mode"], told["problem"]) == (None, "GW205")
    assert "'withdrawn' on the list of ZZ" in told["reason"]
    (here / "zed.xml").write_bytes(zed_list().replace(b">5<", b">6<"))
    told = recognize(run, here, here / "zed-party.pem", "--list", here / "zed.xml")
    assert [each["problem"] for each in told["lists_refused"]] == ["GW202"]


def test_a_document_that_was_vouched_for(here: Path, ours: Path, run: Run) -> None:
    inner, out = here / "inner.xml", here / "vouched.xml"
    inner.write_bytes(sample_lists.document("Mallory"))
    words = ["vouch", inner, "--territory", "ZZ", "--level", "gold", "--out", out, "--at", AT]
    run(*words, *signing(here, "zed-party"), status=0)
    told = recognize(run, here, out, "--list", here / "zed.xml")
    assert (told["mode"], told["levels"]) == ("vouched", ["vouched-for"])
    assert (told["signer"], told["source"]) == (
        "CN=Mallory Party",
        "CN=Zed Party for ZZ, admitted by trust-list",
    )
    assert recognize(run, here, inner)["mode"] is None


def test_what_is_neither_certificate_nor_document(here: Path, run: Run) -> None:
    (here / "words.txt").write_text("hello", encoding="utf-8")
    assert "GW402" in run("recognize", here / "words.txt", status=1)[1]
    assert "GW808" in run("recognize", here / "absent.txt", status=2)[1]
