from downstream.linear import PRESETS


def test_the_published_recipes():
    imagenet, places, pooled = (PRESETS[name] for name in ("imagenet", "places205", "pooled"))
    assert (imagenet.sweep, imagenet.epochs, imagenet.lr_milestones) == ((0.01,), 28, (8, 16, 24))
    assert (places.sweep, places.epochs, places.lr_milestones) == ((0.01,), 14, (4, 8, 12))
    assert (
        imagenet.nesterov
        and imagenet.norm
        and imagenet.weight_decay == 5e-4
        and imagenet.batch_size == 256
    )
    assert (pooled.sweep, pooled.epochs, pooled.lr_milestones, pooled.weight_decay) == (
        (30.0,),
        100,
        (60, 80),
        0,
    )
    assert not pooled.norm and pooled.layers == ("pooled",)
    assert (
        imagenet.of_length(7).lr_milestones == (2, 4, 6)
        and min(imagenet.of_length(1).lr_milestones) == 1
    )
