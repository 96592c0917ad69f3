"""Reading other projects' checkpoints without running anything in them.

A pickle is a program for a stack machine that may call any function by name. Here the machine is
our own: ``pickletools`` only splits the bytes into opcodes, names never become functions, and a
short table says what the few constructors that checkpoints need (tensors, containers, numpy arrays)
amount to. A few classes are admitted as inert records of their attributes; every other name is
refused, and all the refused names are listed.
"""

from zoo.interop.unpickle.files import read
from zoo.interop.unpickle.machine import StandIn

__all__ = ["StandIn", "read"]
