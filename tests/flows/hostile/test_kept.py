"""Nothing of a request is kept when it has been answered, refused or taken: it goes at once, not in time.

What is held in cycles stays until Python's collector comes, which counts objects and not
octets: trees and parsers of some hundred messages would then be in the memory together.
"""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway_conformance.hostile import Answer, AttackerKit, AttackRunner, WsgiTarget
from gateway_conformance.hostile.exchange import Step
from tests.flows.hostile.outbound_audit import played_all

#: What is large, or holds what is large: trees, parsers, bodies, and the frames of those who had them.
LARGE = {"XMLParser", "_Document", "_Element", "xmlparser", "BytesIO", "bytes", "frame", "traceback"}


@dataclass
class Weighed:
    """A target; after each answer nothing of the request may be left to the collector."""

    target: WsgiTarget
    name: str = "weighed"
    sent: int = 0
    left: dict[tuple[str, ...], int] = field(default_factory=dict)

    def send(self, step: Step) -> Answer:
        gc.collect(1)
        answer = self.target.send(step)
        kinds = self._left()
        self.sent += 1
        if kinds:
            self.left[kinds] = self.left.get(kinds, 0) + 1
        return answer

    @staticmethod
    def _left() -> tuple[str, ...]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            found = Counter(type(one).__name__ for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        # Of lxml a parser with a target holds itself; the one that hands on to no tree holds nothing else.
        bare = {"XMLParser"} if found["XMLParser"] == found["_DiscardingTarget"] else set()
        return tuple(sorted(LARGE & {*found} - bare))


@contextmanager
def uncollected() -> Iterator[None]:
    """Let nothing collect but us, and let us look at what is new alone."""
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.night
def test_no_request_of_the_corpus_leaves_anything_to_the_collector(
    opponents: tuple[AttackerKit, WsgiTarget],
) -> None:
    bench, target = opponents
    # What is made once, at the first message, may lie in cycles.
    played_all(AttackRunner(bench, target), 40)
    weighed = Weighed(target)
    with uncollected():
        played_all(AttackRunner(bench, weighed), 8)
    assert weighed.sent > 150
    assert weighed.left == {}


@pytest.mark.night
def test_what_lies_in_a_cycle_is_noticed(opponents: tuple[AttackerKit, WsgiTarget]) -> None:
    bench, target = opponents

    def careless(environ: dict[str, Any], start_response: Any) -> Any:
        environ["itself"] = environ
        return target.application(environ, start_response)

    weighed = Weighed(replace(target, application=careless))
    with uncollected():
        weighed.send(bench.build_message())
    assert [*weighed.left] == [("BytesIO",)]


@pytest.fixture(autouse=True)
def _nothing_frozen() -> Iterator[None]:
    """The hub of the suite has frozen what it loaded and what was left: none of this test's business."""
    gc.unfreeze()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    yield
    gc.unfreeze()
