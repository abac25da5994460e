"""The sample configuration for many machines loads, as Dagster's daemon would load it in a pod of Kubernetes."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef

SAMPLE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "dagster.yaml"
ENVIRONMENT = {
    "LAMBDA_DAGSTER_DATABASE_URL": "postgresql+psycopg2://dagster@127.0.0.1/dagster",
    "LAMBDA_KUBERNETES_NAMESPACE": "city",
    "LAMBDA_IMAGE": "lambda-pipeline:1",
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    "KUBERNETES_SERVICE_PORT": "6443",
}


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a pod has: the file in Dagster's folder, the secrets in its environment, a service account."""
    urllib3 = logging.getLogger("urllib3")
    level = urllib3.level  # which Kubernetes' client changes for the whole process, at its import
    from kubernetes.config import incluster_config

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("SERVICE_TOKEN_FILENAME", "SERVICE_CERT_FILENAME"):
        file = tmp_path / name
        file.write_text("made up")
        monkeypatch.setattr(incluster_config, name, str(file))
    (tmp_path / "dagster.yaml").write_text(SAMPLE.read_text())
    yield tmp_path
    urllib3.setLevel(level)


def test_it_loads_and_each_run_is_a_job(pod: Path) -> None:
    from dagster_k8s import K8sRunLauncher

    reference = InstanceRef.from_dir(str(pod))
    launcher = reference.run_launcher_data.rehydrate()
    assert isinstance(launcher, K8sRunLauncher)
    assert launcher.supports_check_run_worker_health  # which run_monitoring builds on
    assert launcher.job_namespace == "city"
    assert reference.settings["run_monitoring"]["enabled"]


def test_it_says_of_the_instance_what_the_one_machine_says() -> None:
    ours = yaml.safe_load((SAMPLE.parents[2] / "dagster.yaml").read_text())
    sample = yaml.safe_load(SAMPLE.read_text())
    for shared in ("storage", "run_coordinator", "run_retries", "freshness", "telemetry"):
        assert sample[shared] == ours[shared]
