"""What a serving process loads: messages, the console and the API, each where it is served."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CONSOLE, API, MESSAGES = "gateway.web.console", "gateway.web.api", "gateway.web.wsgi_application"


@pytest.mark.night
@pytest.mark.parametrize(
    ("module", "loaded"),
    [
        ("gateway.web.serving_process", {MESSAGES}),
        pytest.param("gateway.web.api_process", {API}, marks=pytest.mark.long),
        pytest.param("gateway.web.console_process", {CONSOLE}, marks=pytest.mark.long),
    ],
)
def test_a_process_loads_what_it_serves(module: str, loaded: set[str]) -> None:
    words = f"import json, sys, {module}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", words], check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    rooms = (CONSOLE, API, MESSAGES)
    assert {room for room in rooms if any(f"{one}.".startswith(f"{room}.") for one in found)} == loaded


@pytest.mark.long
def test_no_process_of_a_hub_loads_what_mappings_and_testers_need() -> None:
    """With every name that the rooms of a hub offer, loaded: nothing waits inside a function."""
    words = (
        "import json, sys; from gateway.web import api_process, console_process, serving_process; "
        "import gateway.cli.child_processes, gateway.delivery, gateway.operations; "
        "import gateway.harmonize as room; "
        "[getattr(room, name) for name in room.__all__]; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", words], check=True, stdout=subprocess.PIPE)
    modules = json.loads(done.stdout)
    assert "gateway.harmonize.proofs.proof_runner" in modules
    absent = ("gateway_workbench", "gateway_conformance")
    assert not [name for name in modules if name.startswith(absent)]


@pytest.mark.night
def test_a_verb_looks_for_garbage_seldom() -> None:
    """With the limits of Python itself, a quarter of the time of an import goes into it."""
    words = "import gc; from gateway.cli import main; main(['--version']); print(gc.get_threshold()[0])"
    done = subprocess.run([sys.executable, "-c", words], check=True, stdout=subprocess.PIPE, text=True)
    assert int(done.stdout.split()[-1]) >= 10_000
