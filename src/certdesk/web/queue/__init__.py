"""The officer's screens: what waits, and deciding it."""
