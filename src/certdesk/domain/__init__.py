"""The pure core that decides: no clock, no I/O, no Django."""
