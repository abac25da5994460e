"""How the location-hours of a city are spread over the bands, counted by the publish."""

from alembic import op

from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_script(op.get_bind(), sql_text("migrations/0005_serving"))
