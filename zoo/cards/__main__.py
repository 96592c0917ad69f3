"""Writes the card of every released model: ``python -m zoo.cards model_cards``."""

import sys

from zoo.cards.released import write_all

for path in write_all(sys.argv[1]):
    print(path)
