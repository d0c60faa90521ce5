"""Octets that nobody would send, at every reader of the gateway: ``python -m tests.fuzz``.

A `Target` is one reader with its promise.  The same targets run under atheris, where it
installs, and under a mutator of our own; what was found once is kept in ``found`` and is
run again by the tests.
"""
