"""The speed layer under load, and logs that were cut short."""

from alembic import op

from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_script(op.get_bind(), sql_text("migrations/0002_speed"))
