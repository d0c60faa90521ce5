"""What every test may ask for."""

from __future__ import annotations

import compileall
import contextlib
import functools
import gc
import importlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kit.known_messages import install_comparison
from tests.kit.paths import ROOT, VECTORS

pytest_plugins = ["tests.kit.databases", "tests.kit.standby_pair"]

# No test fails for its time: the machines are busy.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

_HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def compared_messages() -> None:
    """Let every message that is opened by a known envelope be opened as an unknown one, too."""
    install_comparison()


def pytest_configure() -> None:
    """Let SIGINT end what tests start, also where a shell has started the tests in the background.

    There it is ignored, and a process that ignores it goes on doing so in the programs that it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Wait for threads that still ask a database, before its connections are closed."""
    for thread in threading.enumerate():
        if thread.name in ("status", "clock"):
            thread.join(20)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that needs outside vectors."""
    if "vectors" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.vectors)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are cores: tests of processes and databases wait."""
    return (os.cpu_count() or 1) + 1


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the program once, before the processes that share the tests each begin to."""
    if not (hasattr(session.config, "workerinput") or sys.dont_write_bytecode):
        for package in ("gateway", "conformance", "mappings/workbench"):
            compileall.compile_dir(ROOT / package, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collect without looking for garbage: modules and tests stay as long as the process.

    They are looked at no more when tests leave garbage behind, and that is looked for seldom.
    """
    gc.disable()
    try:
        _import_tests_in_turn(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        gc.enable()


def _import_tests_in_turn(config: pytest.Config) -> None:
    # Each process begins with another part, so that each file is compiled by one of them only.
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    files = sorted(_HERE.rglob("test_*.py"))
    begin = len(files) * int(worker["workerid"].removeprefix("gw")) // int(worker["workercount"])
    for path in files[begin:] + files[:begin]:
        # What cannot be imported says so when it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that need what is not here."""
    missing = set(_list_missing_needs())
    left_out = {item for item in items if not missing.isdisjoint(mark.name for mark in item.iter_markers())}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each thing that is not here, whose tests are left out."""
    for mark, words in _list_missing_needs().items():
        terminalreporter.write_line(f"tests marked `{mark}` are left out: they need {words}")


@functools.cache
def _list_missing_needs() -> dict[str, str]:
    """Return the marks of tests that need what is not here, and what that is.

    In CI every program must be there: tests that need a missing one fail. Outside vectors may be missing.
    """
    java = all(map(shutil.which, ("javac", "mvn", "openssl")))
    browser = all(map(shutil.which, ("chromium", "chromedriver")))
    needs = {"vectors": (VECTORS.is_dir(), f"outside vectors, none at {VECTORS} (GATEWAY_VECTORS)")}
    if os.environ.get("CI") != "true":
        needs |= {
            "peer": (java, "the Java peer: a JDK, Maven and openssl"),
            "hsm": (shutil.which("softhsm2-util") is not None, "a token: SoftHSM 2"),
            "browser": (browser, "a browser: chromium and chromedriver"),
        }
    return {mark: words for mark, (here, words) in needs.items() if not here}


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of outside vectors."""
    return VECTORS
