"""Stand-ins for CAs that can't be had here: HTTP on loopback, written from documentation alone."""
