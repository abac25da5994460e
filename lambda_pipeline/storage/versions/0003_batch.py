"""The batch layer: the catalogue both layers judge by, what a publish found in the speed layer, catching up."""

from alembic import op

from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_script(op.get_bind(), sql_text("migrations/0003_batch"))
