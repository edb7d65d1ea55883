"""A decoding child as it would be if nobody had set a thread: run by `benchmarks.workers` in place of `rushes.engine.work.child`.

It is the child of the product but for three things: its environment names no thread count (the benchmark sees to that), OpenCV keeps its
own, and libav decodes with as many threads as it likes, by frames and by slices, as the program ffmpeg does.
"""

from __future__ import annotations

from rushes.engine.pipe import Jobs
from rushes.engine.work.child import begin
from rushes.media.decode import Decoder, Mode
from rushes.media.guard import serve


def main() -> None:
    """Entry of the child process."""
    import av

    av.logging.set_level(av.logging.PANIC)
    configure = Decoder._configure

    def with_defaults(decoder: Decoder, mode: Mode, *, known: bool) -> Mode:
        chosen = configure(decoder, mode, known=known)
        decoder.stream.codec_context.thread_count = 0
        decoder.stream.codec_context.thread_type = "AUTO"
        return chosen

    Decoder._configure = with_defaults  # type: ignore[method-assign]
    serve(Jobs(begin).do)


if __name__ == "__main__":
    main()
