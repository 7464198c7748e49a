"""The one policy: facts and rules in, an explained decision out. No fact is gathered here."""
