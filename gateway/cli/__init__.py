"""Verbs of the command line; no logic of their own.

Exit status: 0 good, 1 found wanting, 2 misuse.  A problem is printed in one line with
its id and place; ``gateway error GW…`` explains it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gateway import __version__
from gateway.cli.terminal import visible_terminals
from gateway.errors import OUR_MISTAKE, SETTINGS_WRONG, GatewayError

__all__ = ["main"]

# A verb says what is wrong by itself; processes, which have a log, set it up.
logging.getLogger("gateway").addHandler(logging.NullHandler())

#: Each module adds its verbs; a verb's module is imported only when that verb is used.
VERBS: dict[str, str] = {
    "run": "gateway.cli.process",
    "serve": "gateway.cli.process",
    "work": "gateway.cli.process",
    "check": "gateway.cli.process",
    "migrate": "gateway.cli.process",
    "demo": "gateway.cli.demo",
    "submit": "gateway.cli.submit",
    "pki": "gateway.cli.pki.verbs",
    "party": "gateway.cli.register",
    "agreement": "gateway.cli.register",
    "case": "gateway.cli.cases",
    "message": "gateway.cli.messages",
    "queue": "gateway.cli.queue",
    "evidence": "gateway.cli.evidence",
    "verify": "gateway.cli.verify",
    "signature": "gateway.cli.signature",
    "declaration": "gateway.cli.declaration",
    "map": "gateway.cli.maps.verbs",
    "conformance": "gateway.cli.conformance",
    "error": "gateway.cli.problems",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    with visible_terminals():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(words: list[str]) -> int:
    parser = _parser(words)
    try:
        chosen = parser.parse_args(words)
    except SystemExit as exit_request:
        return 2 if exit_request.code else 0
    try:
        status: int = chosen.run(chosen)
    except GatewayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2 if error.problem is SETTINGS_WRONG else 1
    except BrokenPipeError:
        # The reader has gone: nothing is left to say, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 1
    except Exception as error:
        if os.environ.get("GATEWAY_TRACE"):
            raise
        detail = f"{OUR_MISTAKE.id} {OUR_MISTAKE.title}: {type(error).__name__} (GATEWAY_TRACE=1 shows where)"
        sys.stderr.write(f"gateway: {detail}\n")
        return 1
    return status


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="The single-window gateway.")
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    asked = next((word for word in words if not word.startswith("-")), None)
    modules = {VERBS[asked]} if asked in VERBS else set(VERBS.values())
    for module in sorted(modules):
        import_module(module).add_parser(verbs)
    return parser
