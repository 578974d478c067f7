"""Client for a model server's REST interface. Needs `requests`, but no TensorFlow."""

import base64
import concurrent.futures
import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter

from covid_lm.errors import innermost, reason
from covid_lm.serving import model_client
from covid_lm.serving.model_client import SIGNATURE, ModelClient, RequestFailed


class RestClient(ModelClient):
    """Client for TF Serving's RESTful API."""

    def __init__(self, address: str, model_name: str, timeout: float):
        super().__init__(address, model_name, timeout)
        self._url = f"{address}/v1/models/{urllib.parse.quote(model_name, safe='')}"
        self._connect()

    def signature(self) -> tuple[set[str], set[str]]:
        """As `ModelClient.signature`, over REST."""
        answer = self._request("GET", f"{self._url}/metadata")
        try:
            signature = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]
            return set(signature["inputs"].keys()), set(signature["outputs"].keys())
        except (KeyError, TypeError, AttributeError):
            raise RequestFailed(f"it has no {SIGNATURE} signature") from None

    def _outputs(self, inputs: dict[str, list[bytes]], rows: int) -> Any:
        columns = {
            name: [{"b64": base64.b64encode(value).decode()} for value in values]
            for name, values in inputs.items()
        }
        body = {"signature_name": SIGNATURE, "inputs": columns}
        answer = self._request("POST", f"{self._url}:predict", body)
        return answer.get("outputs") if isinstance(answer, dict) else None

    def _connect(self) -> None:
        self._adapter = HTTPAdapter()
        self._session = requests.Session()
        self._session.mount(self._address, self._adapter)
        # A compressed answer could be of any size.
        self._session.headers["Accept-Encoding"] = "identity"

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
        session = self._session

        def exchange() -> tuple[requests.Response, bytes]:
            with session.request(
                method, url, json=body, timeout=self._timeout, allow_redirects=False, stream=True
            ) as response:
                return response, _read(response, deadline)

        try:
            response, content = _within(self._timeout, exchange)
        except _ERRORS as error:
            cause = innermost(error)
            if isinstance(cause, TimeoutError):
                self._connect()  # the connection could still be in use
                raise self._error("DEADLINE_EXCEEDED", "") from None
            raise self._error("UNAVAILABLE", reason(cause)) from None
        return self._document(response, content)

    def _document(self, response: requests.Response, content: bytes) -> Any:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        code = response.status_code
        if code == requests.codes.ok:
            if document is None:
                raise RequestFailed("the server there is no REST model server")
            return document
        text = document.get("error") if isinstance(document, dict) else None
        status = "UNAVAILABLE" if code == requests.codes.unavailable else f"HTTP {code}"
        raise self._error(status, str(text if isinstance(text, str) else response.reason))


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """The function's result; TimeoutError if it takes longer, and its thread is left behind.

    A socket's timeout counts from the last byte, so a server that sends byte by byte, or stalls in
    the middle, would be waited for longer.
    """
    future: concurrent.futures.Future = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(seconds)


def _read(response: requests.Response, deadline: float) -> bytes:
    """The body. Raises RequestFailed if it is incomplete or too large, TimeoutError if too late."""
    content = bytearray()
    try:
        while chunk := response.raw.read1(2**20, decode_content=False):
            content += chunk
            if len(content) > model_client.MAX_ANSWER_BYTES:
                raise RequestFailed(model_client.TOO_LARGE)
            if time.monotonic() > deadline:
                raise TimeoutError
    except _ERRORS as error:
        cause = innermost(error)
        if isinstance(cause, TimeoutError):
            raise
        raise RequestFailed(f"the server's answer is not complete ({reason(cause)})") from None
    return bytes(content)


_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # of numbers in the protocol
)


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
