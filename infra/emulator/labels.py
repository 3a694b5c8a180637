"""Labels: what Hetzner accepts as one, and the label_selector language of its lists."""

import re
from collections.abc import Callable

from infra.emulator.errors import ApiError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"(?:{_NAME})?")
_SET = re.compile(r"(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(r"(?P<key>[^=!\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>\S*)")

Labels = dict[str, str]
Predicate = Callable[[Labels], bool]


def check_labels(labels: Labels) -> Labels:
    """The same labels, or ValueError naming the one Hetzner would refuse."""
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"label key {key!r} is not valid")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"label value {value!r} of key {key!r} is not valid")
    return labels


def parse_selector(selector: str) -> Predicate:
    """`a=b,c!=d,e in (x,y),!f` as one predicate; anything else is an invalid_input as Hetzner says it."""
    terms = [_term(part.strip()) for part in _split(selector)]
    return lambda labels: all(term(labels) for term in terms)


def _split(selector: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, char in enumerate(selector):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(selector[start:at])
            start = at + 1
    return [*parts, selector[start:]]


def _term(text: str) -> Predicate:
    if match := _SET.fullmatch(text):
        key, wanted = match["key"], {v.strip() for v in match["values"].split(",")}
        _require_key(key, text)
        if match["op"] == "in":
            return lambda labels: labels.get(key) in wanted
        return lambda labels: labels.get(key) not in wanted
    if match := _EQUAL.fullmatch(text):
        key, value = match["key"], match["value"]
        _require_key(key, text)
        if match["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if text.startswith("!"):
        absent = text[1:].strip()
        _require_key(absent, text)
        return lambda labels: absent not in labels
    _require_key(text, text)
    return lambda labels: text in labels


def _require_key(key: str, text: str) -> None:
    if not _KEY.fullmatch(key):
        raise ApiError(
            "invalid_input",
            f"label selector is invalid at {text!r}",
            {"fields": [{"name": "label_selector", "messages": [f"cannot read {text!r}"]}]},
        )
