"""The stage of a demo whose processes are forked from one that has imported the program.

Importing takes most of a demo. The hub is one process of `tests.kit.single`. A demo with processes that are
started from nothing is played in `tests/system/demo/test_demo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.cli.demo_stage import Stage, _make_child_environment, _Player
from tests.kit.forked import ForkedProcess

__all__ = ["ForkedStage"]


class ForkedStage(Stage):
    """A stage that forks its players."""

    def _start_player_process(self, name: str, module: Sequence[str], *, tells: bool) -> None:
        program, *words = module
        if name == "hub":
            program, words = "tests.kit.single", ["both", "--home", str(self.home)]
        else:
            assert tells, f"{name} does not say when it is ready"
            program = f"{program}.__main__"
        log = self.home / f"{name.lower()}.log"
        process: Any = ForkedProcess(program, words, _make_child_environment(), log)
        self.players.append(_Player(name, process, log))
