"""Says which program this is: version, build, and the schema version of its code."""

from __future__ import annotations

from gateway import __version__
from gateway.program_build import BUILD
from gateway.store import get_head_revision


def describe_program() -> str:
    """Return a text with the version of this program, its build, and the schema version of its code."""
    return f"gateway {__version__} (build {BUILD}, schema {get_head_revision()})"
