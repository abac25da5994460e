"""What is kept of the first system's rows that raw_data does not hold as they were."""

from alembic import op

from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_script(op.get_bind(), sql_text("migrations/0004_old_databases"))
