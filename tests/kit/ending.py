"""A process that ends at a commit, without the process: nothing runs on behind the place."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["EndedError", "ending_at"]


class EndedError(BaseException):
    """The process has ended here; what catches exceptions does not catch this one."""


def ending_at(name: str, side: str) -> Callable[[str, str], None]:
    """Return what stands for the failpoints of transactions and ends at this one."""

    def failpoint(passed: str, when: str) -> None:
        if (passed, when) == (name, side):
            raise EndedError

    return failpoint
