"""`gateway pki validate`: what it is asked by options and by lines, and what it answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.cli import main
from gateway.cli.commands import pki_validate
from gateway.pki import CertificateExaminer, read_certificate
from tests.pki.certificate_forgery import DAY, NOW, Forgery, crl, usage
from tests.pki.conftest import World
from tests.pki.test_ocsp import Answer

AT = NOW.isoformat()
OID = "1.2.3.4"
OTHER_OID = "1.2.3.5"


@dataclass(frozen=True)
class Files:
    """What the options name."""

    folder: Path
    world: World

    def write(self, name: str, octets: bytes) -> str:
        path = self.folder / name
        path.write_bytes(octets)
        return str(path)

    def options(self, leaf: bytes | None = None, **more: Any) -> list[str]:
        """Return the options of the party; those given replace them, None leaves one out."""
        world = self.world
        words: dict[str, Any] = {
            "leaf": self.write("leaf.pem", leaf or world.party.certificate.pem),
            "intermediate": [self.write("sub.der", world.sub.certificate.der)],
            "anchor": [self.write("root.pem", world.root.certificate.pem)],
            "crl": [self.write("root.crl", world.root_crl), self.write("sub.crl", world.sub_crl)],
            "at": AT,
            **more,
        }
        options = []
        for name, value in words.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    options += [f"--{name}", one] if one != "" else [f"--{name}"]
        return options


class Standing(CertificateExaminer):
    """One process for all tests: its start takes longer than most of them."""

    def close(self) -> None:
        """Leave it to those after."""


@pytest.fixture(scope="module", autouse=True)
def _one_process() -> Iterator[None]:
    standing = Standing()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki_validate, "CertificateExaminer", lambda: standing)
        yield
    CertificateExaminer.close(standing)


@pytest.fixture
def files(world: World, tmp_path: Path) -> Files:
    return Files(tmp_path, world)


def ask(capsys: pytest.CaptureFixture[str], options: list[str]) -> tuple[int, dict[str, Any]]:
    status = main(["pki", "validate", *options, "--json"])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return status, json.loads(told.out) if told.out else {"error": told.err}


def test_a_good_certificate(files: Files, capsys: Any):
    status, told = ask(capsys, files.options())
    assert status == 0
    assert (told["verdict"], told["problem"], told["reason"]) == ("valid", None, "")
    assert told["path"] == [files.world.party.certificate.subject, "CN=Sub,C=KR", "CN=Root,C=KR"]
    assert told["milliseconds"] > 0
    assert main(["pki", "validate", *files.options()]) == 0
    assert "valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "verdict", "problem"),
    [
        ({"intermediate": None}, "invalid", "GW205"),
        ({"crl": None}, "indeterminate", "GW208"),
        ({"crl": None, "revocation": "if-present"}, "valid", None),
        ({"revocation": "none"}, "valid", None),
        ({"at": (NOW + 4000 * DAY).isoformat()}, "invalid", "GW206"),
        ({"use": "ocsp"}, "invalid", "GW205"),
        ({"use": "tsa"}, "invalid", "GW205"),
        ({"use": "any"}, "valid", None),
        ({"require-explicit-policy": ""}, "invalid", "GW205"),
    ],
)
def test_each_option_counts(
    files: Files, capsys: Any, more: dict[str, Any], verdict: str, problem: str | None
):
    status, told = ask(capsys, files.options(**more))
    assert (told["verdict"], told["problem"]) == (verdict, problem)
    assert status == (0 if verdict == "valid" else 1)


def test_a_revoked_certificate(files: Files, capsys: Any):
    outcast = files.world.outcast.certificate.pem
    assert ask(capsys, files.options(outcast))[1]["problem"] == "GW207"
    assert ask(capsys, files.options(outcast, revocation="if-present"))[1]["problem"] == "GW207"
    assert ask(capsys, files.options(outcast, revocation="none"))[1]["problem"] is None


def test_ocsp_responses(files: Files, capsys: Any):
    world = files.world
    pairs = ((world.party.certificate, world.sub), (world.sub.certificate, world.root))
    made = [
        files.write(f"{number}.ocsp", Answer(of, by.certificate).der(by.certificate, by.key))
        for number, (of, by) in enumerate(pairs)
    ]
    assert ask(capsys, files.options(crl=None, ocsp=made))[1]["verdict"] == "valid"
    assert ask(capsys, files.options(crl=None, ocsp=made[:1]))[1]["verdict"] == "indeterminate"


def _policed(files: Files, *oids: str, extended: Any = None) -> bytes:
    policies = x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids]
    )
    extra: list[tuple[x509.ExtensionType, bool]] = [(policies, False)]
    if extended:
        extra.append((x509.ExtendedKeyUsage([extended]), False))
    return Forgery(extra=extra).der(files.world.root)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({"require-explicit-policy": ""}, "valid"),
        ({"policy": [OID], "require-explicit-policy": ""}, "valid"),
        ({"policy": [OTHER_OID, OID], "require-explicit-policy": ""}, "valid"),
        ({"policy": [OTHER_OID], "require-explicit-policy": ""}, "invalid"),
        ({"policy": [OTHER_OID]}, "valid"),
    ],
)
@pytest.mark.parametrize("use", ["any", "signing"])
def test_policies(files: Files, capsys: Any, more: dict[str, Any], verdict: str, use: str):
    leaf = _policed(files, OID)
    assert ask(capsys, files.options(leaf, use=use, **more))[1]["verdict"] == verdict


def test_any_policy_may_be_taken_at_its_word_or_not(files: Files, capsys: Any):
    leaf = _policed(files, "2.5.29.32.0")
    asked = {"policy": [OID], "require-explicit-policy": ""}
    assert ask(capsys, files.options(leaf, **asked))[1]["verdict"] == "valid"
    assert ask(capsys, files.options(leaf, **asked, **{"inhibit-any": ""}))[1]["verdict"] == "invalid"


@pytest.mark.parametrize(
    ("use", "extended"),
    [
        ("tls", ExtendedKeyUsageOID.SERVER_AUTH),
        ("tls", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("ocsp", ExtendedKeyUsageOID.OCSP_SIGNING),
        ("signing", ExtendedKeyUsageOID.EMAIL_PROTECTION),
    ],
)
def test_a_use_asks_for_its_own_mark(files: Files, capsys: Any, use: str, extended: Any):
    for other in ("tls", "ocsp", "tsa", "signing"):
        told = ask(capsys, files.options(_policed(files, OID, extended=extended), use=other))[1]
        client = extended == ExtendedKeyUsageOID.CLIENT_AUTH and other == "signing"
        assert (told["verdict"] == "valid") == (other == use or client)


def test_the_first_gate_is_open_for_any_use(files: Files, capsys: Any):
    """A serial number of zero, and a key that may sign nothing: profile, not path."""
    zero = Forgery(extra=[(usage("key_agreement"), True)]).der(files.world.root)
    assert ask(capsys, files.options(zero))[1]["verdict"] == "invalid"
    assert ask(capsys, files.options(zero, use="any"))[1]["verdict"] == "valid"
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(OID), b"\x05\x00")
    critical = Forgery(extra=[(unknown, True)]).der(files.world.root)
    assert ask(capsys, files.options(critical, use="any"))[1]["verdict"] == "invalid"


def test_at_most_four_certificates_come_along(files: Files, capsys: Any):
    sub = files.options()[3]
    assert ask(capsys, files.options(intermediate=[sub] * 4))[1]["verdict"] == "valid"
    assert ask(capsys, files.options(intermediate=[sub] * 5))[1]["verdict"] == "invalid"
    assert ask(capsys, files.options(intermediate=[sub] * 5, use="any"))[1]["verdict"] == "valid"


def test_what_cannot_be_read_is_no_path(files: Files, capsys: Any):
    junk = files.write("junk", b"words")
    assert ask(capsys, files.options(b"words"))[1]["problem"] == "GW205"
    assert ask(capsys, files.options(anchor=[junk]))[1]["problem"] == "GW205"
    sub = files.options()[3]
    assert ask(capsys, files.options(intermediate=[junk, sub]))[1]["verdict"] == "valid"
    told = ask(capsys, files.options(crl=[junk], revocation="if-present"))[1]
    assert (told["verdict"], told["problem"]) == ("indeterminate", "GW208")


@pytest.mark.parametrize(
    "options",
    [
        ["--leaf", "nowhere.pem", "--anchor", "nowhere.pem"],
        ["--anchor", "x"],
        ["--leaf", "x"],
        ["--use", "everything"],
        ["--batch", "nowhere.jsonl"],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--at", "yesterday"],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--at", "0001-01-01T00:00:00+14:00"],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--at", "9999-12-31T23:59:59-14:00"],
        ["--leaf", "AAAA", "--leaf", "AAAA", "--anchor", "AAAA"],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--at", AT, "--at", AT],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--policy", "P1"],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--policy", ""],
        ["--leaf", "AAAA", "--anchor", "AAAA", "--ocsp", "A" * 4_000_000],
    ],
)
def test_misuse(options: list[str], capsys: Any):
    assert main(["pki", "validate", *options, "--json"]) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err + told.out
    assert told.err


def test_a_leaf_with_words_around_it(files: Files, capsys: Any):
    pem = files.world.party.certificate.pem
    assert (
        ask(capsys, files.options(b"\xef\xbb\xbfsubject=Party\n" + pem + b"\n(end)"))[1]["verdict"] == "valid"
    )
    told = ask(capsys, files.options(pem + files.world.sub.certificate.pem))[1]
    assert (told["verdict"], told["problem"]) == ("invalid", "GW205")
    assert "2 certificates in one file" in told["reason"]


def test_what_a_line_leaves_open_the_options_say(files: Files, capsys: Any):
    options = files.options()
    place = options.index("--leaf")
    leaf = options[place + 1]
    rest = options[:place] + options[place + 2 :]
    lines = [{"leaf": leaf}, {"leaf": leaf, "crl": []}, {"leaf": leaf, "crl": [], "revocation": "none"}]
    rows = [*map(json.dumps, lines), f'{{"leaf": "AAAA", "leaf": {json.dumps(leaf)}}}']
    file = files.write("short.jsonl", "\n".join(rows).encode())
    assert main(["pki", "validate", "--batch", file, *rest, "--json"]) == 2
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["verdict"] for each in told[:3]] == ["valid", "indeterminate", "valid"]
    assert (told[3]["problem"], "twice" in told[3]["reason"]) == ("GW808", True)


def test_a_batch_is_answered_line_by_line(files: Files, capsys: Any):
    world = files.world

    def text(octets: bytes) -> str:
        return base64.b64encode(octets).decode()

    case = {
        "leaf": text(world.party.certificate.der),
        "intermediate": [text(world.sub.certificate.der)],
        "anchor": [files.write("root.der", world.root.certificate.der)],
        "crl": [text(world.root_crl), text(world.sub_crl)],
        "at": "2026-11-20T09:00:00Z",
    }
    lines: list[Any] = [
        case,
        {**case, "leaf": text(world.outcast.certificate.der)},
        {**case, "crl": []},
        {**case, "anchor": case["anchor"][0], "use": "any", "inhibit_any": True, "policy": None},
        {**case, "leaf": world.party.certificate.pem.decode()},
    ]
    wrong: list[Any] = [
        {**case, "leaf": "nowhere"},
        {**case, "leaf": [case["leaf"]]},
        {**case, "at": [case["at"]]},
        {**case, "rules": [case["leaf"]]},
        {**case, "use": ["any"]},
        {**case, "leaves": []},
        {**case, "anchor": 7},
        {**case, "revocation": "perhaps"},
        {**case, "inhibit_any": "yes"},
        {**case, "at": "2026-13-01"},
        [],
        "[" * 100_000,
    ]
    file = Path(files.write("good.jsonl", b"\n".join(json.dumps(line).encode() for line in lines)))
    assert main(["pki", "validate", "--batch", str(file), "--json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["verdict"] for each in told] == ["valid", "invalid", "indeterminate", "valid", "valid"]
    assert all({"verdict", "problem", "reason", "path", "milliseconds"} <= set(each) for each in told)

    rows = [json.dumps(line) for line in (lines[0], *wrong[:-1], lines[0])] + [wrong[-1]]
    file.write_text("\n".join(rows), "utf-8")
    assert main(["pki", "validate", "--batch", str(file), "--json"]) == 2
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [None, *["GW808"] * (len(wrong) - 1), None, "GW808"]
    assert [each["problem"] for each in told] == expected


def test_a_list_of_a_certificate_that_is_no_list(files: Files, capsys: Any):
    """What is said under another option's name is not understood, and believed by nobody."""
    sub = files.options()[3]
    assert ask(capsys, files.options(crl=[sub]))[1]["verdict"] == "indeterminate"
    told = ask(capsys, files.options(read_certificate(files.world.sub.certificate.der).der))[1]
    assert told["reason"] == "the certificate of a CA, not of a party"
    assert (
        ask(capsys, files.options(crl=[files.write("x.crl", crl(files.world.sub))]))[1]["problem"] == "GW208"
    )


@pytest.mark.long
def test_pem_lists(files: Files, capsys: Any):
    pem = b"".join(
        x509.load_der_x509_crl(each).public_bytes(Encoding.PEM)
        for each in (files.world.root_crl, files.world.sub_crl)
    )
    assert ask(capsys, files.options(crl=[files.write("both.pem", pem)]))[1]["verdict"] == "valid"
