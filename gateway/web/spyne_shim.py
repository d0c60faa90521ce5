"""Imports Spyne on every Python that the gateway supports, and exports its names.

Spyne 2.14 contains a copy of ``six`` whose import hook predates ``find_spec``: Python 3.12 no
longer calls it, and Python 3.11 warns at each import that fails anywhere. A finder of ours answers
for ``spyne.util.six.moves`` instead, and the old hook is removed. Spyne also imports ``cgi``,
deprecated in 3.11 and absent from 3.13, where ``legacy-cgi`` provides it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

__all__ = [
    "Application",
    "ComplexModel",
    "Fault",
    "MethodContext",
    "ServerBase",
    "ServiceBase",
    "Soap11",
    "Wsdl11",
    "primitive",
    "rpc",
]

_SIX = "spyne.util.six"
_MOVES = _SIX + ".moves"


def _get_moved_modules() -> dict[str, Any]:
    """Return the table of moved modules, by full name, that the vendored six has filled."""
    table: dict[str, Any] = sys.modules[_SIX]._importer.known_modules
    return table


class _MovesFinder(MetaPathFinder, Loader):
    """Finds ``spyne.util.six.moves`` and the modules below it."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return a spec for a module of the table, None for every other."""
        if fullname != _MOVES and not fullname.startswith(_MOVES + "."):
            return None
        moved = _get_moved_modules().get(fullname)
        if moved is None:
            return None
        return spec_from_loader(fullname, self, is_package=hasattr(moved, "__path__"))

    def create_module(self, _spec: ModuleSpec, /) -> ModuleType | None:
        """Return None, so that the import system makes an empty module: the real one keeps its own spec."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Make `module` resolve each name in the real module (PEP 562)."""
        moved = _get_moved_modules()[module.__name__]
        real = moved._resolve() if hasattr(moved, "_resolve") else moved
        module.__getattr__ = lambda name: getattr(real, name)  # type: ignore[method-assign]


@contextmanager
def _silence_import_warnings() -> Iterator[None]:
    """Silence the warnings that Spyne's own modules cause during their import, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r"_SixMetaPathImporter\.find_", ImportWarning)
        warnings.filterwarnings("ignore", "invalid escape sequence", DeprecationWarning)
        warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning)
        yield


def _install_finder() -> None:
    """Install the finder first, import Spyne, and remove the old hook from the import system."""
    if not any(isinstance(finder, _MovesFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MovesFinder())
    with _silence_import_warnings():
        for name in ("spyne", "spyne.protocol.soap", "spyne.server"):
            import_module(name)
    # Spyne runs the garbage collector once a second, for files that its contexts might hold; ours hold
    # none.
    setattr(sys.modules["spyne.const"], "MIN_GC_INTERVAL", float("inf"))  # noqa: B010
    old = sys.modules[_SIX]._importer
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not old]


_install_finder()

_spyne = import_module("spyne")
primitive = import_module("spyne.model.primitive")
Application = _spyne.Application
ComplexModel = _spyne.ComplexModel
Fault = _spyne.Fault
MethodContext = _spyne.MethodContext
ServerBase = import_module("spyne.server").ServerBase
ServiceBase = _spyne.ServiceBase
rpc = _spyne.rpc
Soap11 = import_module("spyne.protocol.soap").Soap11
Wsdl11 = import_module("spyne.interface.wsdl").Wsdl11
