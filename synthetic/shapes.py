"""The shapes of things: balloons, balls, birds, people, boats, trees, houses.

A shape is drawn in a plane that faces the camera: u to the right, v up, the thing 1 high and standing on v = 0. It is a
function (u, v, time, colours) that returns a list of parts (signed distance, negative inside; colour), painted in this
order. Colours are BGR, in [0, 1].
"""

from types import SimpleNamespace

import numpy as np

from synthetic.noise import fractal_noise, mix, smoothstep

PAINT = SimpleNamespace(red=(0.16, 0.18, 0.86), orange=(0.20, 0.50, 0.95), yellow=(0.15, 0.78, 0.98),
                        blue=(0.70, 0.35, 0.12), green=(0.35, 0.55, 0.15), magenta=(0.62, 0.20, 0.85),
                        white=(0.92, 0.95, 0.97), grey=(0.50, 0.50, 0.48), dark=(0.14, 0.14, 0.15),
                        brown=(0.08, 0.12, 0.20), blond=(0.10, 0.20, 0.35), denim=(0.42, 0.25, 0.15))


def disc(u, v, centre, radius):
    """Signed distance from a disc."""
    return np.hypot(u - centre[0], v - centre[1]) - radius


def limb(u, v, start, end, radius):
    """Signed distance from a thick line with round ends."""
    (x, y), (dx, dy) = start, np.subtract(end, start)
    along = np.clip(((u - x) * dx + (v - y) * dy) / (dx * dx + dy * dy + 1e-12), 0, 1)
    return np.hypot(u - x - along * dx, v - y - along * dy) - radius


def convex(u, v, corners):
    """Signed distance from a convex polygon; the corners go counter-clockwise."""
    edges = zip(corners, corners[1:] + corners[:1])
    return np.max([((u - x) * (y2 - y) - (v - y) * (x2 - x)) / np.hypot(x2 - x, y2 - y)
                   for (x, y), (x2, y2) in edges], axis=0)


def balloon(u, v, time, colours):
    """A hot-air balloon with a striped envelope, shaded as a ball lit from the upper left."""
    height = np.clip((v - 0.62) / 0.38, -1.6, 1)
    radius = 0.38 * np.sqrt(np.clip(1 - height**2, 0, 1))
    neck = 0.07 + 0.31 * smoothstep(0.16, 0.66, v)
    envelope = np.maximum(np.abs(u) - np.where(v > 0.62, radius, np.minimum(neck, 0.38)), np.maximum(0.2 - v, v - 1))
    gore = np.arcsin(np.clip(u / np.maximum(np.where(v > 0.62, radius, neck), 1e-3), -1, 1)) / np.pi * 8
    striped = mix(colours[0], colours[1], np.clip(0.5 + 4 * np.sin(gore * np.pi), 0, 1))
    striped = mix(striped, colours[2], ((v > 0.50) & (v < 0.60)).astype(np.float32))
    light = np.clip(1.05 - 0.55 * np.hypot(u + 0.12, v - 0.74) / 0.5 + 0.1 * (v - 0.5), 0.35, 1.1)
    dark = (0.13, 0.18, 0.24)
    return [(limb(u, v, (-0.05, 0.09), (-0.06, 0.22), 0.006), dark),
            (limb(u, v, (0.05, 0.09), (0.06, 0.22), 0.006), dark),
            (convex(u, v, [(-0.06, 0), (0.06, 0), (0.065, 0.1), (-0.065, 0.1)]), (0.18, 0.32, 0.47)),
            (envelope, np.clip(striped * light[..., None], 0, 1))]


def ball(u, v, time, colours):
    """A striped ball that rolls."""
    angle = np.arctan2(v - 0.5, u) + 2 * time
    light = np.clip(1.1 - 0.7 * np.hypot(u + 0.15, v - 0.65), 0.3, 1.1)
    striped = mix(colours[0], colours[1], np.clip(0.5 + 4 * np.sin(3 * angle), 0, 1))
    return [(disc(u, v, (0, 0.5), 0.5), np.clip(striped * light[..., None], 0, 1))]


def bird(u, v, time, colours):
    """A bird whose wings beat three times a second."""
    lift = 0.45 * np.sin(6 * np.pi * time) + 0.12
    parts = [(limb(u, v, (-0.12, 0.5), (0.2, 0.5), 0.055), colours[0])]
    for side in (-1, 1):
        elbow, tip = (side * 0.35, 0.5 + 0.6 * lift), (side * 0.85, 0.5 + 0.6 * lift - 0.28 * abs(lift) + 0.2 * lift)
        parts += [(limb(u, v, (0, 0.5), elbow, 0.05), colours[0]), (limb(u, v, elbow, tip, 0.035), colours[0])]
    return parts


