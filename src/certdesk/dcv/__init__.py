"""Ways to prove control of a domain, one folder each; independent of one another and of Django."""
