"""What people send: CSRs and keys as facts, with every finding about them alone. Nothing is decided here."""
