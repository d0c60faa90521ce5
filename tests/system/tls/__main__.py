"""``python -m tests.system.tls [--write]``: tries every row with real sockets and prints the table.

``--write`` puts it into the manual.  Ends with 1 when a row did not come as it must.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.system.tls import calling, listening, table
from tests.system.tls.place import served


def main(words: list[str]) -> int:
    """Try, print, write."""
    with tempfile.TemporaryDirectory(prefix="gateway-tls-") as folder:
        with served(Path(folder) / "home", listening.SETTINGS) as place:
            ours = list(listening.rows(place))
        theirs = list(calling.rows(Path(folder)))
    for name, rows in (("listening", ours), ("calling", theirs)):
        for row in rows:
            print(f"{'good ' if row.good else 'WRONG'}  {row.who}: {row.seen}", end="")
            print("" if row.good else f", but expected is {row.expected}")
        if "--write" in words:
            table.write(name, rows)
    wrong = [row for row in (*ours, *theirs) if not row.good]
    print(f"{len(ours) + len(theirs)} rows, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
