"""What a daemon tells at its port."""

import requests
from prometheus_client.parser import text_string_to_metric_families


class Watched:
    """A daemon's port."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path: str, timeout: float = 10.0) -> requests.Response:
        """One of the two pages."""
        return requests.get(f"{self.address}{path}", timeout=timeout)

    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample by name and labels."""
        families = text_string_to_metric_families(self.ask("/metrics").text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """One of them."""
        return self.values()[name, frozenset(labels.items())]

    def total(self, name: str) -> float:
        """Over all labels."""
        return sum(value for (found, _), value in self.values().items() if found == name)

    def health(self) -> tuple[int, str]:
        """HTTP's status and what it says; (0, "") where nobody listens."""
        try:
            answer = self.ask("/healthz")
        except requests.ConnectionError:
            return 0, ""
        return answer.status_code, answer.json()["status"]

    def is_ok(self) -> bool:
        """Whether it works."""
        return self.health() == (200, "ok")
