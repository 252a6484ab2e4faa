"""Fixtures for clients of an edge."""

from __future__ import annotations

from tests.support.loops import each_loop

__all__ = ["each_loop"]
