"""The demo's scenes: a valley in parallax, a corridor drive, a switch room, turning blocks, a road camera."""

from __future__ import annotations

import math

import cv2
import numpy as np

from rushes.demo.paint import HEIGHT, U8, WIDTH, Colour, Scene, fractal, gradient, tinted, u8, write


def valley(seed: int, sky: tuple[Colour, Colour], earth: Colour, speed: float = 1.0) -> Scene:
    """Ridges that pass at different speeds before a sky with a sun, as from a train window."""
    backdrop = gradient(*sky)
    cv2.circle(backdrop, (WIDTH * 2 // 3, HEIGHT // 4), 34, (200, 235, 255), -1, cv2.LINE_AA)
    backdrop = u8(cv2.addWeighted(backdrop, 1, tinted(fractal(WIDTH, HEIGHT, seed, 5), (0, 0, 0), 40), 0.6, 0))
    layers = []
    wide = WIDTH * 3
    for k in range(4):
        near = (k + 1) / 4
        noise = fractal(wide, HEIGHT, seed + 10 + k, 7, 4)
        colour = tuple(int(c * near + s * (1 - near)) for c, s in zip(earth, sky[1], strict=True))
        surface = tinted(noise, (colour[0], colour[1], colour[2]), 25 + 60 * near)
        line = HEIGHT * (0.38 + 0.13 * k) + fractal(wide, 8, seed + 20 + k, 6, 3)[0] * HEIGHT * 0.16
        mask = (np.arange(HEIGHT)[:, None] > line[None]).astype(np.uint8) * 255
        layers.append((surface, mask, 22 * speed * 2.0**k))

    def picture(t: float) -> U8:
        out = backdrop.copy()
        for surface, mask, pace in layers:
            left = round(t * pace) % (WIDTH * 2)
            cv2.copyTo(surface[:, left : left + WIDTH], mask[:, left : left + WIDTH], out)
        return out

    return picture


def corridor(seed: int, wall: Colour, speed: float = 1.6, number: int = 12) -> Scene:
    """A drive down a corridor with doors, pipes and lamps; `speed` in corridor widths a second."""
    side, length = 256, 1024
    atlas = np.vstack(
        [_wall(seed, wall, number), _floor(seed + 1, (96, 92, 86)), _ceiling(seed + 2), _wall(seed + 3, wall, number + 1)[:, ::-1]]
    )
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    ray_x, ray_y = (x - WIDTH / 2) / WIDTH * 2, (y - HEIGHT * 0.47) / WIDTH * 2
    reach_x, reach_y = np.maximum(np.abs(ray_x), 1e-3), np.maximum(np.abs(ray_y) / 0.75, 1e-3)
    on_wall = reach_x > reach_y
    depth = np.minimum(1 / np.maximum(reach_x, reach_y), 14)
    across = np.clip(np.where(on_wall, ray_y / reach_x / 1.5, ray_x / reach_y / 2) + 0.5, 0.002, 0.995)
    band = np.where(on_wall, np.where(ray_x < 0, 0, 3), np.where(ray_y > 0, 1, 2))
    rows = (band * side + across * (side - 2) + 1).astype(np.float32)
    along = (depth * 160).astype(np.float32)
    reach = int(along.max()) + 2
    ahead = np.ascontiguousarray(np.tile(atlas, (1, 2 + reach // length, 1)))
    coarse, fine = cv2.convertMaps(along, rows, cv2.CV_16SC2)
    dusk = np.repeat((170 * (1 - np.clip(1.25 / (0.7 + depth * 0.22), 0.12, 1)))[:, :, None], 3, 2).astype(np.uint8)

    def picture(t: float) -> U8:
        rolled = round(t * speed * 160) % length
        seen = cv2.remap(ahead[:, rolled : rolled + reach], coarse, fine, cv2.INTER_LINEAR)
        return u8(cv2.subtract(seen, dusk))

    return picture


def _wall(seed: int, colour: Colour, number: int) -> U8:
    wall = tinted(fractal(1024, 256, seed, 7, 3), colour, 34)
    for k, left in enumerate((90, 600)):
        cv2.rectangle(wall, (left, 70), (left + 120, 255), (52, 70, 92), -1)
        cv2.rectangle(wall, (left, 70), (left + 120, 255), (28, 36, 44), 4)
        cv2.circle(wall, (left + 104, 170), 6, (180, 210, 220), -1, cv2.LINE_AA)
        cv2.rectangle(wall, (left + 28, 92), (left + 92, 122), (235, 235, 228), -1)
        write(wall, f"B{number + 2 * k}", (left + 32, 116), (30, 30, 30))
    cv2.rectangle(wall, (330, 80), (470, 150), (40, 170, 60), -1)
    write(wall, "EXIT >", (342, 126), (255, 255, 255), 1.0)
    for level, pipe in ((24, (60, 120, 190)), (46, (140, 140, 146))):
        cv2.line(wall, (0, level), (1023, level), pipe, 10)
        cv2.line(wall, (0, level - 3), (1023, level - 3), (225, 225, 225), 2)
    return wall


def _floor(seed: int, colour: Colour) -> U8:
    floor = tinted(fractal(1024, 256, seed, 7, 4), colour, 40)
    for left in range(0, 1024, 128):
        cv2.line(floor, (left, 0), (left, 255), (60, 58, 55), 2)
    for row in (20, 236):
        cv2.line(floor, (0, row), (1023, row), (40, 190, 235), 8)
    return floor


def _ceiling(seed: int) -> U8:
    ceiling = tinted(fractal(1024, 256, seed, 6, 4), (150, 152, 150), 22)
    for left in range(40, 1024, 256):
        cv2.rectangle(ceiling, (left, 96), (left + 120, 160), (250, 255, 255), -1)
    return ceiling


def switch_room(seed: int) -> Scene:
    """A robot's look along cabinets: it rolls, stops before each gauge, rolls on; needles move and lamps blink."""
    wide = WIDTH * 2 + 80
    room = tinted(fractal(wide, HEIGHT, seed, 8, 3), (128, 134, 132), 26)
    gauges: list[tuple[tuple[int, int], float]] = []
    lamps: list[tuple[tuple[int, int], int, float]] = []
    for k, left in enumerate(range(30, wide - 250, 270)):
        cv2.rectangle(room, (left, 40), (left + 240, HEIGHT - 30), (150 - 12 * (k % 3), 152, 140), -1)
        cv2.rectangle(room, (left, 40), (left + 240, HEIGHT - 30), (60, 64, 66), 3)
        cv2.rectangle(room, (left + 20, 56), (left + 220, 92), (235, 238, 240), -1)
        write(room, f"PANEL {chr(65 + k)}-{seed + k:02d}", (left + 32, 82), (20, 20, 20))
        centre = (left + 120, 176)
        cv2.circle(room, centre, 74, (40, 42, 44), -1, cv2.LINE_AA)
        cv2.circle(room, centre, 66, (245, 248, 250), -1, cv2.LINE_AA)
        for step in range(11):
            angle = math.radians(150 + 24 * step)
            inner, outer = (tuple(int(c + r * f(angle)) for c, f in zip(centre, (math.cos, math.sin), strict=True)) for r in (52, 62))
            cv2.line(room, inner, outer, (30, 30, 200) if step > 8 else (30, 30, 30), 2, cv2.LINE_AA)
        write(room, "kPa", (left + 100, 222), (40, 40, 40), 0.5, 1)
        gauges.append((centre, 0.7 * k))
        lamps.extend(((left + 50 + 46 * j, 270), (k + j) % 3, 0.4 * j + k) for j in range(4))
        if k % 2:
            corners = np.array([(left + 120, 284), (left + 92, 328), (left + 148, 328)], np.int32)
            cv2.fillConvexPoly(room, corners, (30, 205, 245), cv2.LINE_AA)
            write(room, "!", (left + 115, 322), (20, 20, 20), 0.9)
        else:
            write(room, "VALVE 3 OPEN", (left + 38, 318), (30, 50, 140))

    def picture(t: float) -> U8:
        rolled = min(84 * t - 60 / math.pi * math.sin(2 * math.pi * t / 3), wide - WIDTH - 3)
        left = max(0, int(rolled))
        live = room[:, left : left + WIDTH + 2].copy()
        for (x, y), phase in gauges:
            angle = math.radians(150 + 200 * (0.5 + 0.18 * math.sin(1.7 * t + phase)))
            tip = (int(x - left + 52 * math.cos(angle)), int(y + 52 * math.sin(angle)))
            cv2.line(live, (x - left, y), tip, (30, 30, 190), 4, cv2.LINE_AA)
        for (x, y), kind, phase in lamps:
            on = math.sin(2.5 * t + phase) > -0.4
            glow = ((60, 220, 60), (40, 190, 250), (50, 50, 235))[kind]
            cv2.circle(live, (x - left, y), 13, glow if on else tuple(c // 4 for c in glow), -1, cv2.LINE_AA)
        shift = np.array([[1, 0, left - rolled], [0, 1, 1.5 * math.sin(9 * t)]], np.float32)
        return u8(cv2.warpAffine(live, shift, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT))

    return picture


def blocks(seed: int, count: int = 7) -> Scene:
    """Coloured blocks that turn above a floor, lit from one side."""
    rng = np.random.default_rng(seed)
    backdrop = gradient((92, 70, 54), (170, 158, 140))
    backdrop = u8(cv2.addWeighted(backdrop, 1, tinted(fractal(WIDTH, HEIGHT, seed, 7, 3), (30, 30, 30), 44), 0.8, 0))
    colours = rng.integers(70, 240, (count, 3))
    places = np.column_stack([np.linspace(-2.6, 2.6, count), rng.uniform(-0.9, 0.9, count), rng.uniform(5.0, 8.0, count)])
    paces = rng.uniform(0.5, 1.3, (count, 2))
    sizes = rng.uniform(0.45, 0.8, count)
    corners = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
    faces = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    light = np.array([-0.5, -0.7, -0.5])

    def picture(t: float) -> U8:
        out = backdrop.copy()
        for k in np.argsort(-places[:, 2]):
            a, b = paces[k] * t + k
            spin = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
            tilt = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
            points = (corners * sizes[k]) @ (spin @ tilt).T + places[k] + (0.25 * math.sin(t + k), 0.2 * math.cos(1.3 * t + k), 0)
            flat = (points[:, :2] / points[:, 2:] * WIDTH * 0.9 + (WIDTH / 2, HEIGHT / 2)).astype(np.int32)
            for face in faces:
                edge_a, edge_b = points[face[1]] - points[face[0]], points[face[2]] - points[face[0]]
                normal = np.cross(edge_a, edge_b)
                if normal @ points[face[0]] >= 0:
                    continue
                lit = 0.45 + 0.55 * max(0.0, float(normal @ light) / float(np.linalg.norm(normal)))
                cv2.fillConvexPoly(out, flat[list(face)], (colours[k] * lit).tolist(), cv2.LINE_AA)
        return out

    return picture


def road(seed: int) -> Scene:
    """A fixed camera over a road with cars; nothing else moves."""
    scene = tinted(fractal(WIDTH, HEIGHT, seed, 8, 3), (70, 118, 92), 70)
    scene[150:330] = tinted(fractal(WIDTH, 180, seed + 1, 8, 5), (92, 90, 88), 24)
    for left in range(0, WIDTH, 96):
        cv2.rectangle(scene, (left, 236), (left + 48, 242), (225, 230, 232), -1)
    write(scene, "CAM 04  NORTH GATE", (18, 34), (245, 245, 245), 0.7)
    rng = np.random.default_rng(seed)
    lanes = ((170, 130), (260, -170), (180, 200), (285, -110))
    cars = [(rng.integers(40, 250, 3).tolist(), row, pace, rng.uniform(0, WIDTH)) for row, pace in lanes]

    def picture(t: float) -> U8:
        out = scene.copy()
        for colour, row, pace, start in cars:
            left = int((start + pace * t) % (WIDTH + 160)) - 120
            cv2.rectangle(out, (left, row), (left + 96, row + 34), colour, -1)
            cv2.rectangle(out, (left + 22, row + 4), (left + 70, row + 30), (60, 50, 40), -1)
            cv2.rectangle(out, (left, row + 34), (left + 96, row + 40), (30, 32, 34), -1)
        return out

    return picture
