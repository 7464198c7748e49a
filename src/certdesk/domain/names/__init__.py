"""Names and IP addresses as identifiers. Which of them somebody may have is policy's to say."""
