"""Judges an answer by the register as it is when the effect of the answer is stored."""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import GatewayError
from gateway.hub import Hub, RegisterSnapshot, StaleSnapshotError

__all__ = ["run_with_current_register"]


def run_with_current_register(
    hub: Hub, knowledge: RegisterSnapshot, work: Callable[[RegisterSnapshot], None]
) -> None:
    """Run `work`, again with what is known now when the register has changed since `knowledge` was read.

    `work` opens the answer by its argument, and has the version of the register compared in the
    transaction of its effect (`check_snapshot_current`). So nothing is judged by an old register, and
    asking for the version costs no transaction. What fails is tried again too: the new register may
    know the signer.
    """
    while True:
        try:
            work(knowledge)
        except (StaleSnapshotError, GatewayError) as problem:
            known, knowledge = knowledge, hub.refresh_snapshot()
            if knowledge.epoch == known.epoch and isinstance(problem, GatewayError):
                raise
        else:
            return
