"""Kafka: client settings, the topic, and reading ranges of it. Knows no layer."""
