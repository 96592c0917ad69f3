"""What every package needs: atomic files, registries, signals, number formats."""
