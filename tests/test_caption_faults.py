"""Captions by a server that misbehaves: tries, waits, and whose fault it is; against a real HTTP server in another process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from caption_requests import KEY, ask, clip, engine_for, words_for
from caption_server import Running, start_server
from rushes.captions import Answer, Request
from rushes.captions.prompts import load_prompt
from rushes.captions.sample import sample_clip
from rushes.errors import ServerError
from rushes.recipe import FrameSettings


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


# Tries


@pytest.mark.parametrize("mode", ["503", "500", "500_plain", "500_close", "429", "drop", "half", "reset"])
def test_passing_faults_are_tried_again(server: Running, mode: str) -> None:
    server.control(mode=mode, fail_first=4, probe_too=True)
    [answer] = ask(engine_for(server), clip(1))
    assert (answer.text, answer.tries) == (words_for(clip(1)), 5)


@pytest.mark.parametrize(("retry_after", "least_s"), [("1", 1.0), ("date:2", 1.0)])
def test_retry_after_is_honoured(server: Running, retry_after: str, least_s: float) -> None:
    """An HTTP date has whole seconds: asked to wait until two seconds from now, at least one passes."""
    server.control(mode="429", fail_first=1, retry_after=retry_after)
    [answer] = ask(engine_for(server), clip(1))
    first, second = (seen["at"] for seen in server.stats()["requests"])
    assert answer.tries == 2
    assert least_s <= second - first < 4.0


def test_a_server_that_asks_for_more_than_our_patience_is_not_waited_for(server: Running) -> None:
    server.control(mode="429", retry_after="3600")
    with pytest.raises(ServerError, match="too busy"):
        ask(engine_for(server, patience_s=1, timeout_s=5), clip(1))
    assert len(server.stats()["requests"]) == 1


@pytest.mark.parametrize(("fail_first", "probe_too"), [(5, False), (6, True)], ids=["back before the question", "back during it"])
def test_a_server_back_just_before_the_verdict_makes_no_failed_clip(server: Running, fail_first: int, probe_too: bool) -> None:
    """All five tries fell into the time it was away; the clip is good."""
    server.control(mode="503", fail_first=fail_first, probe_too=probe_too)
    [answer] = ask(engine_for(server), clip(1))
    assert (answer.text, answer.tries) == (words_for(clip(1)), 6)


# Faults of the server


def test_a_server_that_dies_leaves_clips_pending() -> None:
    with start_server() as mortal:
        engine = engine_for(mortal)
        assert ask(engine, clip(1))[0].error is None
        mortal.stop()
        with pytest.raises(ServerError, match="is not there") as caught:
            ask(engine, clip(2))
    assert caught.value.exit_code == 3
    assert not caught.value.permanent
    assert mortal.base_url in str(caught.value)
    assert "Fix: start it" in str(caught.value)
    assert "/footage/2.mp4" in str(caught.value)


def test_a_server_that_dies_before_the_verdict_leaves_the_clip_pending() -> None:
    """Five failed tries, a question answered, one more failed try; then there is no one to ask."""
    with start_server(mode="500", die_after=7) as mortal, pytest.raises(ServerError, match="is not there"):
        ask(engine_for(mortal), clip(1))


@pytest.mark.parametrize("mode", ["503", "500_plain", "drop"])
def test_a_server_that_fails_everything_is_not_there(server: Running, mode: str) -> None:
    server.control(mode=mode, probe_too=True)
    with pytest.raises(ServerError, match="is not there"):
        ask(engine_for(server), clip(1))


@pytest.mark.parametrize(
    ("mode", "words", "permanent"),
    [
        ("401", "OPENAI_API_KEY", True),
        ("403", "OPENAI_API_KEY", True),
        ("402", "payment", True),
        ("quota", "payment", True),
        ("404", "captions.model", True),
        ("429", "resources.captions.concurrency", False),
    ],
)
def test_what_concerns_every_clip_is_the_servers_fault(server: Running, mode: str, words: str, permanent: bool) -> None:
    server.control(mode=mode)
    with pytest.raises(ServerError, match=words) as caught:
        ask(engine_for(server), clip(1))
    assert caught.value.permanent is permanent


@pytest.mark.parametrize("names", ["id", "header"])
def test_a_server_that_gives_answers_to_other_requests_is_noticed_where_it_says_whose_they_are(server: Running, names: str) -> None:
    server.control(mode="shuffled", names=names)

    async def go() -> list[Answer | BaseException]:
        engine = engine_for(server)
        found = [*await asyncio.gather(*(engine.caption(clip(k)) for k in range(6)), return_exceptions=True)]
        await engine.close()
        return found

    found = asyncio.run(go())
    wrong = [one for one in found if isinstance(one, ServerError)]
    right = [(one.text, one.clip_id) for one in found if isinstance(one, Answer)]
    assert (len(right), len(wrong)) == (1, 5), found  # the first answer was its own
    assert right[0][0] == words_for(clip(int(right[0][1].removeprefix("clip"))))
    assert all("mixes up its answers: the answer to the request rushes-clip" in str(one) and one.permanent for one in wrong), wrong


def test_a_server_that_says_nothing_of_the_request_is_believed(server: Running) -> None:
    server.control(names="own")
    assert ask(engine_for(server), clip(1))[0].text == words_for(clip(1))


def test_403_for_one_clip_among_others_is_moderation(server: Running) -> None:
    server.control(poison=[hashlib.sha256(clip(2).frames[0]).hexdigest()], poison_mode="403")
    engine = engine_for(server, concurrency=1)
    good, bad = ask(engine, clip(1), clip(2))
    assert (good.error_type, bad.error_type) == (None, "request_refused")


def test_secrets_are_in_no_message(server: Running) -> None:
    server.control(key="another-key")
    guarded = server.base_url.replace("http://", "http://someone:hunter2@")
    with pytest.raises(ServerError) as caught:
        ask(engine_for(server, key=KEY), clip(1))
    with pytest.raises(ServerError) as shown:
        ask(engine_for(guarded), clip(1))
    assert "Incorrect API key provided: ***" in str(caught.value)
    assert "hunter2" not in str(shown.value)
    assert "someone" not in str(shown.value)
    assert server.base_url in str(shown.value)


# Before anything is decoded


@pytest.mark.parametrize("models", ["list", "empty", "other", "404", "500", "501"])
def test_check_is_content_with_a_server_that_answers(server: Running, models: str) -> None:
    """The list of models proves nothing, for better or worse: transformers serve lists its cache."""
    server.control(models=models)
    assert asyncio.run(engine_for(server).check()) is None
    stats = server.stats()
    assert (len(stats["tests"]), stats["requests"], stats["listed"]) == (1, [], 0)


def test_check_sends_one_request_shaped_like_a_clips(server: Running) -> None:
    """The prompt, the schema, the limits, as many pictures, of the stored size; and none of the footage."""
    server.control(mode="structured")
    frames = FrameSettings(per_clip=5, short_side_px=240, per_s=2.0)
    engine = engine_for(server, prompt="structured", max_tokens=77, top_p=0.9)
    sample = sample_clip(frames)
    assert asyncio.run(engine.check(sample)) is None
    ask(engine, clip(1, frames=5))
    stats = server.stats()
    assert stats["violations"] == []
    [test], [asked] = stats["tests"], stats["requests"]
    assert test["texts"][0] == asked["texts"][0] == load_prompt("structured").text
    assert [text for text in test["texts"] if text.startswith("frame at")] == [f"frame at {k / 2:.1f} s" for k in range(5)]
    for name in ("max_tokens", "schema", "sampling", "authorization", "response_format"):
        assert test[name] == asked[name], name
    assert len(test["images"]) == len(asked["images"]) == 5
    assert len(set(test["images"])) == 5
    for jpeg in sample.frames:
        height, width, _ = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape
        assert (width, height) == (427, 240)
        assert 0.05 < len(jpeg) / (width * height) < 0.3, "as many bytes as ordinary footage, so that limits on size are met"
    assert sample_clip(frames).frames == sample.frames


def test_check_names_the_address_when_no_one_is_there() -> None:
    port = closed_port()
    with pytest.raises(ServerError, match=rf"http://127.0.0.1:{port}/v1 is not there.*Fix: start it"):
        asyncio.run(engine_for(f"http://127.0.0.1:{port}/v1").check())


@pytest.mark.parametrize("mode", ["400", "401", "403", "404", "429", "500", "503", "drop"])
def test_check_is_not_content_with_a_list_of_models(server: Running, mode: str) -> None:
    server.control(mode=mode)
    with pytest.raises(ServerError) as caught:
        asyncio.run(engine_for(server).check())
    assert caught.value.permanent is (mode in ("400", "401", "403", "404"))
    assert len(server.stats()["tests"]) == {"429": 5, "500": 6, "503": 6, "drop": 6}.get(mode, 1), "tried again as any request"


@pytest.mark.parametrize(("mode", "fault"), [("no_images", "no_images"), ("reasoning_only", "empty"), ("empty", "empty")])
def test_check_tells_of_an_answer_that_would_be_no_caption(server: Running, mode: str, fault: str) -> None:
    server.control(mode=mode)
    doubt = asyncio.run(engine_for(server).check())
    assert doubt is not None and doubt.fault == fault


def test_check_finds_an_unknown_model(server: Running) -> None:
    with pytest.raises(ServerError, match=r"has no model 'tiny-vl'.*it lists tiny-vlm"):
        asyncio.run(engine_for(server, model="tiny-vl").check())


def test_check_finds_a_refused_key(server: Running) -> None:
    server.control(key=KEY)
    with pytest.raises(ServerError, match=r"refused the key.*OPENAI_API_KEY"):
        asyncio.run(engine_for(server).check())


def test_check_finds_an_address_that_is_no_chat_server(server: Running) -> None:
    server.control(models="empty", mode="non_json")
    with pytest.raises(ServerError, match="does not speak"):
        asyncio.run(engine_for(server).check())


def test_check_waits_for_a_server_that_is_loading(server: Running) -> None:
    server.control(models="empty", mode="503", fail_first=3, probe_too=True)
    asyncio.run(engine_for(server).check())
    assert len(server.stats()["tests"]) == 4


# The server of the tests itself


def test_the_server_refuses_what_breaks_the_protocol(server: Running) -> None:
    broken = Request("x", (b"\xff\xd8\xff not whole",), (0.0,), {}, "/footage/x.mp4", (0.0, 1.0))
    [answer] = ask(engine_for(server), broken)
    assert answer.error_type == "request_refused"
    assert server.stats()["violations"] == ["the image is not a whole JPEG"]


def test_the_server_dies_with_its_parent() -> None:
    code = "import time; from caption_server import start_server\nwith start_server() as s: print(s.port, flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline())
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the caption server outlived its parent by 2 s")
