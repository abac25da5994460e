"""One answer out of both layers: typed reads over the SQL views. Nothing here writes."""
