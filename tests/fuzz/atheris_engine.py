"""Runs a target under atheris, in a process of its own: libFuzzer ends the process that it runs in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.campaign import Campaign, Mark, Plan
from tests.fuzz.harness import Finding
from tests.fuzz.target import Target
from tests.kit.paths import ROOT

__all__ = ["installed", "with_atheris"]

_STATUS = re.compile(r"#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_PATIENCE = 60


def installed() -> bool:
    """Tell whether atheris can be had on this Python."""
    return find_spec("atheris") is not None


def with_atheris(target: Target, plan: Plan, work: Path) -> Campaign:
    """Fuzz for `plan.seconds`; `work` keeps the corpus, from which the next run goes on."""
    corpus, findings = work / "corpus" / target.name, work / "findings" / f"{target.name}.jsonl"
    for folder in (corpus, findings.parent):
        folder.mkdir(parents=True, exist_ok=True)
    findings.unlink(missing_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    campaign = Campaign(target.name, "atheris")
    campaign.marks.extend(_followed(_command(target, plan, corpus, findings)))
    for finding in _read(findings):
        campaign.add(finding)
    if not campaign.marks:
        raise RuntimeError(f"atheris did not begin with {target.name}")
    return campaign


def _command(target: Target, plan: Plan, corpus: Path, findings: Path) -> list[str]:
    return [
        *(
            sys.executable,
            "-m",
            "tests.fuzz.atheris_process",
            target.name,
            str(findings),
            str(plan.bounds.seconds),
        ),
        *(
            str(corpus),
            f"-max_total_time={int(plan.seconds)}",
            f"-max_len={target.longest}",
            f"-seed={plan.seed}",
        ),
        *("-timeout=120", "-rss_limit_mb=6000", "-print_final_stats=0", "-use_value_profile=1"),
    ]


def _followed(command: list[str]) -> Iterator[Mark]:
    """Start the process and yield how far it is, as it says so."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    started, base = time.monotonic(), 0.0
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        last = ""
        for line in process.stderr:
            found = _STATUS.match(line)
            if found is None:
                last = line
                continue
            now = time.monotonic() - started
            base = base or now  # what was imported and warmed before the first line is not fuzzing
            executions, edges, features, size = (int(found[n]) for n in (1, 3, 4, 5))
            yield Mark(now - base, executions, edges, features, size)
        if process.wait(_PATIENCE) != 0:
            raise RuntimeError(f"atheris ended with {process.returncode}: {last.strip()[:300]}")


def _read(path: Path) -> Iterator[Finding]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            yield Finding(
                said["target"], said["kind"], said["where"], said["detail"], bytes.fromhex(said["data"])
            )
