"""Schemas compiled by many threads at once, as processes with threads do at their start."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from lxml import etree
from gateway.wire.schema_sets import compile_schema
XS = "http://www.w3.org/2001/XMLSchema"
schema = f'<s:schema xmlns:s="{XS}"><s:element name="a" type="s:positiveInteger"/></s:schema>'.encode()
with ThreadPoolExecutor(8) as pool:
    made = list(pool.map(lambda _: compile_schema(schema), range(64)))
good, bad = etree.fromstring("<a>7</a>"), etree.fromstring("<a>0</a>")
assert all(one.validate(good) and not one.validate(bad) for one in made)
print("good")
"""


@pytest.mark.long
def test_the_first_schemas_of_a_process_may_be_compiled_together() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=False)
        assert done.stdout == b"good\n", done.stderr.decode()


_WHILE_OTHERS_PARSE = """
import threading
from lxml import etree
from gateway.share import get_data_folder
from gateway.wire.schema_sets import SchemaSet, _LOADED_SETS
stop = threading.Event()
def parse():
    while not stop.is_set():
        etree.fromstring(b"<a/>", etree.XMLParser(resolve_entities=False, no_network=True))
threads = [threading.Thread(target=parse) for _ in range(3)]
for thread in threads: thread.start()
try:
    for _ in range(10):
        _LOADED_SETS.clear()
        SchemaSet.load_cached(get_data_folder("xsd"), "hub/submission.xsd")
finally:
    stop.set()
print("good")
"""


@pytest.mark.long
def test_schemas_compile_while_other_threads_parse() -> None:
    """The loader of external documents is one for the process, and every parse sets it anew."""
    done = subprocess.run([sys.executable, "-c", _WHILE_OTHERS_PARSE], capture_output=True, check=False)
    assert done.stdout == b"good\n", done.stderr.decode()
