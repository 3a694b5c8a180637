"""The module that finds a service which an interrupted run left without its restart."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

SPEC = importlib.util.spec_from_file_location(
    "unit_outdated", Path(__file__).resolve().parents[2] / "plugins" / "modules" / "unit_outdated.py"
)
assert SPEC and SPEC.loader
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)


def write(path: Path, mtime: float) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (mtime, mtime))
    return str(path)


def test_only_what_was_written_after_the_start_counts(tmp_path):
    old, new = write(tmp_path / "old.conf", 999.0), write(tmp_path / "new.conf", 1000.5)
    assert MODULE.newer([old, new], 1000.0) == [new]


def test_a_folder_counts_with_all_below_it(tmp_path):
    deep = write(tmp_path / "rules" / "site" / "a.yml", 2000.0)
    for folder in (tmp_path / "rules" / "site", tmp_path / "rules"):
        os.utime(folder, (1.0, 1.0))
    assert MODULE.newer([str(tmp_path / "rules")], 1000.0) == [deep]


def test_a_link_to_a_new_version_counts_and_its_old_target_does_not(tmp_path):
    write(tmp_path / "v1" / "program", 5000.0)
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "v1")
    os.utime(link, (1.0, 1.0), follow_symlinks=False)
    assert MODULE.newer([str(link)], 1000.0) == []
    os.utime(link, (3000.0, 3000.0), follow_symlinks=False)
    assert MODULE.newer([str(link)], 1000.0) == [str(link)]


def test_a_missing_file_is_not_passed_over(tmp_path):
    with pytest.raises(FileNotFoundError):
        MODULE.newer([str(tmp_path / "gone")], 1000.0)


def test_a_unit_that_never_started_has_no_time():
    assert MODULE.parse_timestamp("") is None


@given(st.datetimes(min_value=MODULE.datetime.datetime(1971, 1, 1), max_value=MODULE.datetime.datetime(2199, 1, 1)))
def test_the_time_is_read_to_the_microsecond_whatever_the_weekday_is_called(moment):
    text = moment.strftime("Tag %Y-%m-%d %H:%M:%S.%f UTC")
    expected = moment.replace(tzinfo=MODULE.datetime.timezone.utc).timestamp()
    assert MODULE.parse_timestamp(text) == pytest.approx(expected, abs=1e-5)


def test_it_reads_what_date_prints_in_the_form_of_systemctl():
    printed = subprocess.run(
        ["date", "-u", "-d", "@1732216956.25", "+%a %Y-%m-%d %H:%M:%S.%6N UTC"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert MODULE.parse_timestamp(printed.stdout.strip()) == 1732216956.25
