"""A released checkpoint as a network, for comparing and for going on from one."""

import pathlib

from training.checkpoint.names import from_released
from training.checkpoint.released import decoded, read_tensors
from training.model.config import load_config
from training.model.network import Network


def load_network(directory: pathlib.Path, *, tied_head: bool = False) -> Network:
    network = Network(load_config(directory / "config.json"), tied_head=tied_head)
    tensors = decoded(read_tensors(directory / "model.safetensors"))
    network.load_state_dict(from_released(tensors, network.state_dict()))
    return network
