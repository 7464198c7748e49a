"""What Certdesk writes to people: how every mail looks, and those about accounts, requests and slow CAs."""
