"""The archive: whole days of observations as Parquet files in a folder or an object store, and which of them count."""
