"""What `gateway listen` and `gateway pull` print: one line for each message that is stored."""

from __future__ import annotations

import sys
from typing import Any, Final

from gateway.cli.result_output import print_json, print_sentence

__all__ = ["PARTNER_WORDS", "ArrivalPrinter"]

#: What ``--partner`` names.
PARTNER_WORDS: Final = (
    "the folder with PARTY.key.pem, PARTY.cert.pem, ca.pem, crl.pem, agreement.yaml (default: .)"
)


class ArrivalPrinter:
    """Prints one line for each message, in words or as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.count = 0

    def print_line(self, words: str) -> None:
        """Print a sentence about the process, not with JSON."""
        print_sentence(words, as_json=self._as_json)
        sys.stdout.flush()

    def announce_message(self, row: dict[str, Any]) -> None:
        """Print the line of a message that is stored."""
        self.count += 1
        if self._as_json:
            print_json({name: row[name] for name in ("at", "file", "message_id", "action", "ref_to", "said")})
        else:
            print(f"{row['at']}  {row['action']}  {_describe_content(row['said'])}  {row['file']}")
        sys.stdout.flush()


def _describe_content(said: dict[str, Any]) -> str:
    if not said["verified"]:
        return f"NOT VERIFIED: {said['problem']}"
    about = f"case {said['case_number']}  reference {said['reference'] or '-'}"
    if "outcome" in said:
        return f"{about}  {said['outcome']}"
    if "missing" in said:
        return f"{about}  HELD until {said['until']}"
    names = ("organisation", "document", "state", "status_code")
    return f"{about}  {' '.join(str(said[name]) for name in names if said[name])}"
