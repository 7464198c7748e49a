"""The one Django app of models: rows, selectors (reads), and the only writers of state and audit."""
