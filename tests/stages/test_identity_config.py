from stages.identity import AugmentConfig, IdentityConfig


def test_the_global_batch_is_clusters_times_images() -> None:
    assert IdentityConfig(clusters_per_batch=4, images_per_cluster=6).batch_size == 24


def test_strengths_are_handed_on_by_name() -> None:
    strengths = AugmentConfig(flip_probability=0.25, pad=3, erase_probability=0.75, jitter=0.2).strengths()
    assert (strengths.flip_probability, strengths.pad) == (0.25, 3)
    assert (strengths.erase_probability, strengths.jitter) == (0.75, 0.2)
