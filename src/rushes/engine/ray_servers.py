"""Caption servers of the run's own on a Ray cluster: each is started by an actor, which Ray places by `[resources.captions]`."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any

from rushes.captions.serving.fleet import Fleet, ServersState
from rushes.engine.jobs import Setup
from rushes.engine.ray_processes import owner_check
from rushes.engine.ray_tasks import stated
from rushes.engine.stages import resources
from rushes.errors import CannotGoOn, Failure, RushesError, StorageError, StoreBusy
from rushes.log import Event, collect, replay
from rushes.ray_cluster import NAMESPACE, check
from rushes.recipe import Recipe

LOOK_EVERY_S = 1.0
"""How often the driver asks the actors how their servers are, seconds."""
END_WITHIN_S = 8.0
"""How long the actors may take to end their servers; then their processes are ended, and with these the servers."""


class ServerActor:
    """Starts one caption server on the GPUs that Ray gave it, and keeps it up."""

    def __init__(self, setup: Setup, key: str) -> None:
        from ray.util import get_node_ip_address

        host = str(get_node_ip_address())  # type: ignore[no-untyped-call]
        self._collector = collect()
        self._failure: Failure | None = None
        self._fleet: Fleet | None = None
        run_holds_the_store = owner_check(setup)

        def holds() -> None:
            try:
                run_holds_the_store()
            except StoreBusy:
                raise
            except StorageError:  # it is asked again
                return

        try:
            self._fleet = Fleet(setup.recipe.captions, [None], key=key, host=host, holds=holds)
        except RushesError as error:
            self._failure = Failure.of(error)

    def state(self) -> tuple[ServersState, tuple[Event, ...]]:
        """How the server is, and what the log is to hold."""
        events = self._collector.take()
        if self._fleet is None:
            assert self._failure is not None
            return ServersState(given_up=(f"a node of the cluster cannot start it: {self._failure.what}",)), events
        return self._fleet.state(), events

    def close(self) -> None:
        """Ends the server."""
        if self._fleet is not None:
            self._fleet.close()


class RayServers:
    """See `OwnServers`: as many as the recipe says, or as the GPUs of the cluster allow; one where it has none.

    An actor that dies, with its node or alone, is replaced as often as `captions.restarts` says.

    Args:
        setup: a reference to the run's setup.
        recipe: the run's recipe.
        gpus: GPUs of the cluster.
    """

    def __init__(self, setup: Any, recipe: Recipe, gpus: float) -> None:
        self.key = secrets.token_hex(16)
        self._setup = setup
        self._needs = resources(recipe, "captions")
        self._restarts = recipe.captions.restarts
        self._load_s = recipe.captions.load_s
        n = recipe.captions.servers or (max(1, int(gpus / self._needs.gpus)) if self._needs.gpus else 1)
        self._actors: list[Any] = [self._actor() for _ in range(n)]
        self._states = [ServersState(loading=1)] * n
        self._deaths = [0] * n
        self._placed = [False] * n
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="caption servers", daemon=True)
        self._thread.start()

    def state(self) -> ServersState:
        """See `OwnServers`."""
        states = list(self._states)
        up, given_up = (tuple(one for state in states for one in getattr(state, name)) for name in ("up", "given_up"))
        return ServersState(up, sum(state.loading for state in states), given_up)

    def close(self) -> None:
        """See `OwnServers`."""
        import ray

        self._over.set()
        self._thread.join(END_WITHIN_S)
        try:
            check()
        except CannotGoOn:  # its nodes end their processes themselves, and calls would block
            return
        ray.wait([actor.close.remote() for actor in self._actors], num_returns=len(self._actors), timeout=END_WITHIN_S)
        for actor in self._actors:
            ray.kill(actor)

    def _actor(self) -> Any:
        import ray

        options = {**stated(self._needs), "max_restarts": 0, "namespace": NAMESPACE}
        return ray.remote(ServerActor).options(**options).remote(self._setup, self.key)

    def _look(self) -> None:
        """Asks the actors how their servers are, until the run ends. One that is not placed yet answers later."""
        import ray

        asked: dict[Any, int] = {}
        while not self._over.wait(LOOK_EVERY_S):
            for k, actor in enumerate(self._actors):
                if k not in asked.values() and self._deaths[k] <= self._restarts:
                    asked[actor.state.remote()] = k
                if not self._placed[k] and time.monotonic() - self._began > self._load_s:
                    needs = f"{self._needs.cpus:g} CPUs, {self._needs.gpus:g} GPUs and {self._needs.memory_gib:g} GiB"
                    self._states[k] = ServersState(given_up=(f"no node of the cluster had {needs} for it within captions.load_s",))
            ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0.0) if asked else ([], [])
            for ref in ready:
                self._take(asked.pop(ref), ref)

    def _take(self, k: int, ref: Any) -> None:
        """Notes the state of one server."""
        import ray
        from ray import exceptions

        try:
            self._states[k], events = ray.get(ref)
            self._placed[k] = True
        except exceptions.RayError as error:
            words = " ".join(str(error).split())[:300]
            self._deaths[k] += 1
            if self._deaths[k] > self._restarts:
                self._states[k] = ServersState(given_up=(f"the actor of a caption server died ({self._deaths[k]} times): {words}",))
                return
            self._states[k] = ServersState(loading=1)
            self._actors[k] = self._actor()
            return
        replay(events)
