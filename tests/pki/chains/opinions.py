"""What validators of others say of a case; each is asked in its own words: good or not, and why."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.pki.suites.verb import run_batch

_JAVA = Path(__file__).with_name("PathOpinion.java")
# Security properties of the JDK that forbid small keys and old digests: none of it is asked here.
_JAVA_RULES = "jdk.certpath.disabledAlgorithms=\njdk.security.legacyAlgorithms=\n"
# The JDK gives a response a quarter of an hour on either side; the clock of the cases is exact.
_ZONE = {**os.environ, "TZ": "UTC"}
_JAVA_WORDS = ("-Dcom.sun.security.ocsp.clockSkew=0", "-Xshare:auto", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class Opinion:
    """Whether a validator takes the certificate, and what it says if not."""

    good: bool
    reason: str = ""


_Asked = dict[str, Any]


def ours(cases: Sequence[_Asked]) -> list[Opinion]:
    """Ask `gateway pki validate --batch`."""
    return [
        Opinion(told["verdict"] == "valid", f"{told['problem']} {told['reason']}")
        for told in run_batch(cases)
    ]


def openssl(cases: Sequence[_Asked]) -> list[Opinion | None]:
    """Ask `openssl verify`, and `openssl ocsp` by faketime where there are responses."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        asked = [(case, Path(folder) / str(number)) for number, case in enumerate(cases)]
        return list(pool.map(lambda one: _openssl(*one), asked))


def _openssl(case: _Asked, folder: Path) -> Opinion | None:
    folder.mkdir()
    path = _openssl_path(case, folder)
    if not case["ocsp"] or not path.good:
        return path
    # Its verb looks for responses by SHA-1 alone.
    if _by_sha256(case) or not shutil.which("faketime"):
        return None
    return _openssl_answers(case, folder)


def _openssl_path(case: _Asked, folder: Path) -> Opinion:
    words = ["openssl", "verify", "-check_ss_sig", "-attime", str(_seconds(case))]
    words += ["-no-CApath", "-no-CAstore", "-CAfile", _pem(folder / "anchor", case["anchor"])]
    if case["intermediate"]:
        words += ["-untrusted", _pem(folder / "untrusted", case["intermediate"])]
    if case["revocation"] == "require" and not case["ocsp"]:
        words += ["-crl_check_all", "-extended_crl", "-use_deltas"]
        if case["crl"]:
            words += ["-CRLfile", _pem(folder / "lists", case["crl"], "X509 CRL")]
    words.append("-policy_check")
    for name, option in (
        ("require_explicit_policy", "-explicit_policy"),
        ("inhibit_mapping", "-inhibit_map"),
        ("inhibit_any", "-inhibit_any"),
    ):
        words += [option] if case.get(name) else []
    for each in case.get("policy", ()):
        words += ["-policy", each]
    words.append(_pem(folder / "leaf", [case["leaf"]]))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"error \d+ at .*|rror.*", done.stdout + done.stderr)
    return Opinion(done.returncode == 0, found.group(0)[:160] if found else "")


def _openssl_answers(case: _Asked, folder: Path) -> Opinion:
    """Ask of the certificates of the path, which come first, in order; responses begin at its top."""
    path = [case["leaf"], *case["intermediate"]][: len(case["ocsp"])] + case["anchor"]
    for place, response in enumerate(reversed(case["ocsp"])):
        (folder / "response").write_bytes(base64.b64decode(response))
        words = [
            "faketime",
            _clock(case),
            "openssl",
            "ocsp",
            "-no_nonce",
            "-respin",
            str(folder / "response"),
        ]
        words += ["-CAfile", str(folder / "anchor"), "-verify_other", _pem(folder / "path", path)]
        words += ["-issuer", _pem(folder / "issuer", path[place + 1 : place + 2])]
        words += ["-cert", _pem(folder / "asked", path[place : place + 1])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=_ZONE)
        said = " ".join((done.stdout + done.stderr).split())
        good = "Response verify OK" in said and "asked: good" in said and "times invalid" not in said
        if done.returncode or not good:
            return Opinion(good=False, reason=f"ocsp: {said[:160]}")
    return Opinion(good=True)


def java(cases: Sequence[_Asked]) -> list[Opinion | None]:
    """Ask the JDK: its path builder, and its validator of the path in the order given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules").write_text(_JAVA_RULES)
        subprocess.run(["javac", "-d", name, str(_JAVA)], check=True, capture_output=True, timeout=120)
        words = ["java", *_JAVA_WORDS, f"-Djava.security.properties={folder / 'rules'}", "-cp", name]
        lines = "".join(_java_line(case) + "\n" for case in cases)
        done = subprocess.run(
            [*words, "PathOpinion"], input=lines, capture_output=True, text=True, timeout=1800, check=True
        )
    told = done.stdout.splitlines()
    assert len(told) == len(cases), done.stderr[-500:]
    # It takes no anchor with constraints, and looks for responses by SHA-1 alone.
    return [
        None
        if line == "none" or _by_sha256(case)
        else Opinion(line[:4] == "good", line.partition(" ")[2][:200])
        for case, line in zip(cases, told, strict=True)
    ]


def _by_sha256(case: _Asked) -> bool:
    return any(
        bytes.fromhex("0609608648016503040201") in base64.b64decode(each)[:200] for each in case["ocsp"]
    )


def _java_line(case: _Asked) -> str:
    flags = ("require_explicit_policy", "inhibit_mapping", "inhibit_any")
    return "|".join(
        [
            str(_seconds(case)),
            case["leaf"],
            *(",".join(case[name]) for name in ("anchor", "intermediate", "crl", "ocsp")),
            ",".join(case.get("policy", ())),
            "".join("1" if case.get(name) else "0" for name in flags),
            case["revocation"],
            "end",
        ]
    )


def gnutls(cases: Sequence[_Asked]) -> list[Opinion | None]:
    """Ask GnuTLS's certtool, by faketime; it is not asked of policies and lists."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        asked = [(case, Path(folder) / str(number)) for number, case in enumerate(cases)]
        return list(pool.map(lambda one: _gnutls(*one), asked))


def _gnutls(case: _Asked, folder: Path) -> Opinion | None:
    if case["revocation"] != "none" or case.get("policy") or case.get("require_explicit_policy"):
        return None
    folder.mkdir()
    chain = _pem(folder / "chain", [case["leaf"], *case["intermediate"]])
    words = ["faketime", _clock(case), "certtool", "--verify", "--infile", chain, "--verify-profile", "low"]
    words += ["--load-ca-certificate", _pem(folder / "anchor", case["anchor"])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=_ZONE)
    said = re.findall(r"Chain verification output: (.*)", done.stdout)
    return Opinion(done.returncode == 0, (said[-1] if said else done.stderr)[:160])


def _clock(case: _Asked) -> str:
    """Return the time as faketime takes it; with it the clock goes on from there."""
    return datetime.fromisoformat(case["at"]).strftime("%Y-%m-%d %H:%M:%S")


def _seconds(case: _Asked) -> int:
    return int(datetime.fromisoformat(case["at"]).timestamp())


def _pem(path: Path, octets: Sequence[str], what: str = "CERTIFICATE") -> str:
    blocks = []
    for each in octets:
        text = base64.encodebytes(base64.b64decode(each)).decode().replace("\n", "")
        lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
        blocks.append(f"-----BEGIN {what}-----\n{lines}\n-----END {what}-----\n")
    path.write_text("".join(blocks))
    return str(path)


OTHERS: dict[str, Callable[[Sequence[_Asked]], list[Opinion | None]]] = {
    "openssl": openssl,
    "java": java,
    "gnutls": gnutls,
}
