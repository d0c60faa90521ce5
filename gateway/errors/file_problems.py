"""The problem of a file that cannot be read or written."""

from __future__ import annotations

from pathlib import Path

from gateway.errors.internal import MISUSE
from gateway.errors.problem import GatewayError

__all__ = ["make_path_problem"]


def make_path_problem(path: Path, deed: str, mistake: Exception, location: str = "") -> GatewayError:
    """Return GW808 for a file that cannot be read or written, as the system says why."""
    reason = getattr(mistake, "strerror", None) or "the name of the file is not possible"
    return GatewayError(MISUSE, f"{path} cannot be {deed}: {reason}", location or str(path))
