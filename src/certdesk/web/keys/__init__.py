"""Keys that are blocked: a room for officers, in which auditors may look."""
