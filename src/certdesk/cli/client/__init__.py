"""Client commands: they talk REST v1 and import no Django, so that they start at once and anywhere."""
