"""HTTP to CAs: an exchange within its limits, and what the thin clients of vendors' APIs have in common."""
