"""PostgreSQL: engine, transactions, COPY, migrations, and the loader of the SQL files. Knows no layer."""
