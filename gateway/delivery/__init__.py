"""Hands things over, and again if need be: the queue's worker and its agents."""

from __future__ import annotations
