"""Logs, metrics and health of the daemons."""
