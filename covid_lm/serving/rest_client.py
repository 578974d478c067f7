"""Client for a model server's REST interface. Needs `requests`, but no TensorFlow."""

import array
import base64
import json
import time
import urllib.parse
from typing import Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter

from covid_lm.serving import model_client
from covid_lm.serving.model_client import (
    SIGNATURE,
    Answers,
    ModelClient,
    RequestFailed,
    Signature,
    first_line,
    no_answer_within,
    unavailable,
)

RETRIED_STATUSES = (429, 502, 503, 504)


class RestClient(ModelClient):
    """Client for TF Serving's RESTful API.

    Args:
        address: http://HOST:PORT or https://HOST:PORT.
        model_name: as configured on the server.
        timeout: seconds until the server must begin to answer, retries included.
    """

    def __init__(self, address: str, model_name: str, timeout: float):
        self._address = address
        self._url = f"{address}/v1/models/{urllib.parse.quote(model_name, safe='')}"
        self._timeout = timeout
        self._adapter = HTTPAdapter()
        self._session = requests.Session()
        self._session.mount(address, self._adapter)

    def signature(self) -> Signature:
        """As `ModelClient.signature`, over REST."""
        answer = self._request("GET", f"{self._url}/metadata")
        try:
            signature = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]
            return Signature(frozenset(signature["inputs"]), frozenset(signature["outputs"]))
        except (KeyError, TypeError):
            raise RequestFailed(f"it has no {SIGNATURE} signature") from None

    def predict(self, inputs: dict[str, list[bytes]]) -> Answers:
        """As `ModelClient.predict`, over REST."""
        columns = {name: [_base64(value) for value in values] for name, values in inputs.items()}
        body = {"signature_name": SIGNATURE, "inputs": columns}
        answer = self._request("POST", f"{self._url}:predict", json.dumps(body).encode())
        try:
            outputs = answer["outputs"]
            # The decimals are float32 values: converted, they are equal to those over gRPC.
            probabilities = [array.array("f", row).tolist() for row in outputs["probabilities"]]
            return Answers(probabilities, outputs["label"], outputs["valid"])
        except (KeyError, TypeError):
            raise RequestFailed(f"the server's answer has no {SIGNATURE} outputs") from None

    def _request(self, method: str, url: str, body: bytes | None = None) -> Any:
        deadline = time.monotonic() + self._timeout
        self._adapter.max_retries = _RetryUntil(
            deadline,
            total=model_client.ATTEMPTS - 1,
            allowed_methods=None,  # any: urllib3 would not repeat a POST
            status_forcelist=RETRIED_STATUSES,
            raise_on_status=False,
            respect_retry_after_header=False,
            backoff_factor=model_client.FIRST_PAUSE,
            backoff_jitter=model_client.FIRST_PAUSE,
            backoff_max=model_client.LONGEST_PAUSE,
        )
        try:
            response = self._session.request(
                method,
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=_RemainingTime(deadline),  # type: ignore[arg-type]  # urllib3 reads it
                allow_redirects=False,
            )
        except requests.RequestException as error:
            cause = _innermost(error)
            if isinstance(cause, TimeoutError):
                raise no_answer_within(self._timeout) from None
            text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            raise unavailable(self._address, text) from None
        if response.status_code != requests.codes.ok:
            raise self._http_failure(response)
        try:
            return json.loads(response.content)
        except ValueError:
            raise RequestFailed("the server there is no REST model server") from None

    def _http_failure(self, response: requests.Response) -> Exception:
        try:
            reason = json.loads(response.content)["error"]
        except (ValueError, KeyError, TypeError):
            reason = response.reason
        if response.status_code == requests.codes.unavailable:
            return unavailable(self._address, str(reason))
        code = response.status_code
        return RequestFailed(f"the server reports HTTP {code}: {first_line(str(reason))}")


class _RemainingTime(urllib3.Timeout):
    """A timeout that shrinks from attempt to attempt; urllib3 clones it for each."""

    def __init__(self, deadline: float):
        super().__init__()
        self._deadline = deadline

    def clone(self) -> urllib3.Timeout:
        return urllib3.Timeout(total=max(self._deadline - time.monotonic(), 0.001))


class _RetryUntil(urllib3.Retry):
    """Retries while the next attempt begins before a deadline, in `time.monotonic()` seconds."""

    def __init__(self, deadline: float, **options: Any):
        super().__init__(**options)
        self._deadline = deadline

    def new(self, **options: Any) -> Self:
        return super().new(deadline=self._deadline, **options)

    def increment(self, method=None, url=None, response=None, error=None, _pool=None, **rest):
        retry = super().increment(method, url, response, error, _pool, **rest)
        if time.monotonic() + retry.get_backoff_time() > self._deadline:
            raise urllib3.exceptions.MaxRetryError(_pool, url, error) from error
        return retry


def _innermost(error: BaseException) -> BaseException:
    """The exception at the end of the chain of causes."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}
