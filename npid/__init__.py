"""The command line: the one place that knows zoo, pretrain and downstream."""
