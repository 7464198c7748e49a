"""REST v1: thin edges over the services, described by OpenAPI."""
