"""The file that keeps an identity: 64 hex digits, readable by its owner only."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from dhtex.errors import KeyFileError
from dhtex.identity import SEED_SIZE, Identity


def load_or_create(path: Path) -> Identity:
    """The identity kept in *path*, made there with mode 0600 when the file does not exist.

    Raises:
        KeyFileError: the file is not 64 hex digits, is readable by others, or cannot be read or written.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        return _create(path)
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from error


def _load(path: Path) -> Identity:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        text = file.read(SEED_SIZE * 2 + 2)
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(f"others may read the key file {path}; make it private with: chmod 600 {path}")
    try:
        return Identity(bytes.fromhex(text.decode("ascii").strip()))
    except ValueError as error:
        raise KeyFileError(
            f"{path} is not a dhtex key file (64 hex digits); "
            "restore it from a backup, or move it away for a new identity"
        ) from error


def _create(path: Path) -> Identity:
    identity = Identity.generate()
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and linked into place: a crash leaves no half key, and of two processes
        # that create at once the first to link wins and the other reads what it finds.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(identity.secret_seed.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        finally:
            partial.unlink()
    except FileExistsError:
        return _load(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise KeyFileError(f"cannot write the key file {path}: {error.strerror}") from error
    return identity
