"""Features of whole data sets: computed once, kept on disk, read by every task."""
