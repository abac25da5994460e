"""What aggregates whole days of the archive in place of PostgreSQL, and which of them does."""
