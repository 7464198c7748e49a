"""What proves control of a domain, how long it counts, and what CAA says. Nobody is asked here."""
