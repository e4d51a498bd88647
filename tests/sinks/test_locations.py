"""Where a log lies, and how its key comes to be."""

from __future__ import annotations

import multiprocessing
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from smartroute.errors import ConfigError
from smartroute.sinks.locations import (
    default_log_path,
    hash_key,
    is_single_file,
    settle,
    simulated_beside,
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("ROUTING_ANALYTICS_PATH", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("linux", ".local/state"),
        ("darwin", "Library/Application Support"),
        ("win32", "AppData/Local"),
    ],
)
def test_the_default_is_the_platforms_state_directory(
    monkeypatch: pytest.MonkeyPatch, home: Path, platform: str, place: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert default_log_path(False) == home / place / "smartroute" / "log"
    assert default_log_path(True) == home / place / "smartroute" / "log-simulated"
    assert list(home.iterdir()) == []


def test_xdg_state_home_is_obeyed_when_absolute(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    assert default_log_path(False) == home / "state" / "smartroute" / "log"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_log_path(False) == home / ".local/state/smartroute/log"


def test_the_environment_variable_wins_and_simulated_events_go_beside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUTING_ANALYTICS_PATH", "/var/log/routing.jsonl")
    assert default_log_path(False) == Path("/var/log/routing.jsonl")
    assert default_log_path(True) == Path("/var/log/routing-simulated.jsonl")
    monkeypatch.setenv("ROUTING_ANALYTICS_PATH", "~/routing")
    assert default_log_path(True) == Path.home() / "routing-simulated"


def test_without_a_usable_home_there_is_still_a_place(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    blocker = home / "file"
    blocker.write_text("not a directory")
    monkeypatch.setenv("HOME", str(blocker))
    place = default_log_path(False)
    assert not place.is_relative_to(blocker)
    assert place.parts[-2:] == ("smartroute", "log")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_log_path(False) == place


def test_what_exists_decides_between_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").write_text("")
    assert not is_single_file(tmp_path / "folder.jsonl")
    assert is_single_file(tmp_path / "file")
    assert is_single_file(tmp_path / "new.jsonl")
    assert not is_single_file(tmp_path / "new")
    assert is_single_file(Path("/dev/null"))


def test_the_simulated_twin_of_a_device_is_itself() -> None:
    assert simulated_beside(Path("/dev/null")) == Path("/dev/null")


@pytest.mark.parametrize(("log", "key"), [("log", "log/hash.key"), ("events.jsonl", "events.jsonl.key")])
def test_a_logs_key_is_made_once_and_is_private(tmp_path: Path, log: str, key: str) -> None:
    first = hash_key(tmp_path / log)
    assert len(first) == 32
    assert hash_key(str(tmp_path / log)) == first
    assert (tmp_path / key).read_bytes() == first
    assert stat.S_IMODE((tmp_path / key).stat().st_mode) == 0o600
    assert hash_key(tmp_path / "other") != first
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_key_that_cannot_be_written_lives_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    key = hash_key(tmp_path / "file" / "log")
    assert len(key) == 32
    assert hash_key(tmp_path / "file" / "log") == key
    assert "this process only" in caplog.text


def test_a_damaged_key_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "hash.key").write_bytes(b"short")
    assert len(hash_key(tmp_path)) == 32
    assert "hash.key is damaged: delete it" in caplog.text


def test_nothing_is_made_beside_a_device() -> None:
    assert len(hash_key("/dev/null")) == 32
    assert not Path("/dev/null.key").exists()


def settle_one_of_many(path: str, number: int, results: multiprocessing.SimpleQueue[bytes]) -> None:
    results.put(settle(Path(path), f"process {number}".encode()))


@pytest.mark.parametrize("links", [True, False])
def test_processes_that_settle_at_once_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise PermissionError("this file system has no hard links")

        monkeypatch.setattr(os, "link", refuse)
    fork = multiprocessing.get_context("fork")
    for round_number in range(5):
        results = fork.SimpleQueue()
        path = str(tmp_path / f"settled-{round_number}")
        crowd = [fork.Process(target=settle_one_of_many, args=(path, n, results)) for n in range(6)]
        for process in crowd:
            process.start()
        answers = {results.get() for _ in crowd}
        for process in crowd:
            process.join()
        assert len(answers) == 1
        assert Path(path).read_bytes() in answers
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("make", ["fifo", "folder", "device", "dangling"])
def test_a_key_that_is_no_file_is_not_read(
    tmp_path: Path, make: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "hash.key"
    if make == "fifo":
        os.mkfifo(place)
    elif make == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero" if make == "device" else tmp_path / "nowhere")
    keys: list[bytes] = []
    reader = threading.Thread(target=lambda: keys.append(hash_key(tmp_path)), daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive()
    assert len(keys[0]) == 32
    assert "this process only" in caplog.text


def test_a_key_file_of_any_size_is_damaged_and_not_read_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "hash.key").open("wb") as file:
        file.truncate(10**11)
    assert len(hash_key(tmp_path)) == 32
    assert "is damaged: delete it" in caplog.text


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b"])
def test_a_key_has_no_place_beside_an_impossible_path(path: str) -> None:
    with pytest.raises(ConfigError, match="path"):
        hash_key(path)
