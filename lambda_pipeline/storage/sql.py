"""The SQL files: one statement a file, named by its path below sql/."""

from functools import lru_cache

import sqlalchemy as sa

from lambda_pipeline.shipped import shipped_path


@lru_cache(maxsize=256)
def sql_text(name: str) -> str:
    """The text of sql/NAME.sql, e.g. `sql_text("speed/insert_realtime")`."""
    return shipped_path("sql", *f"{name}.sql".split("/")).read_text(encoding="utf-8")


@lru_cache(maxsize=256)
def sql(name: str) -> sa.TextClause:
    """The statement in sql/NAME.sql; its parameters are written :name."""
    return sa.text(sql_text(name))
