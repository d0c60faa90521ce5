"""Fetching revocation lists, status responses and trusted lists on schedule."""
