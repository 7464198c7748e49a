"""Tests: unit (no Django), integration (both databases), acceptance (a real server), vectors (data)."""
