"""One process of the gateway without a supervisor above it, so that its end can be seen.

``python -m tests.kit.single serve|work|both --home DIR``: the same application and the same
worker as ``gateway serve`` and ``gateway work``.  Prints READY when it has begun.
"""

from __future__ import annotations

import _thread
import argparse
import logging
import signal
import threading

from werkzeug.serving import WSGIRequestHandler, make_server

from gateway.cli.home_folder import read_verb_settings
from gateway.config import Settings
from gateway.delivery import build_worker
from gateway.stop_signals import catch_stop_signals
from gateway.web import build_application


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("serve", "work", "both"))
    parser.add_argument("--home", required=True)
    parser.add_argument("--config", default=None)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    settings = read_verb_settings(arguments)
    {"serve": _serve, "work": _work, "both": _both}[arguments.what](settings)


def _both(settings: Settings) -> None:
    worker, stop = build_worker(settings), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    _serve(settings)
    stop.set()
    thread.join()


def _serve(settings: Settings) -> None:
    app = build_application(settings)
    server = make_server(settings.http.host, settings.http.port, app, threaded=True, request_handler=_Quiet)
    signal.signal(signal.SIGTERM, lambda *_: _thread.start_new_thread(server.shutdown, ()))
    print("READY", flush=True)
    server.serve_forever(poll_interval=0.05)


def _work(settings: Settings) -> None:
    worker = build_worker(settings)
    with catch_stop_signals() as stop:
        print("READY", flush=True)
        worker.run(stop)


if __name__ == "__main__":
    main()
