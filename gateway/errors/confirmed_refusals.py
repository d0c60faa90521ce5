"""A refusal that blames a sender is judged twice, because a lack of memory can look like such a refusal.

libxml2 and OpenSSL do not report every allocation that fails: an attribute is read as missing, a canonical
form has other octets, a schema is violated, a signature does not verify. Nothing in their answer or their
logs says so. The second judgement of the same octets finds the truth, unless memory lacks again. Octets that
were accepted are judged once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from traceback import clear_frames
from typing import Final, TypeVar

from gateway.errors.problem import GatewayError
from gateway.errors.resource_problems import NO_ROOM

_Judged = TypeVar("_Judged")
_Finding = TypeVar("_Finding")


class _ThreadJudgement(threading.local):
    """A value for each thread: whether it is inside `confirm_refusal`, which confirms the whole result."""

    is_running = False


_THREAD_JUDGEMENT: Final = _ThreadJudgement()


def find_refusal_id(error: Exception) -> str | None:
    """Return the id of the problem for which an exception blames a sender; None for any other exception."""
    return error.problem.id if isinstance(error, GatewayError) and not error.problem.ours else None


def confirm_refusal(
    judge: Callable[[], _Judged],
    get_refusal_id: Callable[[Exception], str | None] = find_refusal_id,
    *,
    is_already_refused: bool = False,
) -> _Judged:
    """Return the result of `judge`; raise its refusal only if a second call raises the same refusal.

    A refusal is an exception for which `get_refusal_id` returns an id: by default the id of a problem of the
    sender. Any other exception is raised at once. Raises GW806 if the second call succeeds or raises another
    refusal. `judge` must have no effect before it accepts. It is called only once if `is_already_refused` is
    true, since another reader has refused the same octets, and if this thread is inside another
    `confirm_refusal`.
    """
    if _THREAD_JUDGEMENT.is_running:
        return judge()
    _THREAD_JUDGEMENT.is_running = True
    try:
        return judge() if is_already_refused else _judge_twice(judge, get_refusal_id)
    finally:
        _THREAD_JUDGEMENT.is_running = False


def _judge_twice(judge: Callable[[], _Judged], get_refusal_id: Callable[[Exception], str | None]) -> _Judged:
    """Return the result of `judge`; after a refusal, call it again and raise the refusal if it is the same.

    Raises GW806 if the second call accepts or raises another refusal. An exception for which
    `get_refusal_id` returns None is raised at once.
    """
    try:
        return judge()
    except Exception as error:
        first_refusal_id = get_refusal_id(error)
        if first_refusal_id is None:
            raise
        # This frees the tree of the first call, so that two trees are never in memory at once.
        clear_frames(error.__traceback__)
    try:
        judge()
    except Exception as error:
        if get_refusal_id(error) in (first_refusal_id, None):
            raise
    raise _make_difference_error()


def confirm_finding(find_fault: Callable[[], _Finding | None]) -> _Finding | None:
    """Return the fault that `find_fault` returns, None for no fault; a second call confirms the fault.

    This is `confirm_refusal` for faults that are returned and not raised. Raises GW806 if the second call
    finds no fault.
    """
    fault = find_fault()
    if fault is None or _THREAD_JUDGEMENT.is_running:
        return fault
    fault = find_fault()
    if fault is None:
        raise _make_difference_error()
    return fault


def _make_difference_error() -> GatewayError:
    return GatewayError(NO_ROOM, "the same octets were judged otherwise a second time: memory is used up")
