"""The `cpus` filter of the roles: every way to write a CPU list, and a refusal that quotes what is not one."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "filter" / "cpus.py"


def plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cpus_filter", PLUGIN)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cpus = plugin().cpus


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("2-5,8", [2, 3, 4, 5, 8]),
        ("0-1\n", [0, 1]),
        ("1 3 2", [1, 2, 3]),
        ([1, "4-5"], [1, 4, 5]),
        (7, [7]),
        ("", []),
        (None, []),
    ],
)
def test_every_way_to_write_a_list_is_read(written: object, numbers: list[int]) -> None:
    assert cpus(written) == numbers


@pytest.mark.parametrize("written", ["5-2", "a", "1-", "-1", "1--2"])
def test_what_is_not_a_list_is_refused_by_name(written: str) -> None:
    with pytest.raises(AnsibleFilterError, match="is not a CPU list"):
        cpus(written)


@given(st.sets(st.integers(0, 1023)))
def test_a_list_written_out_comes_back(numbers: set[int]) -> None:
    assert cpus(",".join(map(str, numbers))) == sorted(numbers)
