"""A model server's REST interface. Needs the standard library only."""

import array
import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from covid_lm.serving.model_client import (
    SIGNATURE,
    Answers,
    ModelClient,
    RequestFailed,
    ServerUnavailable,
    Signature,
    first_line,
    no_answer_within,
)


class RestClient(ModelClient):
    """Talks to TF Serving's RESTful API.

    Args:
        url: http://HOST:PORT or https://HOST:PORT.
        model_name: as the server knows it.
        timeout: seconds that the server may stay silent.
    """

    def __init__(self, url: str, model_name: str, timeout: float):
        self._url = f"{url}/v1/models/{urllib.parse.quote(model_name, safe='')}"
        self._timeout = timeout

    def signature(self) -> Signature:
        """As `ModelClient.signature`, over REST."""
        answer = self._request(f"{self._url}/metadata")
        try:
            signature = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]
            return Signature(frozenset(signature["inputs"]), frozenset(signature["outputs"]))
        except (KeyError, TypeError):
            raise RequestFailed(f"it has no {SIGNATURE} signature") from None

    def predict(self, inputs: dict[str, list[bytes]]) -> Answers:
        """As `ModelClient.predict`, over REST."""
        columns = {name: [_base64(value) for value in values] for name, values in inputs.items()}
        body = {"signature_name": SIGNATURE, "inputs": columns}
        answer = self._request(f"{self._url}:predict", json.dumps(body).encode())
        try:
            outputs = answer["outputs"]
            # The decimals name float32 values; read as such they equal those over gRPC.
            probabilities = [array.array("f", row).tolist() for row in outputs["probabilities"]]
            return Answers(probabilities, outputs["label"], outputs["valid"])
        except (KeyError, TypeError):
            raise RequestFailed(f"the server's answer has no {SIGNATURE} outputs") from None

    def _request(self, url: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise self._http_failure(error) from None
        except OSError as error:
            # urllib wraps what happens while it connects and sends, but not while it reads.
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                raise no_answer_within(self._timeout) from None
            text = getattr(reason, "strerror", None) or str(reason)
            raise ServerUnavailable(first_line(text)) from None
        except (http.client.HTTPException, ValueError):
            raise RequestFailed("what answers there is no REST model server") from None

    def _http_failure(self, error: urllib.error.HTTPError) -> Exception:
        with error:
            try:
                reason = json.load(error)["error"]
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
                reason = error.reason
        if error.code == http.HTTPStatus.SERVICE_UNAVAILABLE:
            return ServerUnavailable(first_line(str(reason)))
        return RequestFailed(f"the server says HTTP {error.code}: {first_line(str(reason))}")


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}
