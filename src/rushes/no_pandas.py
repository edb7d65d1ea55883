"""Keeps pandas out of a process. Where it is installed, pyarrow imports it as soon as an array is made of a list, to see whether that is a
series of pandas: 0.4 s for each process that starts (measured), and Rushes gives pyarrow no such series.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec


class _NotInstalled(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("this process of Rushes works without pandas", name=fullname)
        return None


def keep_pandas_out() -> None:
    """Makes this process behave as if pandas were not installed. For processes that Rushes starts, never for those of its users."""
    if not any(isinstance(finder, _NotInstalled) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NotInstalled())


def let_pandas_in() -> None:
    """Takes that back, in a process that is about to import a library that imports pandas where it is installed, such as transformers."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _NotInstalled)]
