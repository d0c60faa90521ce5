"""An import of a trusted list that is killed: it is in force whole, with its evidence, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.evidence import list_subject_leaves
from gateway.hub import RecognitionPolicy, TrustedListCache
from gateway.pki import KeySigner, read_certificate
from gateway.recognition import TrustedListDraft, sign_trusted_list
from gateway.store import make_engine, read_transaction, register_version
from gateway_conformance.pki import issue_certificate, make_authority
from tests.kit.audited import list_actions
from tests.kit.paths import ROOT

pytestmark = pytest.mark.long

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Path:
    operator = make_authority("CN=Operator", NOW - timedelta(days=2), "p-256")
    signer = issue_certificate(operator, "CN=Lists", NOW - timedelta(days=2)).signer
    (tmp_path / "signer.pem").write_bytes(signer.certificate.pem)
    for sequence in (1, 2):
        (tmp_path / f"{sequence}.xml").write_bytes(made(signer, sequence))
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\n[database]\nurl = "{sqlite_url}"\n[recognition]\nsigners = ["signer.pem"]\n'
    )
    return tmp_path


def made(signer: KeySigner, sequence: int) -> bytes:
    draft = TrustedListDraft("Home", "KR", sequence, NOW + timedelta(days=9))
    return sign_trusted_list(draft, signer, now=NOW - timedelta(hours=9 - sequence))


def imported(home: Path, sequence: int, failpoint: str = "") -> int:
    command = [sys.executable, "-m", "gateway", "pki", "list", "import", f"{sequence}.xml", "--home", "."]
    environment = os.environ | {"GATEWAY_FAILPOINT": failpoint, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, check=False).returncode


def known(url: str, terms: RecognitionPolicy) -> tuple[int | None, int, list[str], int]:
    """Return the number in force, how many leaves of evidence, what the audit says, and the epoch."""
    engine = make_engine(url)
    try:
        with read_transaction(engine) as conn:
            root = TrustedListCache().load_lists(conn, terms).root
            leaves = sum(len(list_subject_leaves(conn, "trust_list", number)) for number in (1, 2, 3))
            told = [row.outcome[:5] for row in reversed(list_actions(conn))]
            return root.sequence if root else None, leaves, told, register_version.get_register_version(conn)
    finally:
        engine.dispose()


@pytest.mark.night
def test_an_import_is_whole_or_nothing(home: Path, sqlite_url: str) -> None:
    terms = RecognitionPolicy(frozenset({read_certificate((home / "signer.pem").read_bytes())}))
    killed = -signal.SIGKILL
    before = known(sqlite_url, terms)
    assert imported(home, 1, "trust_list.import.before_commit") == killed
    assert known(sqlite_url, terms) == before == (None, 0, [], before[3])
    assert imported(home, 2, "trust_list.import.after_commit") == killed
    assert known(sqlite_url, terms) == (2, 1, ["done"], before[3] + 1)
    # Who does not know whether it was done does it again.
    assert imported(home, 2) == 0
    assert known(sqlite_url, terms) == (2, 1, ["done"], before[3] + 1)
    for moment, told in (("before", ["done"]), ("after", ["done", "GW804"])):
        assert imported(home, 1, f"trust_list.refused.{moment}_commit") == killed
        assert known(sqlite_url, terms) == (2, 1, told, before[3] + 1)
