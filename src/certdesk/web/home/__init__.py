"""The first page after signing in: what awaits this person."""
