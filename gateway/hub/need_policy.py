"""The policy of the hub about documents that goods need and a submission lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_POLICY", "NeedPolicy"]


@dataclass(frozen=True, slots=True)
class NeedPolicy:
    """What a missing document leads to, ``warn`` or ``refuse`` by direction, and if test editions count."""

    imports: str = "warn"
    exports: str = "warn"
    test_editions: bool = True

    def refuses(self, direction: str | None) -> bool:
        """Return whether a submission of this direction is refused for a missing document."""
        return {"import": self.imports, "export": self.exports}.get(direction or "") == "refuse"


#: What holds where nothing is set.
DEFAULT_POLICY: Final[NeedPolicy] = NeedPolicy()
