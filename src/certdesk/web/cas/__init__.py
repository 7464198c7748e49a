"""The CAs, for operators: how each is, what it is asked for, and how long it takes."""
