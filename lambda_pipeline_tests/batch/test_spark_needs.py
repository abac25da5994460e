"""What Spark needs and does not find is said before it starts."""

import sys
from pathlib import Path

import pytest

from lambda_pipeline.batch.engines.spark_session import check_needs
from lambda_pipeline.errors import EngineError, SettingsError
from lambda_pipeline.local.home import free_port


@pytest.mark.parametrize("home", [None, "/nowhere"])
def test_a_missing_java_is_named_with_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str | None
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if home is not None:
        monkeypatch.setenv("JAVA_HOME", home)
    with pytest.raises(SettingsError, match="no java " + (r"below JAVA_HOME \(/nowhere\)" if home else "in PATH")):
        check_needs("local[*]")


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(SettingsError, match=r"pip install 'lambda-pipeline\[spark\]'"):
        check_needs("local[*]")


@pytest.mark.parametrize("master", ["", "yarn", "local[a]", "http://host:7077", "spark://"])
def test_a_master_that_is_none_is_refused(master: str) -> None:
    with pytest.raises(SettingsError, match="LAMBDA_SPARK_MASTER"):
        check_needs(master)


def test_a_master_that_does_not_answer_is_an_error_at_once() -> None:
    port = free_port()
    with pytest.raises(EngineError, match=f"127.0.0.1:{port}: Connection refused.*LAMBDA_SPARK_MASTER"):
        check_needs(f"spark://127.0.0.1:{port}")
