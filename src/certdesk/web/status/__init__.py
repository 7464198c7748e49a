"""The public page that says whether the service works."""
