"""The public help pages that form fields link to."""
