"""The shipped documents as parameters of tests: a few are short, the others long."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from gateway.share import get_data_folder

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

#: Each has something that the others have not: conversions of units, shared answers, an export with lots,
#: the rows of an e-document, a fee before forwarding, groups three deep, no field of an item.
REPRESENTATIVE: Final = (
    "EMC-WASTE-IMP",
    "KFDA-FOOD-IMP",
    "KFDA-NARC-EXP",
    "KPTA-PHARM-IMP",
    "KTL-ELEC-IMP",
    "NVRQS-ANIQ-IMP",
    "NVRQS-TRANS",
)
#: Every shipped document, by the names of the files.
DOCUMENTS: Final = tuple(
    sorted(path.stem for path in Path(str(get_data_folder("mappings"))).glob("agencies/*/*.yaml"))
)


def each_document(names: Iterable[str] = DOCUMENTS) -> list[ParameterSet]:
    """Return a parameter for each name; documents that are not representative are long."""
    return [
        pytest.param(name, id=name, marks=() if name in REPRESENTATIVE else pytest.mark.night)
        for name in names
    ]
