"""The composition root: configuration, settings, URLs, start-up."""
