"""From approval to certificate: states, profiles, intents, lint, and what a certificate is worth."""
