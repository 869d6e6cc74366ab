"""One run: from the state it finds to the end of the recipe, or to the end of its time."""

import dataclasses
import math
import pathlib
import time

import torch
from torch import Tensor

from training.data.batches import Batch, Batches, batches_from
from training.errors import TrainingError
from training.model.network import Network
from training.model.rounding import Numerics
from training.train.log import Log
from training.train.losses import Losses, losses_of
from training.train.optimiser import Optimiser
from training.train.parallel import Processes
from training.train.recipe import Recipe, Stage
from training.train.state import resume, save_state

MEASURE_EVERY = 5  # answers are counted in every fifth step: the count waits for the GPU
LOOK_AT_CLOCK_EVERY = 5  # the processes have to agree


@dataclasses.dataclass(frozen=True)
class RunOptions:
    directory: pathlib.Path
    n_workers: int
    until_step: int | None = None
    minutes: float = math.inf
    log_every: int = 25
    processes: Processes = dataclasses.field(default_factory=Processes)


class Run:
    def __init__(
        self, network: Network, recipe: Recipe, batches: Batches, options: RunOptions
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.batches = batches
        self.options = options
        self.optimiser = Optimiser(network, recipe)
        self.first_step = resume(options.directory, network, self.optimiser, recipe)
        self.on_gpu = network.embed.weight.is_cuda

    def train(self) -> int:
        """Returns the step that comes next; recipe.total_steps when all is done."""
        started = saved = time.monotonic()
        processes = self.options.processes
        log = Log(self.options.directory, self.first_step) if processes.is_first else None
        end = min(self.recipe.total_steps, self.options.until_step or self.recipe.total_steps)
        step = self.first_step
        for batch in batches_from(self.batches, step, end, self.options.n_workers):
            own = processes.share(batch)
            losses, norm = self.update(step, own)
            if log:
                self.record(log, step, own, losses, norm)
            step += 1
            if step % LOOK_AT_CLOCK_EVERY:
                continue
            now = time.monotonic()
            out_of_time = processes.agree(now - started > 60 * self.options.minutes)
            if out_of_time or now - saved > 60 * self.recipe.save_minutes:
                self.save(step)
                saved = now
            if out_of_time:
                return step
        self.save(step)
        return step

    def save(self, step: int) -> None:
        if not self.options.processes.is_first:
            return
        save_state(self.options.directory, self.network, self.optimiser, self.recipe, step)

    def numerics(self, stage: Stage) -> Numerics:
        dtype = torch.bfloat16 if self.on_gpu else torch.float32
        return Numerics(dtype=dtype, weights=stage.round_weights)

    def update(self, step: int, batch: Batch) -> tuple[Losses, Tensor]:
        stage, _ = self.recipe.at(step)
        losses = losses_of(
            self.network,
            batch,
            self.numerics(stage),
            index_weight=self.recipe.index_weight,
            mtp_weight=self.recipe.mtp_weight if stage.mtp else 0.0,
        )
        losses.total.backward()
        gradients = {
            name: parameter.grad
            for name, parameter in self.network.named_parameters()
            if parameter.grad is not None
        }
        self.options.processes.average([*gradients.values(), *losses.loads])
        self._require_finite(step, losses, gradients)
        rate = self.recipe.rate(step)
        norm = self.optimiser.step(rate)
        self._balance(losses.loads, rate)
        self.network.zero_grad(set_to_none=True)
        return losses, norm

    @torch.no_grad()
    def _balance(self, loads: list[Tensor], rate: float) -> None:
        """Experts that are chosen less than others become a little more eligible."""
        blocks = [self.network.block(i) for i in range(self.network.config.num_hidden_layers)]
        blocks += [mtp.block for mtp in self.network.mtp_blocks()]
        for block, load in zip(blocks, loads, strict=False):
            if not block.ffn.gate.uses_hash:
                direction = torch.sign(load.mean() - load)
                block.ffn.gate.bias.add_(direction, alpha=self.recipe.balance_rate * rate)

    def _require_finite(self, step: int, losses: Losses, gradients: dict[str, Tensor]) -> None:
        """Stops before a damaged gradient reaches the weights; the last state stays good."""
        total = torch.stack([losses.total.detach(), *torch._foreach_norm(list(gradients.values()))])
        if total.sum().isfinite():
            return
        parts = {name: round(part.item(), 4) for name, part in losses.parts.items()}
        bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        raise TrainingError(
            f"step {step}: the gradient of {bad[0] if bad else 'no tensor'} is not finite, nor are "
            f"{len(bad) - 1 if bad else 0} others; losses were {parts}"
        )

    def record(self, log: Log, step: int, batch: Batch, losses: Losses, norm: Tensor) -> None:
        log.count(batch.positions.numel() * self.options.processes.count)
        if step % MEASURE_EVERY == 0:
            log.add_answers(batch.spans, losses.correct.tolist())
        if step % self.options.log_every and step > 3:
            return
        stage, _ = self.recipe.at(step)
        loads = [load.max() / load.mean() for load in losses.loads]
        record = log.write(
            {
                "step": step,
                "stage": stage.name,
                "tokens": (step + 1) * self.recipe.tokens_per_step,
                "rate": self.recipe.rate(step),
                "n_best": batch.n_best,
                **{name: part.item() for name, part in losses.parts.items()},
                "gradient_norm": norm.item(),
                "load_max_over_mean": max(loads).item(),
                "gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if self.on_gpu else 0.0,
            }
        )
        shown = {
            name: record[name] for name in ("step", "stage", "text", "answers", "tokens_per_s")
        }
        print("  ".join(f"{name} {_short(value)}" for name, value in shown.items()), flush=True)


def _short(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
