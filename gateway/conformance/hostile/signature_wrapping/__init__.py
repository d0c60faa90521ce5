"""Signature wrapping: what is signed stands elsewhere than what is read."""
