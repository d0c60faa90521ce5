"""Ports for servers that a test starts in a process of their own."""

from __future__ import annotations

from gateway_conformance.free_ports import reserve_free_port as find_free_port

__all__ = ["find_free_port"]
