"""What a backbone is used for: features, kNN and the tasks of the paper."""
