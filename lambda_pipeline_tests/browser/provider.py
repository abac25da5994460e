"""A provider of OpenID Connect on this machine: whoever comes is signed in as one user, without a question."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "lambda-pipeline"


class Provider:
    """Answers discovery, authorization, token and keys. `claims` say who signs in, and may be changed."""

    def __init__(self) -> None:
        self.claims: Mapping[str, object] = {}
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self._nonces: dict[str, str] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def metadata_url(self) -> str:
        """Where clients learn about it."""
        return f"{self.url}/.well-known/openid-configuration"

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where the browser goes on, signed in."""
        assert query["client_id"] == CLIENT
        code = f"code-{len(self._nonces)}"
        self._nonces[code] = query["nonce"]
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def answer(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        """What is said in JSON."""
        if path == "/keys":
            return {"keys": [self._key.as_dict(private=False)]}
        if path == "/token":
            now = int(time.time())
            claims = {
                "iss": self.url, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 600,
                "nonce": self._nonces.pop(form["code"]), **self.claims,
            }  # fmt: skip
            token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._key)
            return {"access_token": "none", "token_type": "Bearer", "expires_in": 600, "id_token": token}
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                if url.path == "/authorize":
                    self.send_response(302)
                    self.send_header("Location", provider.authorize(query))
                    self.end_headers()
                else:
                    self._say(provider.answer(url.path, query))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._say(provider.answer(self.path, form))

            def _say(self, content: Mapping[str, object]) -> None:
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        return Handler


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider for as long as a block runs."""
    provider = Provider()
    try:
        yield provider
    finally:
        provider.close()
