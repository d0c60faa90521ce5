"""Partners that play their part from outside: agencies, customs and brokers, each a process of its own.

They know what a real partner would know: its own key, whom it trusts, what was agreed, and
the public schemas.  Nothing of the hub's inside is used here.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


#: The folder of the data: agreements, demo, samples, submissions, suites.
DATA_FOLDER: Final[Traversable] = files(__name__)
