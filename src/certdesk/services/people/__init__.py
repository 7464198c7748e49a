"""People and organisations: who they are, what they belong to, how they sign in. No certificates."""
