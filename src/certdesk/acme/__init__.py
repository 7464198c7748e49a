"""The ACME server's edge (RFC 8555, RFC 9773): signed messages in, one service call, JSON out."""
