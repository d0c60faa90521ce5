"""Calls that may be refused: any exception but GatewayError goes through and fails the test."""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import GatewayError


def refusal(call: Callable[[], object]) -> GatewayError | None:
    """The refusal of `call`, or None when it returned."""
    try:
        call()
    except GatewayError as error:
        return error
    return None
