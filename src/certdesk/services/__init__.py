"""Use cases: they own the transactions, take an Actor and the time, and never a web request."""
