"""Captions by several servers: who gets which request, what becomes of those of a server that dies, and frames sent as one video."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import av
import numpy as np
import pytest

from caption_requests import ask, clip, engine_for, words_for
from caption_server import Running, start_server
from rushes.captions import Answer, Request
from rushes.captions.clip_video import mp4_of
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.routing import ASK_EVERY_S
from rushes.captions.sample import sample_clip
from rushes.errors import ServerError
from rushes.recipe import FrameSettings


@pytest.fixture(scope="module")
def four() -> Iterator[list[Running]]:
    with ExitStack() as held:
        yield [held.enter_context(start_server()) for _ in range(4)]


@pytest.fixture
def servers(four: list[Running]) -> list[Running]:
    for server in four:
        server.control()
    return four


def urls(servers: list[Running]) -> list[str]:
    return [server.base_url for server in servers]


def asked(server: Running) -> int:
    return sum(bool(seen["images"]) for seen in server.stats()["requests"])


def stop_after(server: Running, n: int) -> None:
    """Kills a server that has been asked so often."""
    while asked(server) < n:
        time.sleep(0.02)
    server.stop()


def own(answers: list[Answer], requests: list[Request]) -> None:
    """Asserts that each clip has the words that were said of it."""
    assert [(answer.text, answer.error) for answer in answers] == [(words_for(request), None) for request in requests]


def test_requests_go_to_the_server_with_the_least_to_do_and_the_answer_names_it(servers: list[Running]) -> None:
    servers[0].control(service_s=0.4)
    servers[1].control(service_s=0.05)
    requests = [clip(number) for number in range(24)]
    answers = ask(engine_for(urls(servers[:2]), concurrency=4), *requests)
    own(answers, requests)
    told = Counter(answer.server for answer in answers)
    assert told == {server.base_url: asked(server) for server in servers[:2]}
    assert told[servers[1].base_url] > 2 * told[servers[0].base_url]
    assert servers[0].stats()["max_in_flight"] + servers[1].stats()["max_in_flight"] <= 4, "one limit for all"


def test_servers_that_are_alike_get_the_same_number(servers: list[Running]) -> None:
    for server in servers[:2]:
        server.control(service_s=0.3)
    ask(engine_for(urls(servers[:2]), concurrency=8), *(clip(number) for number in range(4)))
    assert [server.stats()["max_in_flight"] for server in servers[:2]] == [2, 2]


def test_a_server_that_dies_is_left_out_and_no_clip_fails() -> None:
    with start_server(service_s=0.1) as dying, start_server(service_s=0.05) as living:
        requests = [clip(number) for number in range(24)]
        Thread(target=stop_after, args=(dying, 4)).start()
        began = time.monotonic()
        answers = ask(engine_for(urls([dying, living]), concurrency=4), *requests)
        assert time.monotonic() - began < 10
        own(answers, requests)
        served = [answer.server for answer in answers]
        assert 0 < served.count(dying.base_url) < served.count(living.base_url)


def test_a_server_that_comes_back_is_taken_back(servers: list[Running]) -> None:
    with start_server() as first:
        port = first.port
    engine = engine_for([f"http://127.0.0.1:{port}/v1", servers[0].base_url], concurrency=2)

    async def go() -> set[str | None]:
        try:
            assert (await engine.caption(clip(1))).server == (await engine.caption(clip(2))).server == servers[0].base_url
            with start_server(port=port) as back:
                deadline, told = time.monotonic() + 4 * ASK_EVERY_S, set()
                while back.base_url not in told and time.monotonic() < deadline:
                    told |= {answer.server for answer in await asyncio.gather(*(engine.caption(clip(k)) for k in range(2)))}
                    await asyncio.sleep(0.2)
                assert back.stats()["tests"], "it is asked about test pictures before it gets a clip"
                return told
        finally:
            await engine.close()

    assert asyncio.run(go()) == {f"http://127.0.0.1:{port}/v1", servers[0].base_url}


@pytest.mark.parametrize("mode", ["401", "400", "vllm_image_limit", "500", "drop"])
def test_what_one_server_alone_refuses_is_not_the_fault_of_the_clip(servers: list[Running], mode: str) -> None:
    servers[0].control(mode=mode)
    requests = [clip(number) for number in range(16)]
    own(ask(engine_for(urls(servers[:2]), concurrency=2), *requests), requests)
    assert asked(servers[0]) <= 2, "it is left out after its first refusals"


def test_what_two_servers_refuse_is_the_fault_of_the_clip(servers: list[Running]) -> None:
    for server in servers:
        server.control(poison=[hashlib.sha256(clip(1).frames[0]).hexdigest()], poison_mode="400")
    bad, good = ask(engine_for(urls(servers)), clip(1), clip(2))
    assert (bad.error_type, good.text) == ("request_refused", words_for(clip(2)))
    assert [sum(seen["mode"] == "400" for seen in server.stats()["requests"]) for server in servers].count(1) == 2


def test_where_all_are_away_the_clip_stays_pending(servers: list[Running]) -> None:
    with pytest.raises(ServerError) as caught:
        ask(engine_for(["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"], tries=5), clip(1))
    assert not caught.value.permanent


def test_check_asks_all_and_tells_who_is_left_out(servers: list[Running]) -> None:
    async def check(engine: OpenAIEngine) -> list[ServerError]:
        try:
            await engine.left_out()  # opens the connections, which then stay
            assert await engine.check() is None
            return await engine.left_out()
        finally:
            await engine.close()

    servers[1].control(mode="401")
    engine = engine_for([*urls(servers[:2]), "http://127.0.0.1:1/v1"])
    refused, gone = asyncio.run(check(engine))
    assert refused.permanent and servers[1].base_url in refused.what and "OPENAI_API_KEY" in (refused.mend or "")
    assert not gone.permanent and "127.0.0.1:1" in gone.what
    servers[0].control(mode="401")
    with pytest.raises(ServerError, match="is not there"):
        asyncio.run(engine.check())


def test_a_server_that_admits_few_is_sent_few(servers: list[Running]) -> None:
    servers[0].control(service_s=0.05, admit=3)
    requests = [clip(number) for number in range(60)]
    own(ask(engine_for(servers[0], concurrency=16), *requests), requests)
    modes = [seen["mode"] for seen in servers[0].stats()["requests"]]
    assert modes[-20:].count("429") <= 3, "after it was found out"


def test_a_clip_has_a_deadline_for_all_its_tries(servers: list[Running]) -> None:
    servers[0].control(mode="429", retry_after="2")
    began = time.monotonic()
    with pytest.raises(ServerError, match="too busy"):
        ask(engine_for(servers[0], deadline_s=3), clip(1))
    assert time.monotonic() - began < 6
    assert asked(servers[0]) == 2


# Frames as one video


def pictures(*levels: int) -> tuple[bytes, ...]:
    import cv2

    return tuple(cv2.imencode(".jpg", np.full((49, 65, 3), level, np.uint8))[1].tobytes() for level in levels)


def test_the_video_holds_the_frames_at_their_times() -> None:
    levels, times = (30, 90, 150, 210), (0.5, 1.5, 3.0, 3.0)
    with av.open(io.BytesIO(mp4_of(pictures(*levels), times))) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(stream))
        assert [round(float(frame.pts * frame.time_base), 3) for frame in frames] == [0.0, 1.0, 2.5, 2.501]
        assert all(frame.key_frame for frame in frames)
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 64, 48)
        assert [float(frame.to_ndarray(format="gray").mean()) for frame in frames] == pytest.approx(levels, abs=4)
    with av.open(io.BytesIO(mp4_of(pictures(30), (0.5,)))) as file:
        assert len(list(file.decode(video=0))) == 1


def test_frames_are_sent_as_one_video_with_their_times_in_words(servers: list[Running]) -> None:
    [answer] = ask(engine_for(servers[0], frames_as="video"), clip(1, frames=3))
    [seen] = servers[0].stats()["requests"]
    assert (seen["videos"], len(seen["images"]), answer.error) == (1, 1, None)
    assert seen["texts"][1] == "The clip lasts 4.0 s; the video that follows holds 3 frames of it, at 0.5 s, 1.5 s and 2.5 s."


def test_a_server_that_takes_no_video_is_sent_images_from_then_on(servers: list[Running]) -> None:
    servers[0].control(mode="video_refused")
    requests = [clip(1), clip(2)]
    own(ask(engine_for(servers[0], frames_as="video", concurrency=1), *requests), requests)
    assert [seen["videos"] for seen in servers[0].stats()["requests"]] == [1, 0, 0]


def test_a_video_of_test_pictures_is_marked_too(servers: list[Running]) -> None:
    asyncio.run(engine_for(servers[0], frames_as="video").check(sample_clip(FrameSettings(short_side_px=64, per_clip=2))))
    stats = servers[0].stats()
    assert (len(stats["tests"]), stats["requests"]) == (1, [])
