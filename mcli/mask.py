"""
Secrets taken out of what is shown and kept: arguments, variables, error texts.

A secret is known in three ways: somebody who knows the command has said which values are
some; the name that goes with it (``--password=…``, ``API_KEY=…``, ``Authorization: …``); or
its own form (the password in a URL, tokens that begin as those of well-known services do).
Rather too much is masked than too little. Pure.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from mcli.secret import MASK, is_secret

SHORT: Final = 4
"""Characters below which a value is masked only where it stands alone: it may be in any word."""

_NAME: Final = re.compile(r"""(?<![\w.-])([\w.-]++)["']?\s*[=:]\s*""")
"""``name=``, ``name:`` and ``"name":``, as in headers, JSON and DSNs."""

_VALUE: Final = re.compile(
    r"""(?P<quote>["'])(?:\\.|(?!(?P=quote))[^\\])*(?P=quote)?"""
    r"""|(?:(?:Bearer|Basic|Token|Digest)\s+)?[^\s&;,"'}\]]+""",
    re.IGNORECASE | re.DOTALL,
)
_URL: Final = re.compile(
    r"(?<![\w+.-])(?P<scheme>[a-z][\w+.-]*+)://(?P<user>[^\s/@:?#]{0,256})"
    r"(?P<password>:(?!\d{1,5}/)[^\s\"'<>]{0,256})?@",  # what looks like a port is one
    re.IGNORECASE,
)
_FORMS: Final = re.compile(
    r"""(?<![\w-])(?:
        gh[a-z]_\w{16,} | github_pat_\w{16,} | glpat-[\w-]{16,}
      | [sprw]k[_-](?:live|test|proj|ant)?[\w-]{16,}
      | AKIA[0-9A-Z]{12,} | AIza[\w-]{30,} | xox[a-z]-[\w-]{10,}
      | eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?
      | (?<=Bearer\ )\S+ | (?<=Basic\ )\S+
    )""",
    re.VERBOSE,
)
_PEM: Final = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)


def mask(words: Sequence[str], secrets: Collection[str] = ()) -> list[str]:
    """The words of a command line as they may be shown.

    Args:
        secrets: Values that are known to be some.
    """
    shown: list[str] = []
    follows = False
    for word in words:
        name, given, _ = word.partition("=")
        if follows and word:
            shown.append(MASK)
        elif given and _is_name(name) and is_secret(name):
            shown.append(f"{name}={MASK}")
        else:
            shown.append(mask_text(word, secrets))
        follows = word.startswith("-") and not given and is_secret(name)
    return shown


def _is_name(text: str) -> bool:
    return text.replace("-", "").replace(".", "").replace("_", "").isalnum()


def mask_text(text: str, secrets: Collection[str] = ()) -> str:
    """*text* as it may be shown."""
    if text in secrets and text:
        return MASK
    for secret in sorted(secrets, key=len, reverse=True):
        text = _without(text, secret)
    if "-----BEGIN" in text:
        text = _PEM.sub(MASK, text)
    if "://" in text and "@" in text:
        text = _URL.sub(_url, text)
    return _FORMS.sub(MASK, _without_named(text))


def _without(text: str, secret: str) -> str:
    if len(secret) >= SHORT:
        return text.replace(secret, MASK)
    return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text) if secret else text


def _url(found: re.Match[str]) -> str:
    user, password = found["user"], found["password"]
    if password is None and not found["scheme"].lower().startswith("http"):
        return found[0]  # git@host: a name, and no more
    return f"{found['scheme']}://{MASK if password is None else f'{user}:{MASK}'}@"


def _without_named(text: str) -> str:
    """A value that is no secret itself may begin another name: ``error: password=…``."""
    parts, at = [], 0
    for found in _NAME.finditer(text):
        if found.start() < at or not is_secret(found[1]):
            continue
        value = _VALUE.match(text, found.end())
        if value is not None:
            quote = value["quote"] or ""
            parts += [text[at : found.end()], quote, MASK, quote]
            at = value.end()
    return "".join([*parts, text[at:]])


def is_masked(words: Iterable[str]) -> bool:
    """Whether something has been taken out of *words*."""
    return any(MASK in word for word in words)


def mask_environment(env: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """All names, and ``MASK`` for each value that is, or holds, a secret."""
    return {
        name: MASK if is_secret(name) or mask_text(value, secrets) != value else value
        for name, value in env.items()
    }


def restore_environment(kept: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """*kept* with what was masked as it is *now*; what is not there now is left out."""
    return {
        name: now[name] if value == MASK else value
        for name, value in kept.items()
        if value != MASK or name in now
    }


def secrets_in(words: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Whole values that are secrets by their name: what an error text may repeat.

    Short ones are left out, which would be found everywhere.
    """
    found = [value for name, value in env.items() if is_secret(name)]
    found += [word for word, shown in zip(words, mask(words), strict=True) if shown == MASK]
    found += [word.partition("=")[2] for word in words if is_secret(word.partition("=")[0])]
    return [value for value in found if len(value) > SHORT]
