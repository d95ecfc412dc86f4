"""Files that others publish: fetched once, verified, and kept in a folder of our own."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pnag.errors import PnagError
from pnag.files import write_bytes

TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Checksum:
    """What is known about a file's content.

    Attributes:
        kind: one of CHECKSUMS.
        digits: of the hash in hexadecimal; as many of the first ones as are published.
    """

    kind: str
    digits: str

    def of(self, data: bytes) -> str:
        """As many digits of this content's hash."""
        return CHECKSUMS[self.kind](data)[: len(self.digits)]


@dataclass(frozen=True)
class PublishedFile:
    """A file on the internet.

    Attributes:
        name: its path in the cache.
        url: where to fetch it; of a zip archive that holds only it, if this ends with .zip.
        checksum: of the file (not of the archive); None if none is published.
    """

    name: str
    url: str
    checksum: Checksum | None

    @property
    def path(self) -> Path:
        """Where it is kept, fetched or put there by hand."""
        return cache_directory() / self.name

    @property
    def packed(self) -> bool:
        """Whether it comes in a zip archive."""
        return self.url.endswith(".zip")


def cache_directory() -> Path:
    """Where fetched files are kept: PNAG_CACHE, or ~/.cache/pnag."""
    named = os.environ.get("PNAG_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "pnag"


def fetch(file: PublishedFile) -> Path:
    """Path of a published file in the cache, fetched unless it is there.

    Where a checksum is published, both a fetched file and one that is there already must have it.

    Raises:
        PnagError: if it cannot be fetched or kept, or if its content is not the published one; the
            message names the URL and the place for the file.
    """
    path = file.path
    if path.exists():
        try:
            found = _wrong_hash(file, path.read_bytes())
        except OSError as error:
            raise PnagError(f"cannot read {path}: {error.strerror or error}") from error
        if found:
            raise PnagError(
                f"{path} has {found}; put the file of {file.url} in its place, or move it "
                "elsewhere to have that fetched"
            )
        return path
    if os.environ.get("PNAG_OFFLINE"):
        raise PnagError(
            f"cannot fetch {file.url}: PNAG_OFFLINE is set; unset it, or put the file at {path}"
        )
    by_hand = (
        f"fetch it by other means{', unpack it' if file.packed else ''} and put it at {path} "
        "(another folder: set PNAG_CACHE), then give the same command again"
    )
    try:
        with urllib.request.urlopen(file.url, timeout=TIMEOUT) as response:
            data: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise PnagError(f"cannot fetch {file.url} ({error}); {by_hand}") from error
    came = f"what came from {file.url} ({len(data)} bytes)"
    if file.packed:
        try:
            data = _unpacked(data)
        except (zipfile.BadZipFile, ValueError) as error:
            raise PnagError(f"{came} is not an archive of one file ({error}); {by_hand}") from error
    if found := _wrong_hash(file, data):
        raise PnagError(f"{came} has {found}; {by_hand}")
    try:
        write_bytes(path, data)
    except PnagError as error:
        reason = error.__cause__ or error
        raise PnagError(
            f"cannot keep {path}: {reason}; free space or set PNAG_CACHE to another folder"
        ) from error
    return path


def _wrong_hash(file: PublishedFile, data: bytes) -> str:
    """What is wrong with a content, in words; empty if nothing is, or nothing is known."""
    if file.checksum is None or (found := file.checksum.of(data)) == file.checksum.digits:
        return ""
    return f"{file.checksum.kind} {found}, the published file has {file.checksum.digits}"


def _unpacked(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError(f"it holds {len(names)}")
        return archive.read(names[0])


def git_blob_id(data: bytes) -> str:
    """What git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


CHECKSUMS: dict[str, Callable[[bytes], str]] = {
    "git blob id": git_blob_id,
    "sha1": lambda data: hashlib.sha1(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
}
