"""The `smartroute` command, one module per command. Needs the extra `cli`."""
