"""Domain control by e-mail: the public page that confirms, and asking for a confirmation."""
