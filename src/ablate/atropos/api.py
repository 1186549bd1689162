"""The HTTP interface of atroposlib's ``run-api``, as far as an environment and a trainer need it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from ablate.errors import UserError

ANSWER_S = 60.0


@dataclass(frozen=True)
class Api:
    """A run-api server. Example: ``Api("http://127.0.0.1:8000").call("GET", "/status")``"""

    url: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON answer.

        Raises:
            UserError: when no such server answers, or it refuses the call.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:300]
            raise UserError(
                f"{method} {self.url}{path} answers {error.code} {said}: start run-api of atroposlib 0.4.0 there"
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(
                f"no Atropos server answers at {self.url} ({error}): start one with "
                "`run-api --host 127.0.0.1 --port 8000`, or fix rollout.atropos.url"
            ) from error
