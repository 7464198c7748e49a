"""The `certdesk` command. Client commands talk REST and import no Django; server commands load it late."""
