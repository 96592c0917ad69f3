"""The command line: the one place that knows zoo, pretrain and downstream. Nothing here imports torch at the top."""
