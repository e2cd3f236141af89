from collections import Counter

from reid_core.data.synthetic.person import BOTTOM_KINDS, PATTERNS, PRINTS, draw_person


def test_a_person_depends_on_seed_and_number_alone() -> None:
    assert draw_person(0, 5) == draw_person(0, 5)
    assert draw_person(0, 5) != draw_person(0, 6)
    assert draw_person(0, 5) != draw_person(1, 5)


def test_clothes_are_confusable_and_people_are_not() -> None:
    people = [draw_person(0, number) for number in range(80)]
    assert len(set(people)) == 80
    # Shades differ a little; the colours behind them are shared by several people.
    tops = Counter(tuple(round(channel * 2) for channel in person.top) for person in people)
    assert tops.most_common(1)[0][1] >= 10
    assert {person.pattern for person in people} == set(PATTERNS)
    assert {person.bottom_kind for person in people} == set(BOTTOM_KINDS)


def test_front_and_back_are_drawn_apart() -> None:
    people = [draw_person(0, number) for number in range(80)]
    assert sum(person.front.shape != person.back.shape for person in people) > 40
    assert {person.front.shape for person in people} == set(PRINTS)


def test_phenotypes_stay_in_range() -> None:
    values = [value for number in range(50) for value in draw_person(3, number).phenotype]
    assert min(values) >= 0.0
    assert max(values) <= 1.0
