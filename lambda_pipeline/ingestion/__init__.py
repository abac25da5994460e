"""From the two public APIs to Kafka: HTTP session, TomTom and AQICN clients, poller, spool, publisher and their daemon.

It is handed plain values, knows neither settings nor Dagster, and imports only `domain` and `errors`.
"""
