"""What is fuzzed: a reader, octets to begin with, and how to change them so that they get far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

__all__ = ["BrokenPromiseError", "Mutate", "Target", "promise"]

#: Returns other octets; the same ones for the same random numbers.
Mutate = Callable[[bytes, Random], bytes]


class BrokenPromiseError(Exception):
    """The reader did something that it must never do, without an exception of its own."""


def promise(kept: bool, words: str) -> None:
    """Raise when a promise is not kept; an assertion might be meant for something else."""
    if not kept:
        raise BrokenPromiseError(words)


@dataclass(frozen=True)
class Target:
    """One reader.

    `run` hands it octets and returns what came of them, the same each time; it may raise
    GatewayError, which is a refusal, and nothing else.  `longest` bounds the octets tried.
    """

    name: str
    what: str
    seeds: Callable[[], Iterable[bytes]]
    run: Callable[[bytes], object]
    mutate: Mutate
    longest: int = 1 << 15
