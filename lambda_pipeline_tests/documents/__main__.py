"""`make docs`: write the pages that are made, out of the code and of a database of its own."""

import tempfile
from pathlib import Path

from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.migrate import upgrade
from lambda_pipeline_tests.documents import DOCS
from lambda_pipeline_tests.documents.dictionary import dictionary
from lambda_pipeline_tests.documents.reference import reference


def main() -> None:
    """Write both."""
    (DOCS / "cli.md").write_text(reference(), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="lambda-docs-") as folder:
        home = Home(Path(folder))
        server = EmbeddedPostgres(home)
        with home.lock("docs"):
            try:
                server.start()
                engine = make_engine(server.url(), "docs", BATCH_TIMEOUTS)
                upgrade(engine)
                with transaction(engine, read_only=True) as connection:
                    (DOCS / "data-dictionary.md").write_text(dictionary(connection), encoding="utf-8")
                engine.dispose()
            finally:
                server.stop(force=True)


if __name__ == "__main__":
    main()
