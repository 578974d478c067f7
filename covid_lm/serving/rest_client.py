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

from covid_lm.errors import reason
from covid_lm.serving import model_client
from covid_lm.serving.model_client import SIGNATURE, ModelClient, RequestFailed
from covid_lm.serving.predict import OUTPUTS, REASON, Outputs


class RestClient(ModelClient):
    """Client for TF Serving's RESTful API."""

    def __init__(self, address: str, model_name: str, timeout: float):
        super().__init__(address, model_name, timeout)
        self._url = f"{address}/v1/models/{urllib.parse.quote(model_name, safe='')}"
        self._adapter = HTTPAdapter()
        self._session = requests.Session()
        self._session.mount(address, self._adapter)

    def signature(self) -> tuple[set[str], set[str]]:
        """As `ModelClient.signature`, over REST."""
        answer = self._request("GET", f"{self._url}/metadata")
        try:
            signature = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]
            return set(signature["inputs"]), set(signature["outputs"])
        except (KeyError, TypeError):
            raise RequestFailed(f"it has no {SIGNATURE} signature") from None

    def predict(self, inputs: dict[str, list[bytes]]) -> Outputs:
        """As `ModelClient.predict`, over REST."""
        columns = {
            name: [{"b64": base64.b64encode(value).decode()} for value in values]
            for name, values in inputs.items()
        }
        body = {"signature_name": SIGNATURE, "inputs": columns}
        answer = self._request("POST", f"{self._url}:predict", body)
        try:
            names = (*OUTPUTS, *answer["outputs"].keys() & {REASON})
            outputs = {name: answer["outputs"][name] for name in names}
            # The decimals are float32 values: converted, they are equal to those over gRPC.
            rows = [array.array("f", row).tolist() for row in outputs["probabilities"]]
            return outputs | {"probabilities": rows}
        except (KeyError, TypeError, AttributeError):
            raise RequestFailed(f"the server's answer has no {SIGNATURE} outputs") from None

    def _request(self, method: str, url: str, body: dict | None = None) -> Any:
        """Sends a body as JSON and returns the JSON of the answer."""
        deadline = time.monotonic() + self._timeout
        self._adapter.max_retries = _RetryUntil(
            deadline,
            total=model_client.ATTEMPTS - 1,
            allowed_methods=None,  # any: urllib3 would not repeat a POST
            status_forcelist=(429, 502, 503, 504),
            raise_on_status=False,
            respect_retry_after_header=False,
            backoff_factor=model_client.FIRST_PAUSE,
            backoff_jitter=model_client.FIRST_PAUSE,
            backoff_max=model_client.LONGEST_PAUSE,
        )
        timeout: Any = _RemainingTime(deadline)  # passed on to urllib3
        try:
            with self._session.request(
                method, url, json=body, timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                content = _read_until(deadline, response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            cause = _innermost(error)
            status = "DEADLINE_EXCEEDED" if isinstance(cause, TimeoutError) else "UNAVAILABLE"
            raise self._error(status, reason(cause)) from None
        return self._document(response, content)

    def _document(self, response: requests.Response, content: bytes) -> Any:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        code = response.status_code
        if code == requests.codes.ok:
            if document is None:
                raise RequestFailed("the server there is no REST model server")
            return document
        text = document.get("error") if isinstance(document, dict) else None
        status = "UNAVAILABLE" if code == requests.codes.unavailable else f"HTTP {code}"
        raise self._error(status, str(text or response.reason))


def _read_until(deadline: float, response: requests.Response) -> bytes:
    """The body; raises TimeoutError if it is still arriving after the deadline."""
    content = bytearray()
    while chunk := response.raw.read1(2**20, decode_content=True):
        content += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


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

    def is_exhausted(self) -> bool:
        late = time.monotonic() + self.get_backoff_time() > self._deadline
        return late or super().is_exhausted()


def _innermost(error: BaseException) -> BaseException:
    """The exception at the end of the chain of causes."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
