"""The embedded stack, on one machine and in one folder: PostgreSQL, Kafka, a simulator of the APIs, a supervisor.

Everything here is handed plain values (a folder, a port, a command) and knows neither settings nor Dagster.
"""
