"""Posting alerts to a webhook, as Slack, Mattermost, Teams and others take them."""

from collections.abc import Mapping

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lambda_pipeline.errors import WebhookError

_SECONDS = 5.0
_ADVICE = "Is ALERT_WEBHOOK_URL right?"
# Posting twice tells twice; not posting at all tells nobody. Three attempts within Dagster's minute for a tick.
_RETRIES = Retry(
    total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None,
    respect_retry_after_header=False,
)  # fmt: skip


class Webhook:
    """An address that takes JSON. It is a secret: neither logged nor named in errors."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, text: str, details: Mapping[str, object] | None = None) -> None:
        """Post `{"text": …}` with details beside it, trying again for a while. Raises WebhookError."""
        with requests.Session() as session:
            adapter = HTTPAdapter(max_retries=_RETRIES)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            try:
                answer = session.post(self._url, json={"text": text, **(details or {})}, timeout=_SECONDS)
            except requests.RequestException as error:
                raise WebhookError(f"the alert webhook cannot be reached ({type(error).__name__}).", _ADVICE) from None
        if not answer.ok:
            raise WebhookError(f"the alert webhook answers {answer.status_code}.", _ADVICE)
