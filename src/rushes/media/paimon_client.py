"""The process that reads and writes a Paimon table, as the publishing process sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rushes.errors import CannotGoOn, MissingExtra, StorageError
from rushes.media import die_with_parent

SCRIPT = Path(__file__).with_name("paimon_process.py")
INSTALL = "python3.11 -m venv ~/.rushes-paimon && ~/.rushes-paimon/bin/pip install 'pypaimon==2.1.*'"
"""Makes the environment of the process."""
CALLED = "~/.rushes-paimon/bin/python"


class PaimonProcess:
    """Asks the process. It ends with this object, and with this process.

    Args:
        python: the Python that has pypaimon; None: this one, or that of `INSTALL`.
        place: the table, as in messages.
        catalog: options of the catalog.
        name: database and table.

    Attributes:
        version: of pypaimon.

    Raises:
        MissingExtra: there is no such Python, or it lacks pypaimon. StorageError: there cannot be such a catalog.
    """

    def __init__(self, python: str | None, place: str, catalog: Mapping[str, str], name: str) -> None:
        self._place = place
        program = os.path.expanduser(python or (sys.executable if find_spec("pypaimon") else CALLED))
        its_end, our_end = os.pipe()
        self._parent_end = os.fdopen(our_end, "wb", buffering=0)
        try:
            self._process = subprocess.Popen(
                [program, die_with_parent.__file__, str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(its_end,),
                env={**os.environ, die_with_parent.PARENT_PIPE_FD: str(its_end)},
                text=True,
            )
        except OSError as error:
            self._parent_end.close()
            raise self._missing(f"{program} cannot be run: {error.strerror}") from error
        finally:
            os.close(its_end)
        self._program = program
        try:
            self.version: str = self.ask("open", catalog=dict(catalog), name=name)["version"]
        except CannotGoOn:
            self.close()
            raise

    def _missing(self, what: str) -> MissingExtra:
        mend = f"{INSTALL}; then do it again, with --set publish.paimon_python=PATH where it is another Python than {CALLED}"
        return MissingExtra(f"paimon: needs a Python that has pypaimon: {what}", step="paimon", mend=mend)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What it answers to a request.

        Raises:
            StorageError: pypaimon could not do it. MissingExtra: the process ended before it answered anything.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            if do == "open":
                raise self._missing(f"{self._program} ended at its start; what it said stands above")
            raise StorageError(f"{self._place}: the process of pypaimon ended", step="publish", mend="publish again")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            mend = "see that the warehouse can be reached and written, then publish again; its options are [storage.paimon] of the recipe"
            raise StorageError(f"{self._place}: Paimon says: {answer['error']}", step="publish", mend=mend)
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._parent_end.close()
