"""What a worker loads: each library that it does not use costs every hub memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kit.databases import in_turn

#: The web pages and the services of the serving process, the migrations, and what validates certificates in a
#: process of its own.
FOREIGN = {
    "alembic",
    "flask",
    "jinja2",
    "pyhanko_certvalidator",
    "spyne",
    "webauthn",
    "werkzeug",
}


@pytest.mark.night
def test_a_worker_loads_nothing_of_the_serving_process() -> None:
    words = (
        "import json, sys; from gateway.delivery import build_worker, service_contracts;"
        "print(json.dumps([one for one in sys.modules if '.' not in one]))"
    )
    done = subprocess.run([sys.executable, "-c", words], check=True, stdout=subprocess.PIPE)
    loaded = set(json.loads(done.stdout))
    assert "zeep" in loaded
    assert loaded & FOREIGN == set()


@pytest.mark.night
def test_a_worker_loads_the_dialect_of_postgresql_with_such_a_database_alone() -> None:
    words = (
        "import sys; from gateway.delivery import build_worker, service_contracts;"
        "print([one for one in sys.modules if one.startswith('sqlalchemy.dialects.postgresql')])"
    )
    done = subprocess.run([sys.executable, "-c", words], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"[]\n"


@pytest.mark.long
@in_turn
def test_a_process_loads_the_dialect_and_the_driver_of_its_own_database_alone(database_url: str) -> None:
    words = (
        "import sys; from gateway.store import make_engine, messages, read_transaction\n"
        "with read_transaction(make_engine(sys.argv[1])) as conn: messages.list_messages(conn, limit=1)\n"
        "names = ('sqlite', 'postgresql'); drivers = ('sqlite3', 'psycopg')\n"
        "print(*[n for n in names if f'sqlalchemy.dialects.{n}' in sys.modules],"
        " *[n for n in drivers if n in sys.modules])"
    )
    program = [sys.executable, "-c", words, database_url]
    done = subprocess.run(program, check=True, stdout=subprocess.PIPE)
    expected = {"sqlite": b"sqlite sqlite3", "postgresql": b"postgresql psycopg"}
    assert done.stdout.strip() == expected[database_url.partition(":")[0].partition("+")[0]]
