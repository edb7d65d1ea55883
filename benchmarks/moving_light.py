"""Single shots in which texture and light move as in few others: waves, fire, foliage, rain, flashes, exposure, focus and the like.

Every picture is drawn by script, so the truth is known: there is no cut and no transition in any of them. What a shot shows besides comes
from a still picture, such as one of real footage. A number says which shot of a kind it is: the same number gives the same shot.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Picture = Callable[[int], U8]
"""Gives the picture of a frame's number: (h, w, 3) BGR, uint8."""
FPS = 25.0


class Scene:
    """What a kind of shot is drawn with.

    Args:
        still: (h, w, 3) BGR, the picture behind what moves.
        seed: the number of the shot.
    """

    def __init__(self, still: U8, seed: int) -> None:
        self.still = still.astype(np.float32)
        self.height, self.width = still.shape[:2]
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.x, self.y = np.meshgrid(np.arange(self.width, dtype=np.float32), np.arange(self.height, dtype=np.float32))

    def noise(self, cells: int, seed: int = 0) -> F32:
        """Smooth noise of about so many blobs across, (h, w), mean 0, deviation 1."""
        rng = np.random.default_rng((self.seed, cells, seed))
        grid = rng.standard_normal((max(2, cells * self.height // self.width), cells)).astype(np.float32)
        out = cv2.resize(grid, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return np.asarray((out - out.mean()) / max(float(out.std()), 1e-6), np.float32)

    def fractal(self, seed: int = 0) -> F32:
        """Noise of several sizes, (h, w), mean 0, deviation 1."""
        out = sum((self.noise(4 << k, seed) * np.float32(0.6**k) for k in range(5)), np.zeros_like(self.x))
        return np.asarray(out / out.std(), np.float32)

    def moved(self, picture: F32, dx: F32 | float, dy: F32 | float) -> F32:
        """A picture whose point (x, y) comes from (x + dx, y + dy), mirrored at the edges."""
        x, y = self.x + np.float32(dx), self.y + np.float32(dy)
        return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _bytes(picture: F32) -> U8:
    return np.clip(picture, 0, 255).astype(np.uint8)


def waves(s: Scene) -> Picture:
    """A sea under a sinking sun: swell, ripples, glints on both, and a light that changes slowly."""
    trains = [(s.rng.uniform(0.02, 0.25), s.rng.uniform(-0.03, 0.03), s.rng.uniform(1.5, 6.0), s.rng.uniform(0, 6.3)) for _ in range(7)]
    deep, tint = np.clip((s.y / s.height - 0.35) / 0.65, 0.02, 1), np.array([0.55, 0.75, 1.0], np.float32)
    sun = np.exp(-(((s.x / s.width - s.rng.uniform(0.3, 0.7)) / 0.12) ** 2))
    sky = s.moved(s.still, 0, 0) * 0.3 + 90

    def picture(i: int) -> U8:
        t = i / FPS
        height = sum((np.sin(ky * s.y / deep**0.5 + kx * s.x + w * t + p) for ky, kx, w, p in trains), np.zeros_like(s.x)) / 2.6
        glint = np.clip(height - 0.55, 0, 1) * 420 * sun
        sea = (70 + 45 * height)[..., None] * tint + glint[..., None]
        light = 1.0 + 0.25 * np.sin(0.5 * t)
        return _bytes(np.where((s.y < 0.35 * s.height)[..., None], sky, sea) * np.float32(light))

    return picture


def sparkle(s: Scene) -> Picture:
    """Sunlit water from above: each glint lives a few frames, over ripples that drift."""
    ripples = s.fractal()

    def picture(i: int) -> U8:
        t = i / FPS
        a, b = s.moved(ripples, 30 * t, 8 * t), s.moved(ripples, -22 * t, 14 * t + 40)
        glint = np.clip(a * b - 0.9, 0, 1) * 380
        return _bytes(0.4 * s.still + (55 + 18 * a)[..., None] + glint[..., None])

    return picture


def fire(s: Scene) -> Picture:
    """A fire that fills the lower half, and lights the scene behind it as it flickers."""
    flames, colour = s.fractal(), np.array([0.15, 0.5, 1.0], np.float32)
    rise = s.rng.uniform(90, 160)
    gusts = s.rng.standard_normal(4000).astype(np.float32)

    def picture(i: int) -> U8:
        t = i / FPS
        body = s.moved(flames, 10 * np.sin(3 * t), rise * t) + 0.7 * s.moved(flames, 25, 1.7 * rise * t + 60)
        heat = np.clip(body + 3.2 * (s.y / s.height) - 1.9 + 0.5 * np.sin(5 * t), 0, 2.5)
        glow = 0.45 + 0.12 * float(gusts[i % 4000]) * 0.5 + 0.1 * np.sin(11 * t)
        return _bytes(s.still * np.float32(glow) + (heat * 140)[..., None] * colour)

    return picture


def smoke(s: Scene) -> Picture:
    """Thick smoke that drifts before a scene, and hides and shows it."""
    cloud, drift = s.fractal(), s.rng.uniform(25, 70)

    def picture(i: int) -> U8:
        t = i / FPS
        near, far = s.moved(cloud, drift * t, -12 * t), s.moved(cloud, 0.5 * drift * t + 50, 9 * t)
        thick = np.clip(0.5 + 0.45 * near + 0.3 * far, 0, 1)[..., None]
        return _bytes(s.still * (1 - thick) + 175 * thick)

    return picture


def foliage(s: Scene) -> Picture:
    """Leaves before a bright sky, moved by gusts of wind."""
    leaves, wind = s.fractal(3), [s.noise(5, k) for k in (11, 12)]
    speed, reach = s.rng.uniform(3, 8), s.rng.uniform(3, 9)
    dark = np.array([25, 70, 45], np.float32)

    def picture(i: int) -> U8:
        t = i / FPS
        gust = reach * (1 + 0.8 * np.sin(0.9 * t))
        dx, dy = gust * np.sin(speed * t + 3 * wind[0]), 0.6 * gust * np.sin(1.3 * speed * t + 3 * wind[1])
        here = s.moved(leaves, dx, dy)
        cover = np.clip(2.5 * here + 0.5, 0, 1)[..., None]
        return _bytes((0.3 * s.still + 150) * (1 - cover) + (dark + 40 * np.abs(here)[..., None]) * cover)

    return picture


def crowd(s: Scene) -> Picture:
    """People who cross the picture close to the camera, many at once."""
    n = int(s.rng.integers(12, 30))
    start, speed = s.rng.uniform(0, 1.6, n), s.rng.uniform(0.08, 0.45, n) * s.rng.choice([-1, 1], n)
    size, colour = s.rng.uniform(0.06, 0.22, n), s.rng.uniform(10, 240, (n, 3))

    def picture(i: int) -> U8:
        out = s.still.copy()
        for k in range(n):
            x = int((((start[k] + speed[k] * i / FPS) % 1.6) - 0.3) * s.width)
            half = int(size[k] * s.width / 2)
            top = int(s.height * (0.75 - 2.2 * size[k]))
            bob = int(3 * np.sin(i / FPS * 7 + k))
            cv2.rectangle(out, (x - half, top + 2 * half + bob), (x + half, s.height), colour[k].tolist(), -1)
            cv2.circle(out, (x, top + half + bob), max(1, int(half * 0.8)), (colour[k] * 0.5 + 80).tolist(), -1)
        return _bytes(out)

    return picture


def rain(s: Scene) -> Picture:
    """Rain in streaks before a camera that shakes a little."""

    def picture(i: int) -> U8:
        rng = np.random.default_rng((s.seed, i))
        out = s.moved(s.still, *(1.5 * rng.standard_normal(2)))
        for x, y, length in rng.uniform(0, 1, (160, 3)):
            x0, y0 = int(x * s.width), int(y * s.height)
            cv2.line(out, (x0, y0), (x0 + 2, y0 + int(8 + 22 * length)), (205, 205, 200), 1)
        return _bytes(out)

    return picture


def confetti(s: Scene) -> Picture:
    """Paper of all colours that falls through the whole picture."""
    n = int(s.rng.integers(150, 400))
    at, fall, colour = s.rng.uniform(0, 1, (n, 2)), s.rng.uniform(0.15, 0.6, n), s.rng.uniform(0, 255, (n, 3))
    size = s.rng.integers(2, 9, n)

    def picture(i: int) -> U8:
        out, t = s.still.copy(), i / FPS
        for k in range(n):
            x = int((at[k, 0] + 0.03 * np.sin(4 * t + k)) * s.width)
            y = int(((at[k, 1] + fall[k] * t) % 1.1) * s.height)
            wide = max(1, int(size[k] * abs(np.sin(5 * t + k))))
            cv2.rectangle(out, (x, y), (x + wide, y + int(size[k])), colour[k].tolist(), -1)
        return _bytes(out)

    return picture


def flicker(s: Scene) -> Picture:
    """Lamps that pulse: the light of every frame differs from that of the last, and bands move through it."""
    depth, rate, bands = s.rng.uniform(0.1, 0.35), s.rng.uniform(3, 11), s.rng.uniform(1, 3)
    drift = s.rng.uniform(0.3, 1.5)

    def picture(i: int) -> U8:
        t = i / FPS
        gain = 1 + depth * np.sin(6.28 * (rate * t + bands * s.y / s.height))
        return _bytes(s.moved(s.still, drift * i * 0.3, 0) * gain[..., None].astype(np.float32))

    return picture


def strobe(s: Scene) -> Picture:
    """A dark dance floor under a strobe lamp: one frame in some is white light, and people move on meanwhile."""
    every, dark, people = int(s.rng.integers(3, 9)), s.rng.uniform(0.15, 0.4), crowd(s)

    def picture(i: int) -> U8:
        lit = i % every == 0 or (every > 5 and i % every == 1)
        return _bytes(people(i).astype(np.float32) * np.float32(1.7 if lit else dark))

    return picture


def flashes(s: Scene) -> Picture:
    """Photographers' flashes, one to three frames long, at irregular times, before a camera that pans slowly."""
    times = np.cumsum(s.rng.integers(4, 40, 400))
    length = s.rng.integers(1, 4, 400)
    where = s.rng.uniform(0, 1, (400, 2))

    def picture(i: int) -> U8:
        out = s.moved(s.still, 0.6 * i, 0)
        k = int(np.searchsorted(times, i, "right")) - 1
        if k >= 0 and i - times[k] < length[k]:
            far = ((s.x / s.width - where[k, 0]) ** 2 + (s.y / s.height - where[k, 1]) ** 2)[..., None]
            out = out * 1.5 + 260 * np.exp(-3 * far)
        return _bytes(out)

    return picture


def exposure(s: Scene) -> Picture:
    """A camera that pans past a window: its exposure falls and rises within half a second, with some overshoot."""
    period, depth = s.rng.uniform(2.0, 5.0), s.rng.uniform(0.5, 0.85)
    quick = s.rng.uniform(3, 10)

    def picture(i: int) -> U8:
        t = i / FPS
        phase = (t % period) / period
        gain = 1 - depth / (1 + np.exp(-quick * 6 * (0.25 - abs(phase - 0.5)))) + 0.1 * np.exp(-quick * phase) * np.sin(9 * t)
        return _bytes(s.moved(s.still, 0.8 * i, 0.2 * i) * np.float32(1.5 * gain))

    return picture


def focus(s: Scene) -> Picture:
    """A lens that hunts for focus: sharp, blurred, sharp, within a second, and the picture grows a little meanwhile."""
    period, most = s.rng.uniform(0.8, 2.5), s.rng.uniform(0.02, 0.06)

    def picture(i: int) -> U8:
        t = i / FPS
        away = max(0.0, float(np.sin(6.28 * t / period))) ** 2
        sigma = 0.05 + most * s.width * away
        zoom = -0.04 * away
        out = s.moved(s.still, zoom * (s.x - s.width / 2), zoom * (s.y - s.height / 2))
        return _bytes(np.asarray(cv2.GaussianBlur(out, (0, 0), sigma)))

    return picture


def metal(s: Scene) -> Picture:
    """A turning piece of polished metal close to the camera: highlights race over it."""
    bumps, speed = s.fractal(5), s.rng.uniform(1.0, 3.0)
    inside = (((s.x - s.width / 2) / (0.42 * s.width)) ** 2 + ((s.y - s.height / 2) / (0.45 * s.height)) ** 2 < 1)[..., None]

    def picture(i: int) -> U8:
        t = i / FPS
        angle = 2.5 * bumps + 10 * s.x / s.width + speed * 6 * t
        shine = np.clip(np.cos(angle), 0, 1) ** 12 * 230 + 60 + 20 * np.cos(0.5 * angle)
        return _bytes(np.where(inside, shine[..., None], s.still))

    return picture


def rolling_shutter(s: Scene) -> Picture:
    """A camera on a machine that vibrates: each row is shifted by its own amount."""
    reach, rate = s.rng.uniform(4, 14), s.rng.uniform(6, 23)

    def picture(i: int) -> U8:
        t = i / FPS
        dx = reach * np.sin(6.28 * rate * (t + 0.033 * s.y / s.height)) + 2 * np.sin(3 * t)
        return _bytes(s.moved(s.still, dx.astype(np.float32), np.float32(1.5 * np.sin(6.28 * rate * t))))

    return picture


def pumping(s: Scene) -> Picture:
    """What a poor encoder makes of a slow pan: detail is lost from frame to frame, and comes back with each key frame."""
    gop, worst = int(s.rng.integers(12, 50)), s.rng.uniform(6, 18)

    def picture(i: int) -> U8:
        share = (i % gop) / gop
        out = s.moved(s.still, 0.7 * i, 0)
        small = max(8, int(s.width / (1 + worst * share)))
        size = (small, max(5, small * s.height // s.width))
        low = cv2.resize(cv2.resize(out, size, interpolation=cv2.INTER_AREA), (s.width, s.height), interpolation=cv2.INTER_LINEAR)
        step = np.float32(2 + 14 * share)
        return _bytes(np.rint(low / step) * step)

    return picture


def wobble(s: Scene) -> Picture:
    """What a video model makes of a scene: all of it bends and melts, and its texture turns into another one."""
    fields, speed = [s.noise(6, k) for k in range(20, 24)], s.rng.uniform(1.5, 4.0)
    other = s.still[:, ::-1] * 0.35 + 60 + 30 * s.fractal(7)[..., None]

    def picture(i: int) -> U8:
        t = i / FPS
        dx = 0.03 * s.width * (np.sin(speed * t) * fields[0] + np.sin(0.7 * speed * t + 1) * fields[1])
        dy = 0.03 * s.width * (np.sin(0.9 * speed * t + 2) * fields[2] + np.sin(0.6 * speed * t) * fields[3])
        mix = np.float32(0.25 + 0.25 * np.sin(0.8 * t))
        return _bytes(s.moved(s.still, dx, dy) * (1 - mix) + s.moved(other.astype(np.float32), dy, dx) * mix)

    return picture


def hand_held(s: Scene) -> Picture:
    """A camera in a hand that reaches and turns: shifts, turns and zooms of every speed, with sudden jerks."""
    rates, phases, jerks = s.rng.uniform(0.4, 4.0, 4), s.rng.uniform(0, 6.3, 4), s.rng.uniform(0, 1, 4000)
    sway, pushes = s.rng.uniform(0.03, 0.12), np.cumsum(np.where(jerks < 0.03, s.rng.normal(0, 0.03, 4000), 0))

    def picture(i: int) -> U8:
        t = i / FPS
        wave = np.sin(rates * t * 2 + phases)
        turn, zoom = 0.08 * wave[0], 1 + 0.12 * wave[1]
        x0, y0 = s.x - s.width / 2, s.y - s.height / 2
        shift = s.width * (sway * wave[2] + pushes[i % 4000])
        dx = (np.cos(turn) * x0 - np.sin(turn) * y0) * zoom - x0 + shift
        dy = (np.sin(turn) * x0 + np.cos(turn) * y0) * zoom - y0 + s.width * 0.6 * sway * wave[3]
        return _bytes(s.moved(s.still, dx.astype(np.float32), dy.astype(np.float32)))

    return picture


def robot_arm(s: Scene) -> Picture:
    """A robot's arm that reaches through half of the picture, stops, and goes back, over a table that does not move."""
    period, wide = s.rng.uniform(1.2, 4.0), int(s.width * s.rng.uniform(0.1, 0.3))
    grey = s.rng.uniform(20, 235)

    def picture(i: int) -> U8:
        out, t = s.still.copy(), i / FPS
        angle = 1.1 * float(np.clip(1.6 * np.sin(6.28 * t / period), -1, 1))
        elbow = (int(s.width * (0.5 + 0.35 * np.sin(angle))), int(s.height * 0.45))
        hand = (int(elbow[0] + 0.3 * s.width * np.sin(2 * angle)), int(s.height * (0.75 + 0.1 * np.cos(3 * angle))))
        cv2.line(out, (s.width // 2, -20), elbow, (grey, grey, grey), wide)
        cv2.line(out, elbow, hand, (grey * 0.6 + 30,) * 3, int(wide * 0.8))
        cv2.circle(out, hand, wide // 2, (30, 90, 200), -1)
        return _bytes(out)

    return picture


def mixer(s: Scene) -> Picture:
    """A hand mixer in a bowl, filmed by hand: blades that turn fast, and dough that turns with them."""
    speed, dough = s.rng.uniform(9, 25), s.fractal(9)
    sway = hand_held(s)
    bowl = (((s.x - s.width / 2) / (0.38 * s.width)) ** 2 + ((s.y - 0.55 * s.height) / (0.4 * s.height)) ** 2 < 1)[..., None]

    def picture(i: int) -> U8:
        t = i / FPS
        x0, y0 = s.x - s.width / 2, s.y - 0.55 * s.height
        a = speed * t + 2.5 * np.exp(-(x0**2 + y0**2) / (0.12 * s.width) ** 2)
        dx, dy = np.cos(a) * x0 - np.sin(a) * y0 - x0, np.sin(a) * x0 + np.cos(a) * y0 - y0
        turned = s.moved(dough, dx.astype(np.float32), dy.astype(np.float32))
        blade = np.abs(np.sin(2 * np.arctan2(y0, x0) + speed * 2.3 * t)) < 0.25
        inside = np.where(blade & (x0**2 + y0**2 < (0.16 * s.width) ** 2), 235, 150 + 35 * turned)
        return _bytes(np.where(bowl, inside[..., None], sway(i)))

    return picture


def passing(s: Scene) -> Picture:
    """A bird, a car, a passer-by: something near flits through the picture, or out of it, within two to seven frames. The scene sways."""
    skin, goes, start = s.fractal(9), [], 45.0
    while start < 4000:
        size, level, height = s.height * s.rng.uniform(0.15, 0.35), s.rng.uniform(20, 230), s.height * s.rng.uniform(0.3, 0.7)
        goes.append((start, int(s.rng.integers(2, 8)), size, level, height, int(s.rng.choice((-1, 1))), s.rng.random() < 0.5))
        start += s.rng.uniform(50, 75)

    def picture(i: int) -> U8:
        out = s.moved(s.still, 1.5 * np.sin(i / 9), 0).copy()
        for begins, frames, size, level, height, way, was_there in goes:
            done = (i - begins) / frames
            if done > 1 or (i < begins - 40 if was_there else done < 0):
                continue
            place = 0.5 + way * (0.9 * max(0.0, done) ** 2 - 0.035 * max(0.0, begins - i - 10) if was_there else 1.6 * done - 0.8)
            inside = ((s.x - s.width * place) / (1.3 * size)) ** 2 + ((s.y - height) / size) ** 2 < 1
            out = np.where(inside[..., None], (level + 30 * np.roll(skin, int(s.width * place), 1))[..., None], out)
        return _bytes(out)

    return picture


KINDS: dict[str, Callable[[Scene], Picture]] = {
    make.__name__: make
    for make in (
        waves, sparkle, fire, smoke, foliage, crowd, rain, confetti, flicker, strobe, flashes, exposure, focus, metal,
        rolling_shutter, pumping, wobble, hand_held, robot_arm, mixer, passing,
    )
}  # fmt: skip
"""Name -> what makes such a shot."""
