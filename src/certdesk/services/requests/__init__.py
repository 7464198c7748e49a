"""Requests: asked for, decided, decided again. What issues them lives in `issuance`, not here."""
