"""Proofs about the shipped XML schemas: against outside originals, and against examples of our own."""
