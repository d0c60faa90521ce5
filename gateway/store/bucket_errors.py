"""Says in words what a server that speaks S3 refuses, or why it was not reached."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["describe_bucket_error", "get_bucket_error_code", "load_bucket_errors"]

_KEY: Final = "the server refuses the key, or what it asks for"
#: What an operator mends; other codes are told as they are.
_WORDS: Final = {
    "NoSuchBucket": "there is no bucket {bucket}",
    "InvalidAccessKeyId": "the server does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "RequestTimeTooSkewed": "the clocks of server and gateway differ",
    "EntityTooLarge": "the server takes no object of this size",
    "403": _KEY,
    "AccessDenied": _KEY,
    "Forbidden": _KEY,
}


def load_bucket_errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors that a request to a bucket raises."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    return (BotoCoreError, ClientError, HTTPError, OSError)


def get_bucket_error_code(error: Any) -> str:
    """Return the code that the server has answered; empty where it has not answered."""
    answer = getattr(error, "response", None)
    return str(answer["Error"].get("Code", "")) if isinstance(answer, dict) and "Error" in answer else ""


def describe_bucket_error(error: Any, bucket: str) -> str:
    """Return what is wrong, for the operator; nothing that the server says is repeated but its code."""
    code = get_bucket_error_code(error)
    if not code:
        return f"the object store does not answer ({type(error).__name__})"
    words = _WORDS.get(code)
    if words is not None:
        return f"the object store takes nothing now: {words.format(bucket=bucket)}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    shown = "".join(one for one in code if one.isascii() and one.isalnum())[:60]
    return f"the object store refuses the request: {' '.join(dict.fromkeys((str(status), shown)))}"
