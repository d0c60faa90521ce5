"""What every test may ask for."""

from __future__ import annotations

import compileall
import contextlib
import functools
import gc
import importlib
import os
import shutil
import sys
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
#: Rooms whose statements are tried on both databases by `tests/store`; what is left is the same on each.
_ROOMS = ("web/api", "web/console", "flows", "hub", "cli", "operations")
_LIKE_ON_BOTH = tuple(_HERE / room for room in _ROOMS)
#: What depends on the locks of a database is tried on both with the short tests.
_LOCKING = ("test_race", "test_worker", "test_receive", "test_kills")
#: Rooms whose tests tell a story of a whole hub, a verb or a document: further cases of a function are long.
_STORIES = tuple(
    _HERE / room for room in ("cli", "conformance", "flows", "harmonize", "hub", "operations", "web")
)
#: Each case there is an attack of its own, or counts for the measured branches (`.ci/run`): none is spared.
_WHOLE = tuple(_HERE / room for room in ("flows/hostile", "cli", "conformance"))
#: Each case there starts a process of a foreign product: their cases count as further ones.
_PEERS = (_HERE / "system" / "interop",)
#: Of so many cases of a foreign product the gate runs one.
_PEER_SHARE = 3

#: Rooms that stand on what a version of Python changes: sockets, TLS, HTTP, parsers, certificates.
_NEAR_PYTHON = tuple(_HERE / room for room in ("delivery", "web/server", "wire", "pki", "flows/hostile"))
#: Where single tests take longest: of processes that are killed or attacked, of browsers, of benchmarks.
_SLOW = tuple(_HERE / room for room in ("system", "load", "fuzz"))
#: Rooms whose long tests count for the measured branches (`.ci/run`): they belong to every turn of the gate.
_MEASURED = tuple(_HERE / room for room in ("cli", "conformance", "flows/standard", "system/demo"))
#: Which turn of the gate this is (`tests/kit/first_cases.py`); empty where all tests are asked for.
_TURN = os.environ.get("GATEWAY_TURN", "")
#: Tests on PostgreSQL that are long only because SQLite says the same.
_SAME_ON_BOTH = pytest.StashKey[bool]()


@pytest.fixture(scope="session", autouse=True)
def compared_messages() -> None:
    """Let every message that is opened by a known envelope be opened as an unknown one, too."""
    install_comparison()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Count a test on PostgreSQL among the long ones, where SQLite says the same."""
    chosen = getattr(item, "callspec", None)
    if chosen is None or "postgresql" not in chosen.params.values() or item.path.stem in _LOCKING:
        return
    if _lies_in(item.path, _LIKE_ON_BOTH):
        item.stash[_SAME_ON_BOTH] = item.get_closest_marker("long") is None
        item.add_marker(pytest.mark.long)


@functools.cache
def _lies_in(file: Path, rooms: tuple[Path, ...]) -> bool:
    # Asked for each of many thousand cases, in each process.
    return any(room in file.parents for room in rooms)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are cores: tests of processes and databases wait."""
    return (os.cpu_count() or 1) + 1


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the program once, before the processes that share the tests each begin to."""
    if not (hasattr(session.config, "workerinput") or sys.dont_write_bytecode):
        compileall.compile_dir(ROOT / "gateway", quiet=2)


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
    """Count further cases of a story among the long tests; deselect the tests that need what is not here.

    Where everything must be there (CI), nothing is deselected and they fail instead.
    """
    # Not before pytest has loaded the plugins of this file, of which it imports one.
    from tests.kit.first_cases import (
        mark_further_cases,
        mark_other_turns,
        mark_repeated_cases,
        mark_spared_cases,
        mark_unsampled_cases,
    )

    same = [item for item in items if item.stash.get(_SAME_ON_BOTH, False)]
    mark_repeated_cases(same, (item.nodeid for item in items))
    short = [item for item in items if item.get_closest_marker("long") is None]
    mark_further_cases(item for item in short if _lies_in(item.path, _STORIES))
    further = [item for item in items if item.get_closest_marker("further") is not None]
    for item in further:
        item.add_marker(pytest.mark.long)
    for item in items:
        if _lies_in(item.path, _NEAR_PYTHON) and item.get_closest_marker("long") is None:
            item.add_marker(pytest.mark.each_python)
    mark_spared_cases(item for item in further if not _lies_in(item.path, _WHOLE))
    mark_spared_cases((item for item in items if _lies_in(item.path, _PEERS)), _PEER_SHARE)
    mark_unsampled_cases(items)
    if _TURN:
        tested = [item for item in items if _counts_in_gate(item) and not _lies_in(item.path, _MEASURED)]
        mark_other_turns(tested, int(_TURN))
    if os.environ.get("CI") == "true":
        return
    java = shutil.which("javac") and shutil.which("mvn") and shutil.which("openssl")
    words = f"outside vectors, none at {VECTORS} (GATEWAY_VECTORS)"
    _leave_out(config, items, "vectors", VECTORS.is_dir(), words)
    _leave_out(config, items, "peer", bool(java), "the Java peer: a JDK, Maven and openssl")
    browser = shutil.which("chromium") and shutil.which("chromedriver")
    _leave_out(config, items, "hsm", bool(shutil.which("softhsm2-util")), "a token: SoftHSM 2")
    _leave_out(config, items, "browser", bool(browser), "a browser: chromium and chromedriver")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Let each of several processes begin with slow tests: at the end none works long alone."""
    worker: dict[str, str] | None = getattr(session.config, "workerinput", None)
    if worker is not None:
        from tests.kit.slow_first import put_slow_first

        items = session.items
        slow = [item for item in items if _lies_in(item.path, _SLOW)]
        items[:] = put_slow_first(items, slow, int(worker["workercount"]), lambda item: item.path)


def _counts_in_gate(item: pytest.Item) -> bool:
    """Return whether a test is among those that the gate runs beside the short ones."""
    if item.get_closest_marker("each_python") is not None:
        return True
    left_out = item.get_closest_marker("repeated") or item.get_closest_marker("spared")
    return item.get_closest_marker("long") is not None and left_out is None


def _leave_out(config: pytest.Config, items: list[pytest.Item], mark: str, there: bool, words: str) -> None:
    needing = [] if there else [item for item in items if item.get_closest_marker(mark)]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in set(needing)]
        print(f"\n{len(needing)} tests need {words}")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of outside vectors."""
    return VECTORS
