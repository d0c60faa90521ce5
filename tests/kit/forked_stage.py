"""The stage of a demo whose hub is forked, too, from a process that all stages of the tests share.

The hub is one process of `tests.kit.single`. A demo with a hub that is started from nothing is played in
`tests/system/demo/test_demo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway_conformance.verbs.demo_stage import Stage, _make_child_environment, _StartedProcess
from tests.kit.forked import fork_process

__all__ = ["ForkedStage"]


class ForkedStage(Stage):
    """A stage that forks all of its players."""

    def _start_partner_process(self, name: str, words: Sequence[str]) -> None:
        self._fork_player(name, "gateway_conformance.__main__", words)

    def _start_hub(self, words: Sequence[str]) -> None:
        self._fork_player("hub", "tests.kit.single", ("both", *words))

    def _fork_player(self, name: str, program: str, words: Sequence[str]) -> None:
        log = self.home / f"{name.lower()}.log"
        process = fork_process(program, words, _make_child_environment(), log)
        self.players.append(_StartedProcess(name, process, log))
