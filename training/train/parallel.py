"""Several GPUs of one machine: a process each, with its share of every step's sequences.

Started by `torchrun --nproc-per-node N -m training.run …`; without it a run is one process.
Gradients are averaged, so all processes keep the same weights; the first one writes the files.
"""

import dataclasses
import os

import torch
from torch import Tensor, distributed

from training.data.batches import Batch
from training.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Processes:
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """The sequences of this process."""
        if self.count == 1:
            return batch
        n_sequences = len(batch.spans)
        if n_sequences % self.count:
            raise TrainingError(
                f"a step has {n_sequences} sequences: want a number that {self.count} GPUs divide"
            )
        n_own = n_sequences // self.count
        own = slice(self.rank * n_own, (self.rank + 1) * n_own)
        return batch._replace(
            token_ids=batch.token_ids[own],
            text_weight=batch.text_weight[own],
            answer_weight=batch.answer_weight[own],
            positions=batch.positions[own],
            log_count=batch.log_count[own],
            spans=batch.spans[own],
        )

    @torch.no_grad()
    def average(self, tensors: list[Tensor]) -> None:
        """Each tensor becomes its mean over all processes."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        means = (flat / self.count).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def agree(self, yes: bool) -> bool:
        """What the first process says."""
        if self.count == 1:
            return yes
        said = [yes]
        distributed.broadcast_object_list(said, 0)
        return said[0]


def join() -> Processes:
    """The processes that torchrun started, each with a GPU of its own where there are GPUs."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    rank = int(os.environ["RANK"])
    n_gpus = torch.cuda.device_count()
    if 0 < n_gpus < count:
        raise TrainingError(f"want a GPU for each of {count} processes, found {n_gpus}")
    if n_gpus:
        torch.cuda.set_device(rank)
    distributed.init_process_group("nccl" if n_gpus else "gloo")
    return Processes(rank, count)
