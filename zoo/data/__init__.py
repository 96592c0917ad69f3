"""Images: where they come from, how they are read, augmented and put into batches."""
