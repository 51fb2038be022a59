"""The network: a supernet that generates weights, the plain subnet that computes, and their files on disk."""

from .checkpoint import load_subnet, load_supernet, load_training_state, save_subnet, save_supernet, save_training_state
from .subnet import DecoderState, Memory, Subnet, extract
from .supernet import Supernet

__all__ = [
    "DecoderState",
    "Memory",
    "Subnet",
    "Supernet",
    "extract",
    "load_subnet",
    "load_supernet",
    "load_training_state",
    "save_subnet",
    "save_supernet",
    "save_training_state",
]
