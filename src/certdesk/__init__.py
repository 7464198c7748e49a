"""Certdesk: a certificate request service in front of any CA."""
