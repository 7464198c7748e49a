"""What ends a certificate or a key, and the list that tells of it. No request is decided here."""
