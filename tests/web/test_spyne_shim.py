"""Spyne can be imported on every Python that runs this, without a warning and without traces elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import importlib, sys
import gateway.web.spyne_service as shim
assert shim.ServerBase.__module__ == "spyne.server._base"
from spyne.util.six.moves.urllib.parse import unquote
from spyne.util.six.moves import http_cookies
assert unquote("%41") == "A" and http_cookies.SimpleCookie
import http.cookies
assert http.cookies.__spec__.name == "http.cookies", "the real module keeps its own spec"
try:
    import spyne.util.six.moves.no_such_module
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("found what is not there")
try:
    importlib.import_module("no_such_module_anywhere")
except ModuleNotFoundError:
    pass
finders = [type(one).__name__ for one in sys.meta_path]
assert "_SixMetaPathImporter" not in finders, finders
assert finders.count("_MovesFinder") == 1, finders
"""


@pytest.mark.long
def test_in_a_process_where_every_warning_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
