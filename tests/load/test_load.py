"""The benchmark in miniature: every key is there and nothing contradicts itself; no time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kit.databases import Templates
from tests.load import console_rush, officers_at_work, statement_order
from tests.load.beside_phase4 import main as main_beside_phase4
from tests.load.case_price import share_cpu
from tests.load.run import KEYS, main

pytestmark = pytest.mark.night

CONTRACT = {
    "floor_ms", "receive_ms", "ratio", "admit_floor_ms", "admit_ms", "http_messages_per_s",
    "phase4_messages_per_s", "http_p50_ms", "http_p99_ms", "generator_cpu", "distinct_accepted", "sent",
    "cases_per_s", "case_cpu_ms", "case_working_cpu_ms", "hub_idle_cpu", "partners_cpu_share",
    "case_floors", "case_statements", "case_transactions", "case_octets",
    "partners_cpu_ms", "partners_statements", "partners_transactions", "partners_octets",
    "encrypted_ms", "encrypted_floor_ms", "machine",
}  # fmt: skip


def test_every_key_is_reported_and_the_counts_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--json --messages 60 --samples 12 --connections 4 --only receive --only encrypted --only admit"
    assert main([*words.split(), "--only", "http", "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(KEYS) == CONTRACT
    assert set(found) >= CONTRACT
    assert found["sent"] == found["distinct_accepted"] == found["detail"]["receipts"] == 66
    assert found["detail"]["receipts_verified"] == 2
    for name in CONTRACT & {name for name in CONTRACT if name.endswith(("_ms", "_per_s"))} - {
        "phase4_messages_per_s", "cases_per_s", "case_cpu_ms", "case_working_cpu_ms", "partners_cpu_ms",
    }:  # fmt: skip
        assert found[name] > 0, name
    assert found["ratio"] == pytest.approx(found["receive_ms"] / found["floor_ms"], rel=0.01)
    assert found["http_p50_ms"] <= found["http_p99_ms"]
    assert found["phase4_messages_per_s"] is None
    assert found["machine"]["cores"] >= 1
    assert not list(tmp_path.iterdir())


def test_messages_of_as4_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--json --messages 40 --samples 6 --connections 4 --only as4 --only as4-http"
    assert main([*words.split(), "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["detail"]
    assert found["as4_receipts"] == 44
    assert found["as4_ratio"] == pytest.approx(found["as4_receive_ms"] / found["as4_floor_ms"], rel=0.01)
    assert all(found[name] > 0 for name in ("as4_http_messages_per_s", "as4_server_cpu_ms"))


@pytest.mark.peer
@pytest.mark.vectors
@pytest.mark.timeout(900)
def test_the_gateway_is_measured_beside_phase4(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No rate is judged here: one quick compiler is enough.
    monkeypatch.setenv("JAVA_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
    # What is encrypted is signed as well.
    kinds = ("encrypted",)
    words = "--rounds 2 --messages 16 --warm-up 16 --samples 6 --connections 4 " + " ".join(
        f"--only {kind}" for kind in kinds
    )
    main_beside_phase4([*words.split(), "--vectors", str(vectors), "--folder", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    for kind in kinds:
        assert found[kind]["not_receipted"] == {"gateway": 0, "phase4": 0}
        rates = found[kind]["gateway_messages_per_s"], found[kind]["phase4_messages_per_s"]
        assert found[kind]["ratio"] == pytest.approx(rates[0] / rates[1], rel=0.05)
        assert len(found[kind]["phase4_each"]) == 2
    assert found["receive"]["as4_ratio"] > 0
    assert not list(tmp_path.iterdir())


def test_many_agreements_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--json --only agreements --agreements 40 --samples 4"
    assert main([*words.split(), "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["detail"]
    names = ("start_ms", "start_with_one_ms", "look_up_us", "look_up_with_one_us", "first_look_up_us")
    assert all(found[name] > 0 for name in (*names, "yaml_receive_ms", "cpa_receive_ms"))
    assert found["agreements"] == 40
    assert found["cpa_ratio"] == pytest.approx(found["cpa_receive_ms"] / found["yaml_receive_ms"], rel=0.01)


def test_intake_is_measured_alone_and_beside_officers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two officers at the pace of a machine; an act is due before slow pages fill the time of this test."""
    for name, seconds in (("PAGE", 3.0), ("NEWS", 4.0), ("ACT", 1.5)):
        monkeypatch.setattr(officers_at_work, name, seconds)
    words = "--officers 2 --rounds 1 --messages 60 --connections 2 --settle 4"
    assert console_rush.main(words.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["officers"] == 2
    assert set(found["answers"]) == {"act 302", "page 200"}, found["answers"]
    for part in ("alone", "with_officers"):
        assert found[part]["receipts_per_s"][0] > 0
        assert found[part]["p50_ms"] <= found[part]["p99_ms"]
    assert found["ratio_of_rates"] == found["ratios_of_rates"][0]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_case_is_priced_and_its_counts_agree(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], templates: Templates
) -> None:
    url = "" if kind == "sqlite" else templates.empty(kind)
    words = (
        f"--json --only cases --cases 1 --counted 1 --database {url}"
        if url
        else "--json --only cases --cases 1 --counted 1"
    )
    assert main([*words.split(), "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    detail = found["detail"]
    assert detail["case_states"] == {"CLOSED APPROVED": 7}
    for name in ("case_cpu_ms", "case_octets", "partners_cpu_ms", "partners_octets"):
        assert found[name] > 0, name
    # The partners keep files and no database.
    assert found["partners_statements"] == found["partners_transactions"] == 0
    for parts in ("case_kinds", "case_groups", "case_askers"):
        assert sum(detail[parts].values()) == pytest.approx(found["case_statements"]), parts
    names = detail["case_transactions_by_name"]
    assert sum(names.values()) == pytest.approx(found["case_transactions"])
    # Claims and what a process looks after come by time: a busy machine has more of them for each case.
    by_time = (
        "claim > ",
        "serve hub.node_upkeep.",
        "serve hub.hub.",
        "serve web.server_settings._run_upkeep",
    )
    of_the_case = sum(count for name, count in names.items() if not name.startswith(by_time))
    assert of_the_case <= {"sqlite": 35, "postgresql": 36}[kind], names
    # Measured on SQLite: 270 to 295 statements, 52 to 76 for claims; on PostgreSQL: 310, and 68 for claims.
    claims = detail["case_groups"]["claim"]
    assert found["case_statements"] - claims <= 325, detail["case_groups"]
    assert claims <= 120, detail["case_groups"]
    assert found["case_transactions"] - of_the_case <= 40, names
    # What happens once in each case is counted once in each case. On SQLite steps share commits, and such a
    # commit is counted under the name of one of them.
    for name in ("admit.case", "conclude.result"):
        counted = [one for words, one in names.items() if words.endswith(f"write {name}")]
        assert counted == [1.0] or (kind == "sqlite" and not counted), name


def test_the_statements_of_a_case_are_told_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert statement_order.main(["--width", "30"]) == 0
    said = capsys.readouterr().out
    heads = [line for line in said.splitlines() if not line.startswith(" ")]
    numbers = [int(line.rpartition(": ")[2].partition(" ")[0]) for line in heads]
    assert f"({sum(numbers)})" in heads[-1]
    assert 300 <= sum(numbers) <= 355
    names = [line.partition(" / ")[2].partition(":")[0] for line in heads]
    assert names[0] == "write receive.message"
    assert names.index("write admit.case") < names.index("write reply.answer")
    # The three answers come at the same time, and may share a commit.
    assert 1 <= names.count("write reply.answer") <= 3


def test_an_idle_hub_has_its_share_of_a_case():
    used = {"case_cpu_ms": 100.0, "partners_cpu_ms": 25.0}
    shares = share_cpu(used, idle=0.05, seconds=0.4)
    assert shares["case_idle_cpu_ms"] == pytest.approx(20)
    assert shares["case_working_cpu_ms"] == pytest.approx(80)
    assert shares["partners_cpu_share"] == pytest.approx(0.2)
    # A machine that others use: never more than the hub has taken.
    assert share_cpu(used, idle=0.5, seconds=1)["case_working_cpu_ms"] == 0
