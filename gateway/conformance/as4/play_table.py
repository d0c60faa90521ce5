"""Every play of the suite by the name that its tables use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.conformance.as4.answer_plays import ANSWER_PLAYS
from gateway.conformance.as4.as4_play import MESSAGE_PLAYS, As4Play
from gateway.conformance.as4.pull_plays import PULL_PLAYS

__all__ = ["run_play"]

_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {**MESSAGE_PLAYS, **ANSWER_PLAYS, **PULL_PLAYS}


def run_play(play: As4Play) -> None:
    """Play an assertion; raise UnmetError where it does not hold, LookupError when it cannot be played."""
    if play.row.play:
        _PLAYS[play.row.play](play)
    else:
        play.play_one_message()
