"""ACME in the portal: credentials, accounts and what became of their orders; moving renewals forward."""
