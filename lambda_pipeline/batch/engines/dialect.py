"""The aggregation in an engine's own dialect. It exists once, in PostgreSQL's."""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import sqlglot
from sqlglot import exp

from lambda_pipeline.storage.sql import sql_text

Dialect = Literal["duckdb", "spark"]
VIEW = "observations"
"""What the aggregation reads from: the engine makes it, with the columns of an archived day."""


@lru_cache(maxsize=8)
def aggregation(dialect: Dialect) -> str:
    """sql/batch/aggregate_observations.sql for an engine.

    PostgreSQL rounds a double's halves to even, so its round() becomes what does so there: a plain round() of DuckDB
    and of Spark rounds them away from zero, and their sums would not be those of the speed layer.
    """
    tree = sqlglot.parse_one(sql_text("batch/aggregate_observations"), read="postgres")
    return tree.transform(_halves_to_even[dialect]).sql(dialect=dialect, comments=False)


def _by_cast(node: exp.Expression) -> exp.Expression:
    """DuckDB's cast of a double to a whole number rounds halves to even by itself, unlike all its functions."""
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Round):
        node.set("this", node.this.this)
    elif isinstance(node, exp.Round) and not isinstance(node.parent, exp.Cast):
        raise ValueError(f"a rounded value must be cast to a whole number: {node.sql()}.")
    return node


def _by_rint(node: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this="rint", expressions=[node.this]) if isinstance(node, exp.Round) else node


_halves_to_even: dict[Dialect, Callable[[exp.Expression], exp.Expression]] = {"duckdb": _by_cast, "spark": _by_rint}
