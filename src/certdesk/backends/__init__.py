"""Back ends: one folder per kind of CA, alike outside and independent of one another and of Django."""
