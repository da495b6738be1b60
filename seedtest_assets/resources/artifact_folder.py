"""Reports in a folder of this machine."""

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources.artifact_place import Kept, NoSuchArtifact

DRAFTS = ".drafts"
STALE_SECONDS = 3600
"""A draft of this age was left by a process that was killed."""


class Folder:
    """A folder for its owner alone (0700, files 0600).

    Files are written beside, in `.drafts`, and moved into their place, so that a reader has the old or the new one.
    Where one report is `a`, there can be none `a/b`.

    Args:
        root: the folder; made when something is put.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """See `Place`. The content type is not kept: the name's ending tells it."""
        with self._told("write"):
            path = self._path(key)
            drafts = self.root / DRAFTS
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            drafts.mkdir(mode=0o700, exist_ok=True)
            _remove_stale(drafts)
            descriptor, name = tempfile.mkstemp(dir=drafts)
            draft = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(body)
                self._move(draft, path)
            finally:
                draft.unlink(missing_ok=True)
        return path.as_uri()

    def url(self, key: str) -> str:
        """See `Place`."""
        return (self.root / key).as_uri()

    def link(self, key: str, expires: timedelta) -> str:
        """See `Place`. The file's URL, which does not expire."""
        with self._told("read"):
            return self._path(key).as_uri()

    def get(self, key: str) -> bytes:
        """See `Place`."""
        with self._told("read"):
            try:
                return self._path(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NoSuchArtifact(f"The folder {self.root} has no such report.") from None

    def kept(self, prefix: str) -> Iterator[Kept]:
        """See `Place`."""
        with self._told("list"):
            for path in _files(self._path(prefix.rpartition("/")[0])):
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):  # deleted since it was listed
                        known = path.lstat()
                        yield Kept(key, known.st_size, datetime.fromtimestamp(known.st_mtime, UTC))

    def delete(self, keys: Sequence[str]) -> None:
        """See `Place`. Folders left empty go too: their names hold students' keys."""
        if not self.root.exists():
            return
        with self._told("delete"), self._locked(fcntl.LOCK_EX):
            for key in keys:
                path = self._path(key)
                with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    path.unlink()
                self._remove_empty(path)

    def check(self) -> str:
        """See `Place`."""
        made = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not made.is_dir() or not os.access(made, os.R_OK | os.W_OK | os.X_OK):
            raise PermanentFailure(f"{made} is no folder that can be written in. Mend it, or REPORT_FOLDER.")
        return f"reports are kept in the folder {self.root}"

    def _path(self, key: str) -> Path:
        path = self.root / key
        within = [self.root / folder for folder in path.relative_to(self.root).parents[:-1]]
        if any(step.is_symlink() for step in (path, *within)):
            raise PermanentFailure(f"A symbolic link in {self.root} could lead out of it. Remove it.")
        return path

    def _move(self, draft: Path, path: Path) -> None:
        with self._locked(fcntl.LOCK_SH):
            for folder in reversed(path.relative_to(self.root).parents):
                (self.root / folder).mkdir(mode=0o700, exist_ok=True)
            draft.replace(path)

    def _remove_empty(self, path: Path) -> None:
        for folder in path.relative_to(self.root).parents[:-1]:
            try:
                (self.root / folder).rmdir()
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR}:
                    raise

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Moves share the folder, a deletion has it alone: it would take away the new folder that a move needs."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _told(self, operation: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # `from None`: the system's own message quotes the path.
            raise PermanentFailure(
                f"The folder {self.root} does not let us {operation}: {error.strerror}. Mend it, or REPORT_FOLDER."
            ) from None


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder, without drafts and without following symbolic links."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):  # nothing was ever put there, or it was deleted since
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder / entry.name)
        elif entry.is_file(follow_symlinks=False):
            yield folder / entry.name


def _remove_stale(drafts: Path) -> None:
    for draft in drafts.iterdir():
        with suppress(FileNotFoundError):  # finished, or removed by another
            if time.time() - draft.stat().st_mtime > STALE_SECONDS:
                draft.unlink()
