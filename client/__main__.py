"""`python -m client` is the `congeal` command."""

from client.cli import app

app()
