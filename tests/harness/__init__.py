"""What the tests stand on: a database, a running server, a browser. No test lives here."""
