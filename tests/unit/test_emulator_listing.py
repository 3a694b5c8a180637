"""Pages and label selectors: what holds for any list and any labels."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from infra.emulator.errors import ApiError
from infra.emulator.labels import check_labels, parse_selector
from infra.emulator.listing import PER_PAGE, PER_PAGE_MOST, page_of, paginate, select

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
LABELS = st.dictionaries(NAMES, NAMES, max_size=4)


@dataclass
class Item:
    id: int
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@given(total=st.integers(0, 300), per_page=st.integers(1, 80))
def test_the_pages_hold_every_item_once_and_in_order(total: int, per_page: int) -> None:
    items = list(range(total))
    seen, page = [], 1
    while True:
        current = paginate(items, page, per_page)
        meta = current.meta()["pagination"]
        assert len(current.items) <= min(per_page, PER_PAGE_MOST)
        assert meta["previous_page"] == (page - 1 or None)
        assert meta["total_entries"] == total
        seen += current.items
        if meta["next_page"] is None:
            assert page == meta["last_page"]
            break
        page = meta["next_page"]
    assert seen == items


@pytest.mark.parametrize(("query", "field_name"), [("page=0", "page"), ("per_page=-1", "per_page"), ("page=x", "page")])
def test_a_page_that_is_no_number_is_refused_by_name(query: str, field_name: str) -> None:
    key, _, value = query.partition("=")
    with pytest.raises(ApiError) as refused:
        page_of([], MultiDict({key: value}))
    assert refused.value.details is not None
    assert refused.value.details["fields"][0]["name"] == field_name


def test_a_list_without_page_has_the_default_size() -> None:
    assert page_of(list(range(100)), MultiDict()).per_page == PER_PAGE


@given(labels=LABELS, key=NAMES, value=NAMES)
def test_each_selector_and_its_opposite_split_all_labels(labels: dict[str, str], key: str, value: str) -> None:
    for yes, no in (
        (f"{key}={value}", f"{key}!={value}"),
        (key, f"!{key}"),
        (f"{key} in ({value})", f"{key} notin ({value})"),
    ):
        assert parse_selector(yes)(labels) != parse_selector(no)(labels)


@given(labels=LABELS, key=NAMES, value=NAMES)
def test_equal_signs_and_sets_of_one_say_the_same(labels: dict[str, str], key: str, value: str) -> None:
    answers = {parse_selector(s)(labels) for s in (f"{key}={value}", f"{key} == {value}", f"{key} in ({value})")}
    assert answers == {labels.get(key) == value}


@given(labels=LABELS, wanted=LABELS)
def test_terms_joined_by_comma_must_all_hold(labels: dict[str, str], wanted: dict[str, str]) -> None:
    if wanted:
        selector = ",".join(f"{k}={v}" for k, v in wanted.items())
        assert parse_selector(selector)(labels) == (wanted.items() <= labels.items())


def test_a_set_may_hold_several_values_beside_other_terms() -> None:
    matches = parse_selector("pool in (data, ops),tier!=tin,site")
    assert matches({"pool": "ops", "site": "x"})
    assert not matches({"pool": "latency", "site": "x"})
    assert not matches({"pool": "ops", "site": "x", "tier": "tin"})
    assert not matches({"pool": "ops"})


@pytest.mark.parametrize("selector", ["", "a==", "=b", "a in", "a in (b", "a~b", "-a", "a,,b"])
def test_a_selector_that_cannot_be_read_is_invalid_input(selector: str) -> None:
    if selector == "a==":  # an empty value is a value
        assert parse_selector(selector)({"a": ""})
        return
    with pytest.raises(ApiError) as refused:
        parse_selector(selector)
    assert refused.value.code == "invalid_input"


@pytest.mark.parametrize("labels", [{"": "x"}, {"a b": "x"}, {"a": "x y"}, {"a": "-x"}, {"a": "x" * 64}])
def test_labels_that_hetzner_would_refuse_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not valid"):
        check_labels(labels)


@given(LABELS)
def test_ordinary_labels_are_kept_as_they_are(labels: dict[str, str]) -> None:
    assert check_labels(labels) == labels


@given(st.lists(NAMES, max_size=20), st.sampled_from(["asc", "desc"]))
def test_sorting_keeps_every_item_and_orders_them(names: list[str], direction: str) -> None:
    items = [Item(i, name) for i, name in enumerate(names)]
    found = select(items, MultiDict({"sort": f"name:{direction}"}), {})
    assert [i.name for i in found] == sorted(names, reverse=direction == "desc")
    assert sorted(i.id for i in found) == list(range(len(names)))


def test_a_repeated_filter_lets_any_of_its_values_through() -> None:
    items = [Item(i) for i in range(5)]
    assert [i.id for i in select(items, MultiDict([("id", "1"), ("id", "3")]), {})] == [1, 3]
