"""The requirements with a restart, against a hub that the operator's command ends and starts again."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli import main
from gateway_conformance.verbs.conformance_home import make_suite_home
from tests.flows.standard.conftest import ENVIRONMENT
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import is_running, wait_until_ready
from tests.kit.waiting import until

pytestmark = pytest.mark.night

#: What an operator would call: it ends the hub as a service manager does, and starts it again.
_SCRIPT = """#!/bin/sh
cd {root}
if [ -f {place}/pid ]; then
    kill -{signal} "$(cat {place}/pid)"
    while kill -0 "$(cat {place}/pid)" 2>/dev/null; do sleep 0.05; done
fi
nohup {python} -m gateway run --home {place}/home >>{place}/log 2>&1 </dev/null &
echo $! >{place}/pid
"""


@dataclass
class Service:
    """A hub that runs apart from the test, the folder of its files, and its port."""

    place: Path
    port: int

    def call_script(self, ending: str) -> str:
        """Return the operator's command, with the signal that ends the hub."""
        path = self.place / f"restart-{ending}"
        place, python = shlex.quote(str(self.place)), shlex.quote(sys.executable)
        text = _SCRIPT.format(root=ROOT, place=place, signal=ending, python=python)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)
        return shlex.quote(str(path))

    def read_pid(self) -> int:
        """Return the process id of the hub that runs now."""
        return int((self.place / "pid").read_text())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a hub that the operator's script started."""
    made = Service(tmp_path_factory.mktemp("restarted"), find_free_port())
    home, partner = made.place / "home", made.place / "partner"
    make_suite_home(home, f'[http]\nport = {made.port}\npublic_url = "http://127.0.0.1:{made.port}"\n')
    words = ["conformance", "invite", "ebms2", "--home", str(home), "--out", str(partner)]
    assert main([*words, "--callback", f"http://127.0.0.1:{find_free_port()}"]) == 0
    profile = partner / "profile.yaml"
    told = profile.read_text(encoding="utf-8").replace("features:\n", "features:\n  - restart\n")
    profile.write_text(told, encoding="utf-8")
    subprocess.run(made.call_script("TERM"), shell=True, check=True, env=ENVIRONMENT, timeout=120)
    try:
        wait_until_ready(made.port, None)
        yield made
    finally:
        _end_process(made.read_pid())


def _end_process(pid: int) -> None:
    subprocess.run(["kill", f"-{signal.SIGTERM.name[3:]}", str(pid)], check=False)
    until(lambda: not is_running(pid))


@pytest.mark.parametrize(
    ("ending", "rows"), [("TERM", ("RST-01", "RST-02", "RST-03")), ("KILL", ("RST-01",))]
)
def test_a_hub_of_our_own_goes_on_after_a_restart(
    service: Service, ending: str, rows: tuple[str, ...], tmp_path: Path
) -> None:
    before = service.read_pid()
    words = ["conformance", "run", "ebms2", "--url", f"http://127.0.0.1:{service.port}", "--only"]
    words.append("RST-*" if len(rows) > 1 else rows[0])
    folder = ["--partner", str(service.place / "partner"), "--agreement", "sync"]
    command = ["--restart-command", service.call_script(ending), "--json", str(tmp_path / "r.json")]
    assert main([*words, *folder, *command]) == 0
    cases = json.loads((tmp_path / "r.json").read_bytes())["cases"]
    assert {one["id"]: one["verdict"] for one in cases} == dict.fromkeys(rows, "passed")
    assert service.read_pid() != before


def test_a_restart_that_fails_gives_no_verdict(service: Service, tmp_path: Path) -> None:
    words = ["conformance", "run", "ebms2", "--url", f"http://127.0.0.1:{service.port}", "--only", "RST-02"]
    folder = ["--partner", str(service.place / "partner"), "--agreement", "sync"]
    assert main([*words, *folder, "--restart-command", "exit 3", "--json", str(tmp_path / "r.json")]) == 1
    (case,) = json.loads((tmp_path / "r.json").read_bytes())["cases"]
    assert case["verdict"] == "not_yet"
    assert "exit status 3" in case["got"]
