"""Reads: frozen rows, filtered by who asks. A foreign object is never told from a missing one."""
