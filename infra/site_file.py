"""Pulumi.<stack>.yaml as a person wrote it: the site's part of it, and keys that were written twice."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.paths import repo_root
from infra.problems import InvalidSite, Problem, choose, path_text

KEY = "baretick:site"


@dataclass(frozen=True)
class Description:
    source: str
    site: Any
    problems: tuple[Problem, ...]


def read_stack(stack: str, root: Path | None = None) -> Description:
    """Read Pulumi.<stack>.yaml at the root; raises InvalidSite where it is not there or is not YAML."""
    folder = root or repo_root()
    path = folder / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = sorted(p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in folder.glob("Pulumi.*.yaml"))
        raise InvalidSite(path.name, [Problem("stack", f'there is no stack "{stack}"', choose(stack, known))])
    return read(path)


def read(path: Path) -> Description:
    text = path.read_text()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as e:
        line = f"line {e.problem_mark.line + 1}" if e.problem_mark else "the file"
        raise InvalidSite(path.name, [Problem(line, f"not YAML: {e.problem}", "Correct that line")]) from e
    config = document.get("config") if isinstance(document, dict) else None
    site = config.get(KEY) if isinstance(config, dict) else None
    return Description(path.name, site, tuple(_twice(node, ())) if node else ())


def _twice(node: yaml.Node, at: tuple[str | int, ...]) -> Iterator[Problem]:
    """Mapping keys that appear twice: YAML readers keep the last one and say nothing."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _twice(item, (*at, index))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in first:
                yield Problem(
                    path_text(part for part in (*at, key.value) if part not in ("config", KEY)),
                    f'"{key.value}" is written twice, on lines {first[key.value]} and {line}',
                    "Give one of them another name, or remove it",
                )
            first.setdefault(key.value, line)
            yield from _twice(value, (*at, key.value))


# Stands in for a pool's faulty part, so that its hosts are still checked.
STAND_IN = {"cpus": {"total": 1, "housekeeping": "0"}}


def without(raw: dict[str, Any], places: Iterable[tuple[int | str, ...]]) -> dict[str, Any]:
    """A copy that lacks what is at these places."""
    pruned = copy.deepcopy(raw)
    # From the back, so that the places of list items stay true.
    for place in sorted(set(places), key=lambda p: [(isinstance(x, str), str(x).rjust(8)) for x in p], reverse=True):
        at: Any = pruned
        for index, part in enumerate(place):
            inside = (isinstance(at, dict) and part in at) or (isinstance(at, list) and int(part) < len(at))
            if not inside:
                break
            if str(part) in STAND_IN:
                at[part] = copy.deepcopy(STAND_IN[str(part)])
                break
            if index == len(place) - 1 or not isinstance(at[part], dict | list):
                del at[part]
                break
            at = at[part]
    return pruned
