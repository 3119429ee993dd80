"""What stands still around the camera: sky, hills, and ground with a meadow, a footpath and a lake.

Colours are BGR, float32 in [0, 1]; `view` holds unit vectors, `sun` is one; world axes as in scene.py."""

import numpy as np

from synthetic.noise import fractal_noise, mix, smoothstep

EYE = 1.7            # metres from the ground to the camera


def sky(view, sun, seed):
    """The colour of the sky in directions (..., 3): a gradient, the sun's glow, clouds on a plane overhead."""
    up = np.clip(view[..., 2], 0, 1)
    towards_sun = np.clip(view @ sun, 0, 1)
    colour = mix((0.80, 0.86, 0.90), (0.86, 0.66, 0.44), 1 - np.exp(-up * 5))
    colour = mix(colour, (0.60, 0.36, 0.17), smoothstep(0.15, 1.1, up))
    colour = mix(colour, (0.62, 0.82, 0.99), 0.75 * towards_sun**10 * (1 - 0.5 * up))

    plane = view / (up + 0.12)[..., None] * np.float32(1.6)
    plane[..., 2] = 0
    footprint = 1.6 * np.float32(np.pi / view.shape[0]) / (up + 0.12) ** 2
    density = fractal_noise(plane, 6, seed, footprint)
    sunward = fractal_noise(plane + 0.35 * np.array([sun[0], sun[1], 0], np.float32), 3, seed, footprint)
    cover = smoothstep(0.12, 0.60, density) * smoothstep(0.02, 0.22, up)
    shade = smoothstep(-0.35, 0.45, density - sunward)
    cloud = mix(mix((0.80, 0.74, 0.72), (0.99, 0.99, 1.0), shade), (0.80, 0.93, 1.0), 0.5 * towards_sun**4)
    colour = mix(colour, cloud, 0.92 * cover)
    return mix(colour, (0.90, 0.97, 1.0), 0.9 * towards_sun**220 + 0.35 * towards_sun**40)


RIDGES = ((1.6, 0.100, 0.30, 9000, 0.74),   # frequency around the horizon, lowest and highest elevation (radians),
          (2.6, 0.060, 0.20, 4000, 0.56),   # distance (metres), haziness
          (3.7, 0.025, 0.13, 1500, 0.36),
          (5.5, 0.012, 0.06, 500, 0.15))


def hills(view, colour, depth, sun, seed):
    """Draws four ridges over colour (H, W, 3) and depth (H, W), in place; the far ones are paler."""
    elevation = np.arcsin(np.clip(view[..., 2], -1, 1))
    around = view[..., :2] / np.maximum(np.hypot(view[..., 0], view[..., 1]), 1e-6)[..., None]
    around = np.concatenate([around, 0 * around[..., :1]], -1)
    haze, pixel = np.array((0.84, 0.74, 0.64), np.float32), np.pi / view.shape[0]
    near_horizon = np.abs(view[..., 2]) < 0.45
    for layer, (frequency, low, high, distance, haziness) in enumerate(RIDGES):
        where = view[near_horizon]
        ridge = fractal_noise(around[near_horizon] * frequency, 6, seed + 10 * layer)
        edge = low + (high - low) * np.clip(0.5 + 0.5 * ridge, 0, 1)
        cover = np.clip(0.5 + (edge - elevation[near_horizon]) / pixel, 0, 1)
        forest = fractal_noise(where * np.float32(14 + 22 * layer), 4, seed + 50 + layer)
        slope = smoothstep(-0.6, 0.6, fractal_noise(where * np.float32(6 + 3 * layer), 3, seed + 70 + layer))
        ground = mix((0.20, 0.34, 0.27), (0.24, 0.47, 0.44), slope) * (1 + 0.22 * forest)[..., None]
        ground = mix(ground, haze, haziness)
        ground = mix(ground, (0.66, 0.82, 0.97), 0.30 * np.clip(where @ sun, 0, 1) ** 8)
        colour[near_horizon] = mix(colour[near_horizon], ground, cover)
        depth[near_horizon] = np.where(cover > 0.5, distance, depth[near_horizon])


def ground_points(view):
    """Where the lines of sight meet the ground: x and y (..., 2), and the distance (...), inf above the horizon. Both
    in metres."""
    distance = np.where(view[..., 2] < 0, EYE / np.maximum(-view[..., 2], 1e-6), np.inf).astype(np.float32)
    return view[..., :2] * np.minimum(distance, 1e4)[..., None], distance


def ground(view, colour, depth, sun, seed):
    """Draws a meadow with a footpath (along the line x = -4.2 m) and a lake (y > 9 m) over colour and depth, in
    place."""
    below = view[..., 2] < 0
    view, pixel = view[below], np.float32(np.pi / view.shape[0])
    xy, distance = ground_points(view)
    points = np.concatenate([xy, 0 * xy[..., :1]], -1)
    footprint = pixel * distance**2 / EYE * 0.5                  # of a pixel on the ground, metres

    def wave(frequency, octaves, part):                          # cycles per metre
        return fractal_noise(points * np.float32(frequency), octaves, seed + part, footprint * frequency)

    patches, tufts, blades = wave(0.12, 4, 0), wave(1.7, 3, 10), wave(14.0, 3, 15)
    meadow = mix((0.14, 0.38, 0.30), (0.25, 0.57, 0.52), smoothstep(-0.5, 0.6, patches))
    meadow = meadow * (1 + 0.18 * tufts + 0.30 * blades)[..., None]
    flowers = smoothstep(0.60, 0.80, wave(34.0, 1, 20)) * smoothstep(0, 0.6, wave(0.3, 2, 30))
    meadow = mix(meadow, (0.75, 0.93, 0.97), 0.8 * flowers)
    wobble = 0.35 * wave(0.35, 3, 40)
    path = 1 - smoothstep(0.55, 0.95, np.abs(xy[..., 0] + 4.2 + wobble) + 0.12 * wave(2.0, 3, 45))
    sand = np.array((0.50, 0.65, 0.74), np.float32) * (1 + 0.16 * wave(1.5, 5, 50))[..., None]
    land = mix(meadow, sand, 0.9 * path)

    shore = xy[..., 1] - 9 - 2.5 * wave(0.10, 4, 60)
    beach = smoothstep(-1.8, -0.3, shore)
    land = mix(land, (0.56, 0.70, 0.77), 0.75 * beach)
    ripples = fractal_noise(points * np.array((0.5, 1.5, 1), np.float32), 5, seed + 80, footprint * 1.5)
    mirrored = view * np.array((1, 1, -1), np.float32)
    steep = np.clip(-view[..., 2] * 4, 0, 1)
    water = mix(mix((0.80, 0.82, 0.80), (0.50, 0.42, 0.26), 0.35 + 0.65 * np.sqrt(steep)), (0.66, 0.50, 0.33),
                np.clip(0.5 + 0.5 * ripples, 0, 1) * 0.45)
    glitter = np.clip(mirrored @ sun, 0, 1) ** 24 * smoothstep(-0.25, 0.6, ripples)
    water = mix(water, (0.82, 0.95, 1.0), 0.8 * glitter)
    land = mix(land, water, smoothstep(-0.1, 0.15, shore))
    colour[below] = mix(land, (0.72, 0.80, 0.78), 0.45 * (1 - np.exp(-distance / 150)))
    depth[below] = np.minimum(depth[below], distance)
