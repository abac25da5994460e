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


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""


class Webhook:
    """An address that takes JSON. It is a secret: neither logged nor named in errors."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, text: str, details: Mapping[str, object] | None = None) -> None:
        """Post `{"text": …}` with details beside it, trying again for a while. Raises WebhookError.

        What the receiver answers is not read, and a redirect, which would be asked for without the text, not followed.
        """
        with _Session() as session:
            adapter = HTTPAdapter(max_retries=_RETRIES)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            try:
                json = {"text": text, **(details or {})}
                answer = session.post(self._url, json=json, timeout=_SECONDS, stream=True)
            except requests.RequestException as error:
                raise WebhookError(f"the alert webhook cannot be reached ({type(error).__name__}).", _ADVICE) from None
            answer.close()
        if not 200 <= answer.status_code < 300:
            raise WebhookError(f"the alert webhook answers {answer.status_code}.", _ADVICE)
