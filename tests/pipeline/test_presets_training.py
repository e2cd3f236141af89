from pipeline.presets import small_generator, small_joint, tiny_generator, tiny_identity, tiny_joint


def test_joint_training_goes_on_with_the_weights_and_clusters_of_the_warm_ups() -> None:
    assert tiny_joint().weights == tiny_generator().weights
    assert tiny_joint().clustering == tiny_identity().clustering
    assert small_joint().weights == small_generator().weights


def test_the_tiny_generator_reconstructs_first_then_turns_then_meets_the_discriminator() -> None:
    config = tiny_generator()
    assert 0 < config.rotation_from_epoch < config.adversarial_from_epoch < config.num_epochs


def test_the_tiny_preset_switches_nothing_of_the_method_off() -> None:
    joint = tiny_joint()
    assert joint.rotation
    assert (joint.mixing, joint.views, len(joint.angles)) == ("dmixup", "both", 7)
    assert joint.generator_every > 0
    assert tiny_generator().weights.r1 > 0
