"""What every list of the API does: filter by name, id and label, sort, and cut into pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from multidict import MultiMapping

from infra.emulator.errors import invalid
from infra.emulator.labels import parse_selector

PER_PAGE = 25
PER_PAGE_MOST = 50


# The query string of a request.
Query = MultiMapping[str]


class Listed(Protocol):
    """A record that can be listed."""

    @property
    def id(self) -> int: ...


@dataclass(frozen=True)
class Page[T]:
    items: list[T]
    page: int
    per_page: int
    total: int

    @property
    def last(self) -> int:
        return max(1, -(-self.total // self.per_page))

    def meta(self) -> dict[str, Any]:
        return {
            "pagination": {
                "page": self.page,
                "per_page": self.per_page,
                "previous_page": self.page - 1 if self.page > 1 else None,
                "next_page": self.page + 1 if self.page < self.last else None,
                "last_page": self.last,
                "total_entries": self.total,
            }
        }


def paginate[T](items: Sequence[T], page: int = 1, per_page: int = PER_PAGE) -> Page[T]:
    per_page = min(per_page, PER_PAGE_MOST)
    start = (page - 1) * per_page
    return Page(list(items[start : start + per_page]), page, per_page, len(items))


def select[T: Listed](records: Sequence[T], query: Query, filters: Mapping[str, Callable[[T], object]]) -> list[T]:
    """The records that every filter in the query lets through, in the order the query asks for."""
    found = list(records)
    for key, value_of in {"id": lambda r: r.id, **filters}.items():
        if key in query:
            wanted = set(query.getall(key, []))
            found = [r for r in found if str(value_of(r)) in wanted]
    if selector := query.get("label_selector"):
        matches = parse_selector(selector)
        found = [r for r in found if matches(getattr(r, "labels", {}))]
    return sort(found, query.getall("sort", []))


def sort[T: Listed](records: list[T], orders: Sequence[str]) -> list[T]:
    if not orders:
        return sorted(records, key=lambda r: r.id)
    for order in reversed(orders):
        field, _, direction = order.partition(":")
        if direction not in ("", "asc", "desc"):
            raise invalid("sort", f"{direction!r} is not a direction: asc or desc")
        if records and not hasattr(records[0], field):
            raise invalid("sort", f"cannot sort by {field!r}")
        records = sorted(records, key=lambda r: getattr(r, field), reverse=direction == "desc")
    return records


def page_of[T](records: Sequence[T], query: Query) -> Page[T]:
    return paginate(records, _positive(query, "page", 1), _positive(query, "per_page", PER_PAGE))


def _positive(query: Query, key: str, default: int) -> int:
    text = query.get(key)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise invalid(key, f"{text!r} is not a positive number")
    return int(text)
