"""ACME for its clients: accounts, orders, challenges. Messages and signatures are the front's."""
