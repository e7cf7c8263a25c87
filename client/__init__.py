"""The Python SDK and the `congeal` command: everything speaks HTTP with the service."""
