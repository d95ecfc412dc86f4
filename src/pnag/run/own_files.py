"""The files that `pnag run` writes: no other command replaces them."""

from __future__ import annotations

from pathlib import Path

from pnag.errors import PnagError
from pnag.run.run_directory import RunDirectory, own_places


def refuse_own_files(*paths: Path) -> None:
    """Refuse to write into a run what `pnag run` itself writes there.

    A whole folder such as `models` is the run's, also for files that are not there yet: the run may
    write one of that name later. `exports` and all other names are the user's.

    Args:
        paths: of files or folders that a command is about to write.

    Raises:
        PnagError: names the path and the run.
    """
    own = own_places()
    for path in paths:
        place = path.absolute().resolve()
        for folder in place.parents:
            first = place.relative_to(folder).parts[0]
            if first in own and RunDirectory(folder, reading=True).stages_file.is_file():
                raise PnagError(
                    f"{path} belongs to the run {folder}, whose own files must not be replaced; "
                    "choose another place with --out"
                )