def walker(u, v, time, colours, cadence=0.95, stride=0.5):
    """Somebody walking to the right. colours: of jacket, trousers and hair; cadence: double steps a second; stride: how
    far the thighs swing, radians."""
    jacket, trousers, hair = colours
    skin, shoe = (0.50, 0.64, 0.86), (0.12, 0.13, 0.16)
    hip, shoulder, neck = (0, 0.50), (0.015, 0.77), (0.015, 0.80)

    def side(phase, shade):
        """The parts of one side's arm and leg. phase: of the step, radians; shade: brightness, less on the far side."""
        swing = 2 * np.pi * cadence * time + phase
        thigh, shin = stride * np.sin(swing), stride * (np.sin(swing) - 1.1 * max(0, np.cos(swing))) - 0.08
        knee = (hip[0] + 0.24 * np.sin(thigh), hip[1] - 0.24 * np.cos(thigh))
        foot = (knee[0] + 0.23 * np.sin(shin), knee[1] - 0.23 * np.cos(shin))
        arm = -0.8 * stride * np.sin(swing)
        elbow = (shoulder[0] + 0.17 * np.sin(arm), shoulder[1] - 0.17 * np.cos(arm))
        hand = (elbow[0] + 0.15 * np.sin(arm + 0.5), elbow[1] - 0.15 * np.cos(arm + 0.5))
        sleeve, leg = np.multiply(jacket, shade), np.multiply(trousers, shade)
        return ([(disc(u, v, hand, 0.024), skin), (limb(u, v, shoulder, elbow, 0.034), sleeve),
                 (limb(u, v, elbow, hand, 0.027), sleeve)],
                [(limb(u, v, foot, (foot[0] + 0.055, foot[1] - 0.008), 0.022), shoe),
                 (limb(u, v, hip, knee, 0.052), leg), (limb(u, v, knee, foot, 0.036), leg)])

    (near_arm, near_leg), (far_arm, far_leg) = side(0, 1.0), side(np.pi, 0.75)
    light = np.clip(1 - 2.2 * u, 0.65, 1.15)[..., None]
    body = [(limb(u, v, (0, 0.53), (0.012, 0.745), 0.078), np.clip(jacket * light, 0, 1)),
            (limb(u, v, neck, (0.03, 0.86), 0.026), skin), (disc(u, v, (0.032, 0.915), 0.062), skin),
            (np.maximum(disc(u, v, (0.022, 0.928), 0.066), u - 0.03 - 1.2 * (v - 0.91)), hair)]
    return far_arm + far_leg + near_leg + body + near_arm


def runner(u, v, time, colours):
    """Somebody running to the right."""
    return walker(u, v, time, colours, cadence=1.45, stride=0.8)


def sailboat(u, v, time, colours):
    """A hull, a mast and two sails, heeling gently."""
    u = u + 0.03 * np.sin(1.5 * time) * v
    shade = np.clip(0.95 + 0.35 * u, 0.8, 1.05)[..., None]
    return [(limb(u, v, (0.0, 0.05), (0.0, 1.0), 0.008), (0.2, 0.25, 0.3)),
            (convex(u, v, [(-0.40, 0.14), (-0.025, 0.14), (-0.02, 0.98)]), np.multiply(colours[0], shade)),
            (convex(u, v, [(0.025, 0.12), (0.36, 0.12), (0.02, 0.88)]), np.multiply(colours[1], shade)),
            (convex(u, v, [(-0.36, 0.0), (0.32, 0.0), (0.46, 0.12), (-0.42, 0.12)]), colours[2])]


def tree(u, v, time, colours):
    """A trunk with a broad crown of noise, lit from the left."""
    points = np.stack([u, v, np.full_like(u, colours[0][0] * 50)], -1)
    clumps = fractal_noise(points * 7, 4, 5)
    crown = np.min([disc(u, v, centre, radius) for centre, radius in
                    (((0, 0.68), 0.28), ((-0.22, 0.56), 0.22), ((0.22, 0.55), 0.23), ((0.05, 0.45), 0.2))], axis=0)
    light = np.clip(0.85 + 0.55 * (v - 0.55) - 0.6 * u + 0.42 * clumps, 0.35, 1.5)[..., None]
    return [(convex(u, v, [(-0.045, 0), (0.045, 0), (0.025, 0.5), (-0.025, 0.5)]), (0.16, 0.22, 0.29)),
            (crown - 0.07 * clumps, np.clip(colours[0] * light, 0, 1))]


def house(u, v, time, colours):
    """The front of a house with a gable roof, a door and windows."""
    parts = [(convex(u, v, [(-0.75, 0), (0.75, 0), (0.75, 0.55), (-0.75, 0.55)]), colours[0]),
             (convex(u, v, [(0.3, 0.8), (0.42, 0.8), (0.42, 1.0), (0.3, 1.0)]), (0.30, 0.35, 0.45)),
             (convex(u, v, [(-0.85, 0.52), (0.85, 0.52), (0.6, 0.95), (-0.6, 0.95)]), colours[1])]
    for x, low, high in ((-0.5, 0.2, 0.42), (0.5, 0.2, 0.42), (-0.12, 0.0, 0.38)):
        opening = [(x - 0.1, low), (x + 0.1, low), (x + 0.1, high), (x - 0.1, high)]
        parts.append((convex(u, v, opening), (0.35, 0.30, 0.26)))
    return parts
