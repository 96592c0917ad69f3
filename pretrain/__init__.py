"""How a backbone is made: objectives, augmentation, training."""
