"""The archive: what needs no server."""
