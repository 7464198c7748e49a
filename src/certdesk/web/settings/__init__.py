"""Settings of the service, and how it is doing."""
