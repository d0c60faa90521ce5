"""The policy of the hub about documents that goods need and a submission lacks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

__all__ = ["DEFAULT_POLICY", "NeedPolicy"]


@dataclass(frozen=True, slots=True)
class NeedPolicy:
    """What a missing document leads to by direction, and if test editions count.

    ``warn``, ``refuse``, or ``hold`` for `hold_time`.
    """

    imports: str = "warn"
    exports: str = "warn"
    test_editions: bool = True
    hold_time: timedelta = timedelta(days=3)

    def get_action(self, direction: str | None) -> str:
        """Return what a missing document leads to in this direction; a warning where it is not known."""
        return {"import": self.imports, "export": self.exports}.get(direction or "", "warn")


#: What holds where nothing is set.
DEFAULT_POLICY: Final[NeedPolicy] = NeedPolicy()
