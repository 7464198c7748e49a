"""Issuances: from a CSR to a certificate, by one engine. Nothing here decides what may be asked for."""
