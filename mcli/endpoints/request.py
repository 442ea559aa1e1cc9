"""
What a request says, read strictly: what could be understood in two ways is refused.

JSON has no ``NaN``, no key twice and no half of a character; a query and a path are UTF-8.
Files that are uploaded go to a folder of the job, under names that nobody chose.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mcli.endpoints.mount import Mount
from mcli.endpoints.operation import FORM, JSON
from mcli.endpoints.prefer import digest
from mcli.errors import BadParameters, Incomplete, RequestError, WrongMedia

DEPTH_MAX: Final = 32
"""How deep the lists and objects of a JSON body may be."""

FIELDS_MAX: Final = 1000
"""Values that a query or a form may have."""

FIELD_BYTES: Final = 1 << 20
"""Bytes that a field of a form may have, if it is not a file."""

_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,10}")


class Uploads:
    """The files that came with one request."""

    def __init__(self, folder: str) -> None:
        self._job = folder
        self._folder = os.path.join(folder, "files")
        self._digests: dict[str, str] = {}

    def save(self, upload: UploadFile) -> str:
        """Write it down; the path. Of its name only a harmless suffix is kept."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        suffix = os.path.splitext(upload.filename or "")[1]
        name = secrets.token_hex(16) + (suffix if _SUFFIX.fullmatch(suffix) else "")
        path = os.path.join(self._folder, name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            shutil.copyfileobj(upload.file, file)
            file.flush()
            os.fsync(fd)  # an accepted job has its files even after a power cut
        with open(path, "rb") as file:
            self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return path

    def known(self, text: str) -> str:
        """What *text* is known by if the request comes again: a file, by its content."""
        return self._digests.get(text, text)

    def remove(self) -> None:
        """Nobody will need them."""
        if self._digests:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):
                os.rmdir(self._job)


@dataclass(slots=True)
class Given:
    """The parameters of a request, as they came."""

    values: dict[str, Any] = field(default_factory=dict)
    """From a JSON body."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    """From the path, the query or a form; of a file, its path."""

    digest: bytes = b""
    """Of all that was asked: the same for the same request sent again."""


async def read(request: Request, mount: Mount, uploads: Uploads) -> Given:
    """The parameters of a request to *mount*.

    Raises:
        WrongMedia: The body is of a type that is not read there.
        Incomplete: It is a form that ends too early.
        BadParameters: A parameter stands where it does not belong.
        RequestError: It cannot be read.
    """
    given = Given()
    _check_path(request)
    asked = _query(request)
    if mount.in_query:
        given.texts = asked
        if await request.body():
            raise WrongMedia(f"{mount.route} takes its parameters from the query, and no body")
    else:
        _refuse(asked, "belongs in the body, not in the query")
        await _read_body(request, mount, given, uploads)
    inside = mount.placeholders()
    _refuse([name for name in inside if name in given.values or name in given.texts],
            "stands in the path, and nowhere else")  # fmt: skip
    given.digest = _digest(request, given, uploads)
    given.texts |= {name: [str(request.path_params[name])] for name in inside}
    return given


def _refuse(names: Any, why: str) -> None:
    errors = [{"parameter": name, "message": f"{name!a} {why}"} for name in names]
    if errors:
        raise BadParameters(errors)


def _check_path(request: Request) -> None:
    """The server has put a mark for what it could not read: it is not what was sent."""
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
    except ValueError as error:
        raise RequestError(f"the path cannot be read: {error}; it must be UTF-8") from None


def _query(request: Request) -> dict[str, list[str]]:
    try:
        text = request.scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise RequestError(f"the query cannot be read: {error}; it must be UTF-8") from None
    texts: dict[str, list[str]] = {}
    for name, value in pairs:
        texts.setdefault(name, []).append(value)
    return texts


async def _read_body(request: Request, mount: Mount, given: Given, uploads: Uploads) -> None:
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    if media_type == FORM and any(param.upload for param in mount.others()):
        given.texts = await _form(request, mount, uploads)
    elif media_type == JSON:
        given.values = parse(await request.body())
    elif media_type or await request.body():
        forms = f", or {FORM}" if any(param.upload for param in mount.others()) else ""
        raise WrongMedia(f"the body must be {JSON}{forms}, not {media_type or 'of no type'!a}")


# JSON ---------------------------------------------------------------------------------------


def parse(body: bytes) -> dict[str, Any]:
    """The object in a JSON document; nothing is the same as an empty object.

    Raises:
        RequestError: It is not JSON, or more than JSON says, or no object.
    """
    if not body.strip():
        return {}
    try:
        found = json.loads(
            body.decode(), object_pairs_hook=_once, parse_constant=_none, parse_float=_finite
        )
        _check(found, 0)
    except RecursionError:
        raise RequestError("the body cannot be read: it is too deep") from None
    except ValueError as error:
        raise RequestError(f"the body cannot be read: {error}; it must be JSON") from None
    if not isinstance(found, dict):
        raise RequestError("the body must be a JSON object, with a member for each parameter")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!a} stands there twice")
    return found


def _none(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        value.encode()  # half a character is none
    elif isinstance(value, dict | list):
        if depth == DEPTH_MAX:
            raise ValueError(f"it is more than {DEPTH_MAX} levels deep")
        if isinstance(value, dict):
            value = [*value, *value.values()]
        for item in value:
            _check(item, depth + 1)


# Forms --------------------------------------------------------------------------------------


class _Parser(MultiPartParser):
    """Knows whether the form has come to its end: a part that has not would be left out."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _form(request: Request, mount: Mount, uploads: Uploads) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=FIELDS_MAX,
        max_fields=FIELDS_MAX,
        max_part_size=FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(f"the form cannot be read: {error.message}") from None
    try:
        if not parser.ended:
            raise Incomplete("the form is not whole: its last boundary is missing; send it again")
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                _check_upload(mount, name)
                value = await asyncio.to_thread(uploads.save, value)
            texts.setdefault(name, []).append(value)
    finally:
        await form.close()
    return texts


def _check_upload(mount: Mount, name: str) -> None:
    param = mount.command.param(name)
    if param is not None and not param.upload:
        _refuse([name], "takes a value, not a file")


def _digest(request: Request, given: Given, uploads: Uploads) -> bytes:
    texts = {name: [uploads.known(text) for text in given.texts[name]] for name in given.texts}
    return digest(request.method, request.url.path, given.values, texts)
