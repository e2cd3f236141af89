from dataclasses import replace

import numpy as np

from reid_core.data.synthetic.clothes import paint
from reid_core.data.synthetic.person import Person, Print, draw_person

RED, BLUE, GREEN, WHITE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 1.0)


def dressed(**changes: object) -> Person:
    nothing = Print("none", WHITE, 0.07)
    plain = replace(
        draw_person(0, 0),
        pattern="plain",
        open_front=0.0,
        front=nothing,
        back=nothing,
        bag="none",
        cap=False,
        sleeve=0.42,
        hem=0.0,
        bottom_kind="trousers",
        skin=(0.9, 0.7, 0.6),
        hair=(0.1, 0.2, 0.3),
        top=RED,
        accent=GREEN,
        bottom=BLUE,
        shoes=(0.2, 0.2, 0.2),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def colour(person: Person, point: tuple[float, float, float], front: float) -> tuple[float, ...]:
    painted = paint(person, np.asarray([point], dtype=np.float32), np.asarray([front], dtype=np.float32))[0]
    return tuple(round(float(value), 3) for value in painted)


def test_zones_by_hand() -> None:
    person = dressed()
    assert colour(person, (0.0, -0.12, 0.29), 1.0) == RED  # chest
    assert colour(person, (0.12, -0.08, -0.25), 1.0) == BLUE  # thigh
    assert colour(person, (0.21, -0.01, 0.41), 1.0) == RED  # upper arm
    assert colour(person, (0.42, -0.15, 0.19), 1.0) == person.skin  # wrist
    assert colour(person, (0.17, -0.1, -0.72), 1.0) == person.shoes
    assert colour(person, (0.0, -0.13, 0.66), 1.0) == person.skin  # face
    assert colour(person, (0.0, 0.07, 0.72), -1.0) == person.hair


def test_both_sides_of_the_body_are_symmetric_where_clothes_are() -> None:
    person = dressed(pattern="hoops")
    points = np.random.default_rng(0).uniform([-0.5, -0.2, -0.8], [0.5, 0.1, 0.8], size=(500, 3)).astype(np.float32)
    front = np.ones(500, dtype=np.float32)
    mirrored = points * np.asarray([-1, 1, 1], dtype=np.float32)
    np.testing.assert_array_equal(paint(person, points, front), paint(person, mirrored, front))


def test_a_print_is_on_its_side_only() -> None:
    person = dressed(front=Print("disc", WHITE, 0.07), back=Print("square", GREEN, 0.07))
    assert colour(person, (0.0, -0.12, 0.29), 1.0) == WHITE
    assert colour(person, (0.0, 0.09, 0.29), -1.0) == GREEN


def test_an_open_jacket_shows_what_is_under_it_at_the_front_only() -> None:
    person = dressed(open_front=0.05)
    assert colour(person, (0.02, -0.12, 0.2), 1.0) == GREEN
    assert colour(person, (0.02, 0.09, 0.2), -1.0) == RED


def test_a_backpack_is_carried_on_the_back() -> None:
    person = dressed(bag="backpack", bag_colour=WHITE)
    assert colour(person, (0.0, 0.09, 0.3), -1.0) == WHITE
    assert colour(person, (0.0, -0.12, 0.3), 1.0) == RED
    assert colour(person, (0.105, -0.12, 0.4), 1.0) == WHITE  # strap


def test_shorts_leave_shins_bare() -> None:
    assert colour(dressed(bottom_kind="shorts"), (0.15, -0.05, -0.5), 1.0) == dressed().skin
    assert colour(dressed(), (0.15, -0.05, -0.5), 1.0) == BLUE
