"""What archived days are aggregated and published by: PostgreSQL, and the engines over the archive beside it."""
