"""What a target is: a place that clips are published to, which knows what it holds and changes in one step. See `targets/`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from rushes.publish.changes import Changes, Takes

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from rushes.media.storage import Options
    from rushes.publish.cut_on_node import Holder
    from rushes.recipe_publish import PublishSettings
    from rushes.results import Results

RECORD_VERSION = 1
"""Raise when what a record holds changes so that older ones cannot be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a publish leaves in its target about itself, as JSON.

    Attributes:
        publish_id: names the publish; rows of the store's table `published` have it, too.
        at: when, as ISO 8601 text.
        by: user and machine.
        store: the store, as it was named.
        run_ids: the runs that the store has had, oldest first. Stores that have none in common are different stores.
        fingerprints: stage -> fingerprint, under which rows were read; scorer -> fingerprint, likewise.
        rules: the recipe's rules, as they were applied.
        settings: the recipe's `[publish]`.
        layout: what makes the target write all anew when it changes; see `Target.layout`.
        media: identity of the bytes and frames that come with rows; "" where none do.
        columns: the published columns.
        counts: clips added, changed, removed and unchanged, and `rows`, which are held now.
        versions: of rushes and the libraries that wrote.
    """

    publish_id: str
    at: str
    by: str
    store: str
    run_ids: tuple[str, ...]
    fingerprints: Mapping[str, str]
    rules: Mapping[str, Any]
    settings: Mapping[str, Any]
    layout: str
    media: str
    columns: tuple[str, ...]
    counts: Mapping[str, int]
    versions: Mapping[str, str]
    record_version: int = RECORD_VERSION

    def as_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of_json(cls, text: str) -> Record:
        """The record that `as_json` wrote."""
        data = json.loads(text)
        return cls(**{**data, "run_ids": tuple(data["run_ids"]), "columns": tuple(data["columns"])})


@dataclass(frozen=True, slots=True)
class Held:
    """What a target holds now.

    Attributes:
        version: name of the version.
        record: what the publish that made it left.
    """

    version: str
    record: Record


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        version: name of the version that is there now.
        bytes: bytes written for it; what was linked or listed does not count.
        failed: clip_id -> why it could not be published; it is not in the target, and the next publish tries it again.
    """

    version: str
    bytes: int
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Film:
    """A published clip's file as the consumer's reader gives it.

    Attributes:
        file: a seekable file, or a path.
        n_frames: frames that it is to have; None: not known.
    """

    file: BinaryIO | str
    n_frames: int | None = None


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the consumer's own reader finds in the target.

    Attributes:
        reader: which reader, with its version.
        rows: clips in it.
        bytes: size of all that it holds, as far as the reader tells.
        sample: rows of the clips asked for, with the published columns of the schema asked for; None where the
            format does not hold all published columns.
        films: clip_id -> its file, of the clips asked for, where the target holds files.
    """

    reader: str
    rows: int
    bytes: int
    sample: pa.Table | None = None
    films: Mapping[str, Film] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a target works with.

    Attributes:
        results: the store under the recipe.
        settings: the recipe's `[publish]`.
        options: options of filesystems by protocol.
        stop: whether the publish was interrupted; ask before each piece of work, and raise `media.guard.Stopped`.
        tell: called with a count of clips after each piece of work.
        check: raises StoreBusy where another publish has taken over; called before the commit.
        holder: who holds the target's lease, for processes of other machines.
    """

    results: Results
    settings: PublishSettings
    options: Options
    stop: Callable[[], bool]
    tell: Callable[[int], None]
    check: Callable[[], None]
    holder: Holder


class Target(ABC):
    """A place that clips are published to. One is made for each publish, and closed after it.

    It promises: `held` tells the state after the last `write` that ended. `write` shows readers the old state until all is durable, and
    then the new one; killed anywhere it leaves one of the two, and what it leaves behind harms no later publish. `write` calls
    `context.check` immediately before it commits.

    Args:
        place: the target's address, without its kind.
        context: what to work with.
    """

    takes: ClassVar[Takes] = "changes"
    vectors: ClassVar[bool] = False
    """Whether embeddings are published where the recipe makes them and names no columns."""
    media: ClassVar[Sequence[str]] = ()
    """Which of "bytes" and "frames" it can hold."""

    def __init__(self, place: str, context: Context) -> None:
        self.place = place
        self.context = context

    @abstractmethod
    def layout(self, schema: pa.Schema) -> str:
        """What makes the target write all rows anew when it changes, such as partitions. `schema`: of the published columns."""

    @abstractmethod
    def held(self) -> Held | None:
        """What it holds; None where there is nothing yet.

        Raises:
            UsageError: something else is there. StorageError: it cannot be read.
        """

    @abstractmethod
    def held_rows(self) -> Iterator[pa.Table]:
        """`clip_id`, `video_id` and `row_hash` of all rows that it holds, table by table."""

    @abstractmethod
    def write(self, changes: Changes, record: Record) -> Written:
        """Makes the target what the changes say, in one step.

        Raises:
            CannotGoOn: it cannot be written; publishing again completes it. Stopped: the publish was interrupted.
        """

    def settle(self, record: Record) -> None:  # noqa: B027 - folders need no such thing
        """Brings in order what readers can do without for a while, such as indexes and old versions. Called after `write`, and after a
        publish that was killed before it had done so; changes no row. `record`: what `held` gives now.
        """

    @abstractmethod
    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """What the consumer's own reader finds; some clips in full."""

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Gives back what it holds open."""
