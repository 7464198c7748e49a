"""One's own account: password, second factor, sessions; and what stands between signing in and the portal."""
