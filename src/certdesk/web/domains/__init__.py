"""Domains: what is proven until when, asking for a confirmation, an officer's evidence."""
