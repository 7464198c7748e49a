"""The service itself: what it runs with, its settings, secrets and demo. Nothing about a request."""
