"""What is made sure of before anything is decoded, besides the caption server: the prompt, and the models of scorers."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait

from rushes.captions import prompt_columns as named_in_prompt
from rushes.engine.executor import Executor, WorkerDied
from rushes.engine.jobs import Attempt, Score
from rushes.errors import CannotGoOn, RecipeError
from rushes.media.guard import Stopped
from rushes.recipe import Recipe
from rushes.rows.clip_columns import prompt_columns
from rushes.sources.found import Footage

LOOK_EVERY_S = 0.2
"""How often it is looked whether the run is to stop."""
TELL_AFTER_S = 20.0
"""How long loading may take until a line for people says what is waited for."""
LOADS = 3
"""How often the models are loaded when the process that loads them dies: its machine may have been lost, and there may be another."""
AGAIN_AFTER_S = 3.0
"""How long to wait before they are loaded again: Ray needs a moment until it knows that an actor is gone with its node."""


def load_models(executor: Executor, stop: threading.Event, announce: Callable[[str], None]) -> None:
    """Loads the models of the wanted scorers, where they will be used. They stay loaded.

    Raises:
        MissingExtra, ModelError: one cannot be had.
        CannotGoOn: `LOADS` processes that load them died one after the other, or the cluster is gone.
        Stopped: the run was interrupted meanwhile.
    """
    for left in reversed(range(LOADS)):
        loading, began, told = executor.submit(Score(), Attempt()), time.monotonic(), False
        while not wait([loading], LOOK_EVERY_S).done:
            if stop.is_set():
                executor.stop()
                raise Stopped
            executor.check()
            if not told and time.monotonic() - began > TELL_AFTER_S:
                announce("the models of the scorers are being loaded; a cluster must have a node with what [resources.scores] asks for")
                told = True
        try:
            if (note := loading.result().note) is not None:
                announce(note)
            return
        except WorkerDied as died:
            if not left:
                mend = "look at the memory of the machine and of its GPU; rushes doctor tells what is there"
                what = f"the models of the scorers cannot be loaded: {LOADS} processes died one after the other: {died}"
                raise CannotGoOn(what, step="scores", mend=mend) from died
            announce(f"the process that loads the models of the scorers died, so they are loaded again: {died}")
            if stop.wait(AGAIN_AFTER_S):
                raise Stopped from died


def check_prompt(recipe: Recipe, footage: Sequence[Footage]) -> None:
    """Makes sure that the columns which the prompt names are there.

    Raises:
        RecipeError: it names one that neither clips nor the manifest have.
    """
    wanted = named_in_prompt(recipe.captions)
    known = prompt_columns(recipe).union(*(item.extra for item in footage if wanted))
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            mend = f"did you mean {{{near[0]}}}?" if near else f"the columns are {', '.join(sorted(known))}"
            raise RecipeError(f"the prompt asks for {{{name}}}, and clips have no such column", step="recipe", mend=mend)
