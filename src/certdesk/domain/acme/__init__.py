"""ACME's own rules: messages, problems, computed statuses, renewal. No HTTP lives here."""
