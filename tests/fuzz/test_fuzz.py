"""Every reader under fire for a moment, from a fixed seed; and every case that was ever found, once more."""

from __future__ import annotations

import resource
import zlib
from pathlib import Path
from random import Random

import pytest

from gateway.errors import OUR_MISTAKE, SIGNATURE_INVALID, GatewayError
from tests.fuzz.atheris_engine import installed, with_atheris
from tests.fuzz.campaign import Plan, minimised, with_mutator
from tests.fuzz.catalogue import FOUND, found, targets
from tests.fuzz.harness import Bounds, Harness
from tests.fuzz.target import BrokenPromiseError, Target

#: Generous, for a machine under load: here only what never ends is to be found.
PATIENT = Bounds(seconds=60, octets=512 << 20)
#: So many mutations of each reader; of those that take long, fewer.
MUTATIONS, FEWER = (
    150,
    {
        "submission": 6,
        "agency-door": 20,
        "customs-door": 20,
        "payment-door": 30,
        "pointers": 10,
        "split": 20,
        "certificate": 20,
        "mapping": 20,
        "result": 20,
    },
)


@pytest.mark.night
@pytest.mark.parametrize("name", targets())
def test_no_reader_breaks_its_promise(name: str) -> None:
    target = targets()[name]
    mutations = FEWER.get(name, MUTATIONS)
    executions = len(list(target.seeds())) + mutations
    plan = Plan(600, seed=zlib.crc32(name.encode()), executions=executions, watch=False, bounds=PATIENT)
    campaign = with_mutator(target, plan)
    assert [f"{one.kind} {one.where}: {one.detail}" for one in campaign.findings.values()] == []
    assert campaign.marks[-1].executions == executions


@pytest.mark.parametrize("path", [path for target in targets().values() for path in found(target)], ids=str)
def test_what_was_found_is_mended(path: Path) -> None:
    harness = Harness(targets()[path.parent.name], PATIENT, twice=1)
    finding = harness.execute(path.read_bytes())
    assert finding is None, f"{finding.kind} {finding.where}: {finding.detail}"


def test_every_found_case_belongs_to_a_target() -> None:
    assert {path.name for path in FOUND.glob("*")} <= set(targets())


@pytest.mark.night
@pytest.mark.parametrize("name", targets())
def test_seeds_are_the_same_each_time_and_mutations_for_each_seed(name: str) -> None:
    target = targets()[name]
    seeds = list(target.seeds())
    assert seeds == list(target.seeds())
    assert all(len(seed) <= target.longest for seed in seeds)
    assert target.mutate(seeds[0], Random(7)) == target.mutate(seeds[0], Random(7))


@pytest.mark.night
@pytest.mark.parametrize("name", targets())
def test_each_reader_takes_an_honest_seed(name: str) -> None:
    target = targets()[name]
    harness = Harness(target, PATIENT)
    for seed in target.seeds():
        try:
            target.run(seed)
        except GatewayError:
            continue
        assert harness.execute(seed) is None
        return
    raise AssertionError("every seed is refused: nothing behind the first check is fuzzed")


# What follows breaks a reader on purpose: a harness that finds nothing in it would find nothing anywhere.


def _broken(data: bytes) -> object:
    if b"raise" in data:
        raise ValueError("escaped")
    if b"ours" in data:
        raise GatewayError(OUR_MISTAKE)
    if b"refuse" in data:
        raise GatewayError(SIGNATURE_INVALID, "no")
    if b"loop" in data:
        while True:
            try:
                len(data)
            except Exception:
                continue
    if b"lie" in data:
        raise BrokenPromiseError("a lie")
    if b"random" in data:
        return Random().random()
    if b"grow" in data:
        return len(b"x" * (_below_the_peak() + (160 << 20))) > 0
    if b"odd" in data:
        raise GatewayError(SIGNATURE_INVALID, "\ud800")
    return len(data)


