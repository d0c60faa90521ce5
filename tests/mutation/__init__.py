"""Mutation testing: small changes of the code that some test must notice.

``python -m tests.mutation --sample 200`` draws changes from the packages that guard what is
received and signed, applies each to a copy of the code, and runs the tests that pass its line.
"""
