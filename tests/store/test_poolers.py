"""Poolers between the gateway and PostgreSQL: in session mode all works, other modes are refused at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from gateway.errors import GatewayError
from gateway.store import (
    make_engine,
    messages,
    migrate_schema,
    read_database_time,
    read_transaction,
    write_transaction,
)
from tests.kit.desk import Desk
from tests.kit.ports import find_free_port
from tests.kit.rows import NOW, answer, message
from tests.kit.waiting import retry

Pooler = Callable[..., str]


def test_a_session_has_the_zone_of_the_gateway_without_a_parameter_of_its_connection(
    postgresql_url: str,
) -> None:
    engine = make_engine(postgresql_url)
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"ALTER DATABASE \"{engine.url.database}\" SET TimeZone = 'Asia/Seoul'")
    engine.dispose()
    for _ in range(2):
        with read_transaction(engine) as conn:
            assert conn.exec_driver_sql("SHOW TimeZone").scalar() == "UTC"
            driver = conn.connection.dbapi_connection
            assert driver is not None
            assert "options" not in driver.info.get_parameters()
    engine.dispose()


@contextmanager
def run_pooler(url: str, mode: str, size: int) -> Iterator[str]:
    """Run pgbouncer before the server of a database; yield the URL of that database through it."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    assert Path(program).exists(), "pgbouncer is not installed; .ci/run installs it"
    parsed, port = make_url(url), find_free_port()
    admin = create_engine(url)
    with admin.connect() as conn:
        data = Path(str(conn.exec_driver_sql("SHOW data_directory").scalar()))
    admin.dispose()
    host = parsed.query.get("host") or parsed.host
    with tempfile.TemporaryDirectory(prefix="gateway-pooler-") as folder:
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={host} port={parsed.port or 5432} user={parsed.username}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\n"
        )
        become: tuple[str, ...] = ()
        if os.geteuid() == 0:
            # It refuses to run as root; the owner of the server may use its socket.
            owner = data.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
            become = ("setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups")
        process = subprocess.Popen([*become, program, "-q", str(settings)], stderr=subprocess.DEVNULL)
        pooled = parsed.set(host="127.0.0.1", port=port, query={})
        try:
            _await_pooler(pooled.set(drivername="postgresql").render_as_string(hide_password=False))
            yield pooled.render_as_string(hide_password=False)
        finally:
            process.kill()
            process.wait(60)


def _await_pooler(url: str) -> None:
    import psycopg

    retry(lambda: psycopg.connect(url).close(), psycopg.OperationalError, every=0.1)


@pytest.fixture
def pooler(postgresql_url: str) -> Iterator[Pooler]:
    with ExitStack() as stack:
        yield lambda mode, size=20: stack.enter_context(run_pooler(postgresql_url, mode, size))


@pytest.mark.long
def test_in_session_mode_all_works(pooler: Pooler) -> None:
    engine = make_engine(pooler("session"))
    assert migrate_schema(engine)[0] is not None
    with read_transaction(engine) as conn:
        assert conn.exec_driver_sql("SHOW TimeZone").scalar() == "UTC"
        assert read_database_time(conn).tzinfo is not None

    def accept_messages(party: str) -> None:
        for number in range(20):
            with write_transaction(engine) as conn:
                sent = message(message_id=f"{number}@{party}", from_party=party)
                assert messages.accept_message(conn, sent, answer(), NOW).is_new

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(accept_messages, ["a", "b", "c", "d"]))
    with read_transaction(engine) as conn:
        assert conn.exec_driver_sql("SELECT COUNT(*) FROM messages").scalar() == 80
    desk = Desk(engine)
    made = desk.queue(12)
    while desk.worker.run_once():
        pass
    assert {desk.row(each).state for each in made} == {"DELIVERED"}
    engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 5])
def test_transaction_mode_is_refused_at_the_first_connection(pooler: Pooler, size: int) -> None:
    engine = make_engine(pooler("transaction", size))
    for _ in range(2):
        with pytest.raises(GatewayError) as caught, read_transaction(engine) as conn:
            conn.exec_driver_sql("SELECT 1")
        assert (caught.value.problem.id, caught.value.location) == ("GW801", "database.url")
        assert caught.value.detail.endswith("(pgbouncer: pool_mode = session)")
    engine.dispose()
