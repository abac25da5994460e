"""The SQL files: one statement a file, named by its path below sql/.

A line `\\ir FILE.sql` stands for a file beside it, as psql has it: what several statements share exists once.
"""

import re
from functools import lru_cache

import sqlalchemy as sa

from lambda_pipeline.shipped import shipped_path

_INCLUDE = re.compile(r"^\\ir (\S+)\.sql$", re.MULTILINE)


@lru_cache(maxsize=256)
def sql_text(name: str) -> str:
    """The text of sql/NAME.sql with what it includes, e.g. `sql_text("speed/insert_realtime")`."""
    folder = name.rpartition("/")[0]
    text = shipped_path("sql", *f"{name}.sql".split("/")).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: sql_text(f"{folder}/{found[1]}").rstrip(), text)


@lru_cache(maxsize=256)
def sql(name: str) -> sa.TextClause:
    """The statement in sql/NAME.sql; its parameters are written :name."""
    return sa.text(sql_text(name))
