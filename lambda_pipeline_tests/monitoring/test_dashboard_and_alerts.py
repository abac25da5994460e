"""Grafana's dashboard and the alert rules name nothing that the daemons do not tell; each alert says what to do."""

import itertools
import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from lambda_pipeline.ingestion.metrics import IngestMetrics
from lambda_pipeline.ingestion.poller import Poller
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.quota import QuotaLedger
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.monitoring.endpoint import Monitor
from lambda_pipeline.speed.metrics import SpeedMetrics, Standing
from lambda_pipeline_tests.ingestion.fake_kafka import FakeBroker

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCS / "alert-rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
_WORDS = {"and", "or", "unless", "bool", "offset"}
_LABELS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_TOKENS = re.compile(r'"[^"]*"|\[[^\]]*\]|[a-zA-Z_:][a-zA-Z0-9_:]*|\S')

Exposed = dict[str, set[str]]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Exposed:
    """Every name that the daemons tell of, with its labels: both registries as the commands make them."""
    folder = tmp_path_factory.mktemp("ingest")
    ingest, speed = Monitor("ingest"), Monitor("speed")
    spool = Spool(folder / "spool.db", 1 << 20)
    publisher = Publisher({}, "t", spool, producer=FakeBroker())
    ledger = QuotaLedger(
        folder / "quota.json", {"tomtom": 2500, "aqicn": None}, lambda: datetime(2025, 3, 5, tzinfo=UTC)
    )
    counters = Poller(None, None, timedelta(hours=3)).counters
    demand = {"tomtom": 1, "aqicn": 1}
    ingest.registry.register(
        IngestMetrics(counters, publisher, spool, ledger.used, demand=demand, interval=timedelta(minutes=6))
    )
    SpeedMetrics(speed.registry).stand({0: Standing(1, 2)})
    found: Exposed = defaultdict(set)
    for monitor in (ingest, speed):
        for family in monitor.registry.collect():
            for sample in family.samples:
                found[sample.name] |= sample.labels.keys()
    publisher.close()
    return found


def used(expression: str) -> tuple[dict[str, set[str]], set[str]]:
    """What a PromQL expression names: each metric with the labels it is chosen by, and the labels it is grouped by."""
    metrics: dict[str, set[str]] = defaultdict(set)
    grouped: set[str] = set()
    tokens = [token for token in _TOKENS.findall(expression) if token[0] not in '"[']
    place = 0
    last = ""
    while place < len(tokens):
        token, following = tokens[place], tokens[place + 1] if place + 1 < len(tokens) else ""
        place += 1
        if token == "{":
            end = tokens.index("}", place)
            metrics[last] |= {word for word in tokens[place:end] if word[0].isalpha()}
            place = end + 1
        elif token in _LABELS and following == "(":
            end = tokens.index(")", place)
            grouped |= {word for word in tokens[place + 1 : end] if word != ","}
            place = end + 1
        elif following in ("(", "by", "without") or token in _WORDS:
            continue  # a function, or a word of the language
        elif re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", token):
            last = token
            metrics[last] |= set()
    return metrics, grouped


def test_expressions_are_taken_apart() -> None:
    metrics, grouped = used(
        '60 * sum by (a, b) (rate(x_total{kind!="q", le=~"1"}[5m])) / on (job) group_left (c) y > 0'
    )
    assert metrics == {"x_total": {"kind", "le"}, "y": set()}
    assert grouped == {"a", "b", "c", "job"}


EXPRESSIONS = [
    *((f"panel {panel['title']}", target["expr"], target["legendFormat"])
      for panel in PANELS for target in panel["targets"]),
    *((f"alert {rule['alert']}", rule["expr"], "") for rule in RULES),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "legend"), [pytest.param(*rest, id=where) for where, *rest in EXPRESSIONS])
def test_every_metric_and_label_is_one_that_the_daemons_tell(exposed: Exposed, expression: str, legend: str) -> None:
    metrics, grouped = used(expression)
    assert metrics
    assert metrics.keys() <= exposed.keys()
    for name, labels in metrics.items():
        assert labels <= exposed[name] | SCRAPED, name
    known = set().union(*(exposed[name] for name in metrics)) | SCRAPED
    assert grouped <= known
    assert set(re.findall(r"{{(\w+)}}", legend)) <= known
    assert expression.count("(") == expression.count(")")


def test_every_metric_of_ours_is_shown(exposed: Exposed) -> None:
    shown = {name for _, expression, _ in EXPRESSIONS for name in used(expression)[0]}
    ours = {name for name in exposed if name.startswith("lambda_")}
    histograms = {name.removesuffix("_bucket") for name in ours if name.endswith("_bucket")}
    parts = {name + end for name in histograms for end in ("_sum", "_count", "_created")}
    told_only = {"lambda_ingest_locations", "lambda_ingest_poll_interval_seconds", "lambda_speed_stored_offset"}
    assert {name for name in ours - shown - parts if not name.endswith("_created")} == told_only


def test_names_are_as_prometheus_wants_them(exposed: Exposed) -> None:
    units = ("_seconds", "_bytes", "_requests", "_records", "_observations", "_offset", "_info")
    bare = {"lambda_healthy", "lambda_ingest_kafka_up", "lambda_ingest_locations", "lambda_speed_partitions"}
    for name in exposed:
        if name.startswith("lambda_") and name not in bare:
            stem = re.sub(r"_(bucket|sum|count|created)$", "", name)
            assert stem.endswith(("_total", *units)) or f"{stem}_total" in exposed, name


# ---------------------------------------------------------------- the dashboard


def test_the_dashboard_can_be_imported_anywhere() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert "__inputs" not in DASHBOARD
    for panel in PANELS:
        for place in (panel, *panel["targets"]):
            assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_its_rows_are_the_parts_of_the_platform() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["At a glance", "Ingestion", "The log", "Speed layer", "Errors"]


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


def test_panels_have_numbers_of_their_own_and_do_not_cover_each_other() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


# ---------------------------------------------------------------- alerts


def anchors(text: str) -> set[str]:
    """The headings of a page, as a link names them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"([A-Z][a-z]+)+", rule["alert"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"].endswith(".")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in anchors(OPERATIONS)
    grouped = used(rule["expr"])[1]
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in grouped | {"instance", "source"}


def test_the_alerts_are_these_and_each_is_named_under_its_heading() -> None:
    assert [rule["alert"] for rule in RULES] == [
        "IngestIsDown", "SpeedIsDown", "DaemonIsStuck", "NothingIsCommitted", "LagGrows", "ObservationsAreLate",
        "SpoolFills", "KafkaRefusesObservations", "QuotaIsNearItsEnd", "SourceFails", "KeyIsRefused", "DeadLettersGrow",
    ]  # fmt: skip
    for rule in RULES:
        anchor = rule["annotations"]["runbook"].partition("#")[2]
        (section,) = [part for part in re.split(r"^#+ ", OPERATIONS, flags=re.MULTILINE)[1:]
                      if anchor in anchors("# " + part.partition("\n")[0])]  # fmt: skip
        assert f"`{rule['alert']}`" in section
