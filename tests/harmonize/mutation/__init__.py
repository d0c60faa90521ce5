"""Mutation of the shipped mappings: shows that each proof can fail, and says what none of them sees.

``python -m tests.harmonize.mutation`` breaks the documents in hundreds of small ways, one at a time, and
puts each through everything that stands between a mapping and its use: loading, the five
proofs, the schemas, the facts that are known from outside and the submissions.  What lives
through all of it must be argued in ``argued.yaml``.
"""
