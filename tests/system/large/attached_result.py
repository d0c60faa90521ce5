"""``python -m tests.system.large.attached_result FILE work --home D``: a hub whose Results carry a file.

A Result has one document. With a file beside it, it is as large as a test wants, and everything that seals,
stores and sends it is that of the hub.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.cli import main
from gateway.hub.outbox import applicant_messages
from gateway.message_model import Payload, UserMessage
from tests.system.large.large_place import FileBody

__all__ = ["attach_file"]


def attach_file(path: Path) -> None:
    """Let every message to an applicant carry a file beside its document."""
    make, file = applicant_messages._make_user_message, FileBody(path)

    def make_with_file(*given: Any) -> UserMessage:
        unit = make(*given)
        part = Payload(f"file.{unit.message_id}", "application/octet-stream", file)
        return replace(unit, payloads=(*unit.payloads, part))

    applicant_messages._make_user_message = make_with_file


if __name__ == "__main__":
    attach_file(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
