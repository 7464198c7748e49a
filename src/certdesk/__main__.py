"""`python -m certdesk` is the `certdesk` command."""

from certdesk.cli.main import main

main()
