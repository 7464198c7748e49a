"""Who controls a domain: asked, proven, watched, ended. ACME challenges live in `acme`."""
