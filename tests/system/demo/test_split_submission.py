"""A broker files a large submission by AS4 in fragments: killed anywhere, it goes on, and gets its result."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.forked_verbs import run_verb
from tests.system.demo.test_partners_live import LABEL, SAMPLE
from tests.system.demo.test_pulling_broker import PUSHED, run, stage

pytestmark = pytest.mark.night

SPLIT = PUSHED.replace(
    "  compression: gzip ",
    "  splitting: {fragment_size: 3000, message_size: 1000000, compression: gzip}\n  compression: gzip ",
)
# What the hub sends goes whole here.
for _action in ("Result", "Notice"):
    SPLIT = SPLIT.replace(f"action: {_action}}}", f"action: {_action}, splitting: none}}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with stage(tmp_path_factory.mktemp("stage") / "home", SPLIT) as found:
        yield found


def write_sample(path: Path, name: str) -> Path:
    path.write_bytes(SAMPLE.read_bytes().replace(b"HB2026-000123", name.encode()))
    return path


def submit(made: Any, *words: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    fixed = (
        "--as",
        "broker",
        "--to",
        f"{made.hub_url}/msh/as4",
        "--partner",
        str(made.get_partner_folder("broker")),
    )
    return run_verb(
        "submit", *words, *fixed, "--json", folder=made.home, more={"GATEWAY_FAILPOINT": failpoint}
    )


def test_a_submission_in_fragments_becomes_a_case(made: Any, tmp_path: Path) -> None:
    file = write_sample(tmp_path / "one.xml", "HB2026-000200")
    done = submit(made, str(file), "--attach", LABEL, "--folder", str(tmp_path / "kept"))
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert (done.returncode, told["receipt_verified"], told["joined"]) == (0, True, True), told
    assert told["fragments"] > 2
    assert (told["result"]["outcome"], told["result"]["verified"]) == ("APPROVED", True)


KILLS = ("submit.cut", "submit.kept:1", "submit.kept:2", "submit.answered:2", "submit.receipted:2")


@pytest.mark.parametrize("failpoint", KILLS)
def test_killed_it_goes_on_with_what_has_no_receipt(made: Any, tmp_path: Path, failpoint: str) -> None:
    number = 300 + KILLS.index(failpoint)
    file = write_sample(tmp_path / "one.xml", f"HB2026-000{number}")
    words = ("--attach", LABEL, "--folder", str(tmp_path / "kept"))
    killed = submit(made, str(file), *words, failpoint=failpoint)
    assert killed.returncode == -9
    (folder,) = (tmp_path / "kept" / "sent").iterdir()
    octets = {path.name: path.read_bytes() for path in folder.glob("fragment-*.http")}
    receipts = {path.name for path in folder.glob("fragment-*.receipt")}
    again = submit(made, str(folder), "--folder", str(tmp_path / "again"))
    assert "Traceback" not in again.stderr
    told = json.loads(again.stdout)
    assert (again.returncode, told["joined"]) == (0, True), told
    assert told["result"]["outcome"] == "APPROVED"
    # What was sealed is sent as it is, and what has its receipt is not sent.
    assert all((folder / name).read_bytes() == one for name, one in octets.items())
    known = {"submit.cut": 0, "submit.kept:1": 0, "submit.kept:2": 1, "submit.answered:2": 1}
    assert len(receipts) == known.get(failpoint, 2)
    sent = [one for one in told["progress"] if one.startswith("fragment ")]
    assert len(sent) == told["fragments"] - len(receipts)
    cases = run(made, "case", "list", "--home", str(made.home), "--reference", f"HB2026-000{number}")[1]
    assert len(cases) == 1


def test_a_message_that_fits_is_sent_whole(made: Any, tmp_path: Path) -> None:
    file = write_sample(tmp_path / "one.xml", "HB2026-000400")
    agreement = tmp_path / "large.yaml"
    kept = (made.get_partner_folder("broker") / "agreement.yaml").read_text(encoding="utf-8")
    agreement.write_text(kept.replace("fragment_size: 3000", "fragment_size: 300000"), encoding="utf-8")
    done = submit(made, str(file), "--attach", LABEL, "--wait", "0", "--agreement", str(agreement))
    told = json.loads(done.stdout)
    assert (done.returncode, told["receipt_verified"]) == (0, True), told
    assert "fragments" not in told