def _below_the_peak() -> int:
    """Return how far this process is from the most memory it ever had: the peak alone is measured."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident


def _replace(data: bytes, rng: Random) -> bytes:
    return rng.choice((b"raise", b"lie", b"refuse", b"fine")) + data


BROKEN = Target("broken", "a reader with every fault", lambda: (b"seed",), _broken, _replace)


@pytest.mark.night
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((b"x raise", "ValueError"), (b"ours", "promise"), (b"loop", "slow"), (b"lie", "promise")),
        *((b"random", "differs"), (b"grow", "memory"), (b"odd", "UnicodeEncodeError")),
    ],
)
def test_each_fault_is_found(data: bytes, kind: str) -> None:
    # Only the loop may run into the bound: making pages of memory takes long on a busy machine.
    seconds = 0.5 if kind == "slow" else 60
    finding = Harness(BROKEN, Bounds(seconds=seconds), twice=1).execute(data)
    assert finding is not None
    assert finding.kind == kind


@pytest.mark.parametrize("data", [b"fine", b"refuse"])
def test_what_is_well_is_no_finding(data: bytes) -> None:
    assert Harness(BROKEN, PATIENT, twice=1).execute(data) is None


@pytest.mark.parametrize("watch", [True, False])
def test_the_mutator_finds_what_is_there_and_tells_of_it(watch: bool) -> None:
    campaign = with_mutator(BROKEN, Plan(30, executions=60, watch=watch, bounds=PATIENT))
    told = campaign.told()
    assert {one["kind"] for one in told["findings"]} == {"ValueError", "promise"}
    assert told["executions"] == 60
    found = next(one for one in campaign.findings.values() if one.kind == "ValueError")
    assert minimised(BROKEN, found, PATIENT).data == b"raise"


def test_coverage_grows_when_it_is_watched() -> None:
    told = with_mutator(targets()["stored-http"], Plan(60, executions=150, bounds=PATIENT)).told()
    assert 0 < told["edges"]["start"] < told["edges"]["end"]
    assert told["corpus"] > len(list(targets()["stored-http"].seeds()))


@pytest.mark.night
@pytest.mark.skipif(not installed(), reason="atheris has no wheel for this Python: the mutator runs instead")
def test_atheris_runs_the_same_targets(tmp_path: Path) -> None:
    told = with_atheris(targets()["stored-http"], Plan(2), tmp_path).told()
    assert told["executions"] > 50
    assert told["features"]["end"] > told["features"]["start"] > 0
    assert told["findings"] == []


# And a gateway that is broken in one place must be found out by the target that is there for it.


@pytest.mark.night
@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("ebms2-forged", "gateway.xmlsec.signature_verifier", "compare_digests"),
        ("as4-forged", "gateway.xmlsec.signature_verifier", "compare_digests"),
        ("wss-forged", "gateway.xmlsec.signature_verifier", "compare_digests"),
        ("xades-forged", "gateway.xmlsec.signature_verifier", "compare_digests"),
        ("xml", "gateway.wire.xml", "_find_canonical_spans"),
        ("soap-door", "gateway.web.soap_security", "read_addressing"),
        ("msh-door", "gateway.hub.intake.receive", "_check_time_to_live"),
        ("as4-door", "gateway.hub.intake.receive", "_check_time_to_live"),
        ("customs-door", "gateway.hub.customs.customs_reports", "_check_notice_items"),
        ("payment-door", "gateway.hub.fees.payment_events", "choose_payment_effect"),
    ],
)
def test_a_gateway_that_is_broken_in_one_place_is_found_out(
    name: str, module: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = targets()[name]
    Harness(target, PATIENT).warm()
    replacement = {
        "compare_digests": lambda *_: True,
        "_find_canonical_spans": lambda *_: [],
        "choose_payment_effect": lambda *_: "counted",
    }.get(function, lambda *_: {}["a mistake"])
    monkeypatch.setattr(f"{module}.{function}", replacement)
    plan = Plan(600, executions=400, watch=False, bounds=PATIENT)
    assert with_mutator(target, plan).findings
