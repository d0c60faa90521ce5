"""Applies documents to a submission: requests, problems, and the account of every leaf."""
