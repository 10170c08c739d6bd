from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.records import frames
from launcher.records.frames import Decoder, Frame

KINDS = st.sampled_from([frames.LOG, frames.PHASE, frames.HEARTBEAT, frames.OUTCOME, frames.ERROR])
NOISE = st.binary(max_size=60).filter(lambda noise: frames.MAGIC not in noise + frames.MAGIC[:-1])
FRAMES = st.lists(st.builds(Frame, kind=KINDS, body=st.binary(max_size=200), offset=st.integers(0, 2**60)))


@given(FRAMES, NOISE, st.data())
def test_frames_survive_any_split_and_any_noise_before_them(
    sent: list[Frame], noise: bytes, data: st.DataObject
) -> None:
    stream = noise + frames.MAGIC + b"".join(frames.encode(frame) for frame in sent)
    decoder = Decoder()
    got: list[Frame] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert got == sent


def test_what_never_became_frames_can_be_shown() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"bash: python3: command not found\n")) == []
    assert b"command not found" in decoder.unframed


def test_garbage_after_the_start_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a frame"):
        list(Decoder().feed(frames.MAGIC + b"Segmentation fault (core dumped)\n"))


def test_a_body_over_the_limit_is_refused_on_both_sides() -> None:
    with pytest.raises(ValueError, match="limit"):
        frames.encode(Frame(frames.LOG, b"x" * (frames.MAX_BODY + 1)))
    header = frames._HEADER.pack(frames.LOG, 0, frames.MAX_BODY + 1)
    with pytest.raises(ValueError, match="not a frame"):
        list(Decoder().feed(frames.MAGIC + header))
