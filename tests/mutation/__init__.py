"""Mutation testing: small changes of the code that some test must notice.

``python -m tests.mutation fees cpa`` draws changes from these rooms by a seed, applies each to a copy of the
code, runs the near tests that pass its line, and writes what became of each into `samples`.
"""
