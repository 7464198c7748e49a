"""Organisations, their domains and their people."""
