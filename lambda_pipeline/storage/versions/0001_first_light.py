"""The first schema."""

from alembic import op

from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_script(op.get_bind(), sql_text("migrations/0001_first_light"))
