"""Our own DNSSEC validation: from configured trust anchors to each RRset and each denial (RFC 4035 5).

`judge` says of a response whether it is secure or insecure, or raises `Bogus`. Who is asked, and how, is the
caller's; the cryptography is dnspython's. Nothing here keeps anything beyond one look-up.
"""
