"""The applicant's screens: new, preview, list, show, withdraw and downloads."""
