"""A process of its own that is killed at a named place, over the database of a story."""

from __future__ import annotations

import itertools
import os
import signal
import uuid
from collections.abc import Callable

from gateway import failpoints
from gateway.hub import Hub
from gateway.store import make_engine
from tests.kit.story import Story

__all__ = ["die_at"]


def die_at(story: Story, place: str, act: Callable[[Hub], object]) -> None:
    """Let a process act with a hub of its own, and be killed at a failpoint."""
    child = os.fork()
    if child == 0:
        try:
            url = story.house.engine.url.render_as_string(hide_password=False)
            story.house.engine.dispose(close=False)
            failpoints._FAILPOINT_NAME = place  # type: ignore[misc]
            story.house.engine = make_engine(url)
            # The next process must not count from the same number.
            story.house._ids = (str(uuid.uuid4()) for _ in itertools.count())  # type: ignore[assignment]
            act(story.house.new_hub())
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{place} was not reached"
    assert os.WTERMSIG(status) == signal.SIGKILL
