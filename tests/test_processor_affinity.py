"""A process bound to one processor: all its threads, and where the fewest others are bound."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import processor_affinity
from gateway.processor_affinity import (
    bind_to_processor,
    choose_processor,
    count_bound_processes,
    list_siblings,
)
from tests.kit.paths import ROOT

#: Binds itself after it has started one thread, starts another one, prints where all may run, and waits.
PROGRAM = """
import os, sys, threading
from gateway.processor_affinity import bind_to_processor
over = threading.Event()
def start():
    started = threading.Event()
    threading.Thread(target=lambda: (started.set(), over.wait())).start()
    started.wait()
start()
chosen = bind_to_processor("always")
start()
threads = [sorted(os.sched_getaffinity(int(one))) for one in os.listdir("/proc/self/task")]
print(repr((chosen, threads)), flush=True)
sys.stdin.read()
over.set()
"""
ALLOWED = sorted(os.sched_getaffinity(0))


@contextmanager
def bound_process() -> Iterator[tuple[int | None, list[list[int]]]]:
    """Run the program, and yield what it printed."""
    words = [sys.executable, "-c", PROGRAM]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        chosen, threads = eval(process.stdout.readline())
        try:
            yield chosen, threads
        finally:
            process.stdin.close()


@pytest.fixture
def two_processors() -> Iterator[None]:
    """Allow two processors to this thread and what it starts, where the machine has more."""
    if len(ALLOWED) < 2:
        pytest.skip("a machine with one processor has nothing to choose from")
    os.sched_setaffinity(0, ALLOWED[:2])
    yield
    os.sched_setaffinity(0, ALLOWED)


@pytest.mark.usefixtures("two_processors")
def test_a_process_is_bound_with_all_its_threads_and_seen_by_others() -> None:
    with bound_process() as (chosen, threads):
        assert chosen in ALLOWED[:2]
        assert threads == [[chosen]] * 3
        # Other gateways of this machine may have bound processes, too.
        assert count_bound_processes()[chosen] >= 1


@pytest.mark.parametrize(
    ("bound", "chosen"),
    [
        ({}, {2, 3, 6, 7}),
        ({2: 1}, {6, 7}),
        ({2: 1, 6: 1}, {3, 7}),
        ({2: 1, 3: 1, 6: 1}, {7}),
        ({2: 2, 3: 1, 6: 2, 7: 2}, {3}),
        ({0: 9, 2: 1, 3: 1, 6: 1, 7: 1}, {2, 3, 6, 7}),
    ],
)
def test_the_processor_with_the_fewest_bound_processes_is_chosen(
    bound: dict[int, int], chosen: set[int]
) -> None:
    """Two cores of two processors each: the one whose sibling is free is better than the other."""
    siblings = {2: (2, 3), 3: (2, 3), 6: (6, 7), 7: (6, 7)}
    assert {choose_processor(siblings, Counter(bound)) for _ in range(100)} == chosen


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let the system have two processors, and return what is bound."""
    given: list[object] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda *what: given.append(what))
    # Removed again at the end, also where the test sets it.
    monkeypatch.setenv("GATEWAY_PROCESSORS", "")
    return given


def test_outside_containers_a_process_is_bound_unless_told(
    done: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor_affinity, "_NAMESPACE_FILE", str(tmp_path))
    assert bind_to_processor("auto") is None
    monkeypatch.setattr(processor_affinity, "_INITIAL_NAMESPACE", tmp_path.stat().st_ino)
    assert bind_to_processor("never") is None
    assert done == []
    assert os.environ["GATEWAY_PROCESSORS"] == ""
    assert bind_to_processor("auto") in {0, 1}
    assert done
    assert os.environ["GATEWAY_PROCESSORS"] == "0,1"


def test_in_a_container_a_process_is_bound_where_the_settings_say_so(
    done: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor_affinity, "_NAMESPACE_FILE", str(tmp_path))
    assert bind_to_processor("always") in {0, 1}
    assert done


def test_where_nothing_of_the_system_is_shown_nothing_is_bound(
    done: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor_affinity, "_PROCESS_FOLDER", str(tmp_path / "nothing"))
    assert bind_to_processor("always") is None
    assert done == []


def test_a_lock_that_is_never_given_back_holds_nobody_up(
    done: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor_affinity, "_MAX_LOCK_WAIT", 0.05)
    with open(processor_affinity.__file__, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert bind_to_processor("always") in {0, 1}
    assert done


def test_a_thread_that_cannot_be_bound_leaves_all_as_they_were(
    done: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: int, processors: set[int]) -> None:
        done.append((thread, set(processors)))
        if len(processors) == 1 and len(done) > 1:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(os, "listdir", lambda place: ["5", "6"] if place.endswith("task") else [])
    assert bind_to_processor("always") is None
    assert done[-2:] == [(5, {0, 1}), (6, {0, 1})]


@pytest.mark.parametrize(
    ("said", "siblings"),
    [("2\n", {2}), ("2,66", {2, 66}), ("2-3,8-9", {2, 3, 8, 9}), ("?", {7}), (None, {7})],
)
def test_the_processors_of_a_core_are_read(tmp_path: Path, said: str | None, siblings: set[int]) -> None:
    if said is not None:
        (tmp_path / "cpu7").write_text(said)
    assert set(list_siblings(7, str(tmp_path / "cpu{}"))) == siblings


def test_threads_of_the_kernel_are_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, words in (("11", b"gateway"), ("12", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cmdline").write_bytes(words)
    monkeypatch.setattr(processor_affinity, "_PROCESS_FOLDER", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert count_bound_processes() == {3: 1}


@pytest.mark.usefixtures("two_processors")
def test_a_child_leaves_the_processor_of_its_parent() -> None:
    words = (
        "import os; from gateway.processor_affinity import restore_processors;"
        f"os.sched_setaffinity(0, {{{ALLOWED[0]}}}); restore_processors();"
        "print(sorted(os.sched_getaffinity(0)))"
    )
    said = {"PYTHONPATH": str(ROOT), "GATEWAY_PROCESSORS": ",".join(map(str, ALLOWED[:2]))}
    done = subprocess.run(
        [sys.executable, "-c", words], check=True, capture_output=True, env=os.environ | said
    )
    assert done.stdout.decode().strip() == str(ALLOWED[:2])


def test_where_one_processor_is_allowed_nothing_changes() -> None:
    os.sched_setaffinity(0, ALLOWED[:1])
    try:
        assert bind_to_processor("always") is None
        with bound_process() as (chosen, threads):
            assert chosen is None
            assert threads == [ALLOWED[:1]] * 3
    finally:
        os.sched_setaffinity(0, ALLOWED)


def test_a_system_that_refuses_leaves_the_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert bind_to_processor("always") is None
    monkeypatch.delattr(os, "sched_setaffinity")
    assert bind_to_processor("always") is None
