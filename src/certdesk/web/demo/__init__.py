"""What only a demonstration has: reading its mail."""
