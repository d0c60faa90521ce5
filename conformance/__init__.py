"""Partners that play their part from outside: agencies, customs and brokers, each a process of its own.

Each has the knowledge of a real partner: its own key, its trust anchors, the agreements, and the public
schemas. No part of the hub's inside is used here.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


#: The folder of the data: agreements, demo, samples, submissions, suites.
DATA_FOLDER: Final[Traversable] = files(__name__)
