"""Default locations of logs, and of what is stored beside one: its hash key, its simulated twin."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import secrets
import stat
import sys
import time
from pathlib import Path

from smartroute.errors import ConfigError

_log = logging.getLogger("smartroute")

_FILE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", ".log", ".txt"})
_KEY_BYTES = 32
_ADDRESS = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
_MOST_BYTES = 4_096


def log_place(path: str | Path) -> Path:
    """Return the path with `~` expanded, and absolute: a daemon changes its folder, and its log stays.

    Raises ConfigError for one that no file can have.
    """
    try:
        location = Path(path).expanduser()
        if path == "":  # which a Path takes for the present folder
            raise ConfigError("the log's path must not be empty; choose another log_path")
        if b"\0" not in os.fsencode(location):
            with contextlib.suppress(OSError):  # the folder that we are in may be gone
                return location.absolute()
            return location
        reason = "it holds a NUL"
    except (TypeError, RuntimeError) as error:
        reason = str(error)
    except UnicodeEncodeError:
        reason = "it holds half a character"
    raise ConfigError(f"the log's path cannot be {path!r}: {reason}; choose another log_path")


def is_database(location: str | Path) -> bool:
    """Return whether a log's location is the address of a database, as in "postgresql://host/base"."""
    return isinstance(location, str) and _ADDRESS.match(location) is not None


def default_log_path(simulated: bool) -> Path:
    """Return where events go by default.

    `ROUTING_ANALYTICS_PATH` where that is set, else a folder in the user's state directory; simulated
    events go beside the real ones. Never fails: without a usable home directory the log is in the
    system's folder for temporary files.
    """
    configured = _configured()
    if configured and not is_database(configured):
        path = Path(os.path.expanduser(configured))  # noqa: PTH111  the Path method raises without a home
        return simulated_beside(path) if simulated else path
    return _state_directory() / "smartroute" / ("log-simulated" if simulated else "log")


def default_log(simulated: bool) -> str | Path:
    """Return where events go by default: a path, or the database that `ROUTING_ANALYTICS_PATH` names.

    Simulated events never go to the database.
    """
    configured = _configured()
    return configured if is_database(configured) and not simulated else default_log_path(simulated)


def _configured() -> str:
    return os.environ.get("ROUTING_ANALYTICS_PATH", "").strip()


def simulated_beside(path: Path) -> Path:
    """Return the path for simulated events beside a log: `log-simulated`, `events-simulated.jsonl`."""
    if _is_special(path):
        return path
    if is_single_file(path):
        return path.with_name(f"{path.stem}-simulated{path.suffix}")
    return path.with_name(f"{path.name}-simulated")


def is_single_file(path: Path) -> bool:
    """Return whether a log at this path is one file rather than a folder of segments.

    What exists decides; otherwise the ending: .jsonl, .ndjson, .json, .log and .txt name a file.
    """
    mode = _mode(path)
    if mode is None:
        return path.suffix.lower() in _FILE_SUFFIXES
    return not stat.S_ISDIR(mode)


def hash_key(path: str | Path) -> bytes:
    """Return the key that prompts in this log are hashed with.

    It is in the folder as `hash.key`, or beside the file as `<file>.key`; the first process makes it at
    random. Where it can be neither read nor written, hashes are comparable within this process only.
    Raises ConfigError for a path that no file can have.
    """
    path = log_place(path)
    if _is_special(path):
        return _process_key()
    file = path.with_name(path.name + ".key") if is_single_file(path) else path / "hash.key"
    try:
        key = settle(file, secrets.token_bytes(_KEY_BYTES))
    except OSError as error:
        _log.warning("no key at %s (%s); prompt hashes hold for this process only", file, error.strerror)
        return _process_key()
    if len(key) != _KEY_BYTES:
        _log.warning("%s is damaged: delete it; until then prompt hashes hold for this process only", file)
        return _process_key()
    return key


def settle(path: Path, content: bytes) -> bytes:
    """Return what the file holds, which is `content` if this process is the first.

    Of several processes at the same time one wins, and all get the same answer. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        return _read_settled(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        _write_new(draft, content)
        try:
            os.link(draft, path)  # atomic with its content, unlike creating the file and then writing it
        except FileExistsError:
            pass
        except (OSError, AttributeError):
            with contextlib.suppress(FileExistsError):
                _write_new(path, content)
    finally:
        draft.unlink(missing_ok=True)
    return _read_settled(path)


def is_same_file(handle: int, path: Path) -> bool:
    """Return whether an open file is still the one at this path."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def read_small(path: Path) -> bytes:
    """Return the first bytes of a regular file. Raises OSError for a pipe or device: it might never end."""
    handle = os.open(path, _READ_FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file; remove it", str(path))
        return os.read(handle, _MOST_BYTES)
    finally:
        os.close(handle)


# A pipe without a writer must not block a request.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _write_new(path: Path, content: bytes) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o600)
    try:
        if os.write(handle, content) != len(content):
            raise OSError(f"short write to {path}")
        os.fsync(handle)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def _read_settled(path: Path) -> bytes:
    """Return the file's content; without hard links its writer may not have finished, so wait a little."""
    for _ in range(20):
        content = read_small(path)
        if content:
            return content
        time.sleep(0.005)
    return b""


@functools.cache
def _process_key() -> bytes:
    return secrets.token_bytes(_KEY_BYTES)


def _is_special(path: Path) -> bool:
    """Return whether the path is a device or a pipe, beside which no file should be created."""
    mode = _mode(path)
    return mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    """Return the file's mode, None when there is no file or it cannot be accessed."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _state_directory() -> Path:
    chosen = os.environ.get("XDG_STATE_HOME", "")
    if chosen and Path(chosen).is_absolute():
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        return _temporary()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        folder = home / ".local" / "state"
    return folder if _is_writable(folder) else _temporary()


def _is_writable(path: Path) -> bool:
    """Return whether the directory can be written, or created under the nearest parent that exists."""
    for folder in (path, *path.parents):
        mode = _mode(folder)
        if mode is not None:
            return stat.S_ISDIR(mode) and os.access(folder, os.W_OK | os.X_OK)
    return False


@functools.cache
def _temporary() -> Path:
    """Return this user's folder among the temporary files; a private new one where another user holds it."""
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"smartroute-{user}"
        if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != user):
            return Path(tempfile.mkdtemp(prefix="smartroute-"))
        return folder
    except OSError:
        return Path("smartroute-state").absolute()
