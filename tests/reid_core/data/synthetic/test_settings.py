from dataclasses import replace

from reid_core.data.synthetic.settings import SyntheticSettings


def test_more_people_do_not_change_a_picture() -> None:
    settings = SyntheticSettings()
    assert replace(settings, num_train_people=7).digest() == settings.digest()
    assert replace(settings, seed=1).digest() != settings.digest()
    assert replace(settings, image_height=64).digest() != settings.digest()
