"""All objects of one run and their state; one step, one epoch, one evaluation.

Nothing is copied from the device to the host within an epoch, but two handfuls of sums at its end.
"""

import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.optim.build import build_optimizer, effective_settings
from ksweep.prune.build import build_pruner
from ksweep.prune.weights import prunable_weights, share_of_zeros
from ksweep.train.device import Compute, autocast_type, use_deterministic_algorithms, use_device
from ksweep.train.early_stopping import read_early_stopping
from ksweep.train.lr_schedule import read_lr_schedule
from ksweep.train.seeding import data_generator, random_state, restore_random_state, seed_all
from ksweep.train.task import Part, Selection, TaskBuilder

COUNTED = ("spam_step",)  # in an optimizer's groups like its settings, but state: AdamWSPAM's own count of steps


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands. Of the best epoch so far: its number (0: none yet), its key (see Selection) and its metrics; and of
    the last one that was an improvement (see EarlyStopping). Where nothing is validated, each epoch is the best one.

    `train_time_s`: all epochs with their validation; `peak_memory_mib`: the most of all attempts. `parent`: the run that it was
    taken over from, after its epoch `parent_epoch`; all numbers count that run's epochs as well.
    """

    epoch: int = 0
    train_time_s: float = 0.0
    peak_memory_mib: float = 0.0
    best_epoch: int = 0
    best_key: tuple[float, ...] = ()
    best: dict[str, float] = field(default_factory=dict)
    improved_epoch: int = 0
    improved_key: tuple[float, ...] = ()
    parent: str = ""
    parent_epoch: int = 0

    def without_best(self) -> "Progress":
        """As if no epoch had been the best yet."""
        return replace(self, best_epoch=0, best_key=(), best={})

    def after(
        self,
        measured: dict[str, float],
        selection: Selection,
        *,
        time_s: float,
        peak_memory_mib: float,
        is_eligible: bool,
        min_delta: float = 0.0,
    ) -> "Progress":
        """One epoch further; it is the best one if it is eligible and `selection` puts it above the best so far. Without a
        validation there is nothing to select by, and the last one counts.

        `measured`: the metrics of the epoch, all of which are kept of the best one; `time_s`: how long it took.
        """
        progress = replace(
            self,
            epoch=self.epoch + 1,
            train_time_s=self.train_time_s + time_s,
            peak_memory_mib=max(self.peak_memory_mib, peak_memory_mib),
        )
        if selection.by not in measured:
            return replace(progress, best_epoch=progress.epoch, best=measured)
        if not is_eligible:
            return progress
        key = selection.key(measured)
        # Not by what is the best: without_best() forgets that for a while.
        is_improved = not self.improved_key or key > tuple(self.improved_key)
        if is_improved and (not self.improved_key or key[0] >= self.improved_key[0] + min_delta):
            progress = replace(progress, improved_epoch=progress.epoch, improved_key=key)
        if not self.best_key or key > tuple(self.best_key):
            progress = replace(progress, best_epoch=progress.epoch, best_key=key, best=measured)
        return progress


class Training:
    """All objects of one run, and their state. `build_task` gets the configuration, where to compute, and the generator of the
    order of examples.

    Each batch goes through the network in `num_micro_batches` parts, whose gradients add up to the batch's. ConfigError when the
    configuration asks for what is not to be had.
    """

    def __init__(self, cfg: RunConfig, build_task: TaskBuilder, num_micro_batches: int) -> None:
        self.device = use_device(cfg)
        self.compute = Compute(device=self.device, autocast=autocast_type(cfg, self.device))
        seed = cfg.int("SEED")
        seed_all(seed)
        use_deterministic_algorithms(cfg, self.device)
        self.num_epochs = cfg.int("NUM_EPOCHS")
        self.num_micro_batches = num_micro_batches
        self.order = data_generator(seed)
        self.task = build_task(cfg, self.compute, self.order)
        self.model, self.train_batches = self.task.model, self.task.train_batches
        self.network = cast(nn.Module, torch.compile(self.model)) if cfg.bool("TORCH_COMPILE") else self.model
        self.optimizer = build_optimizer(cfg, self.model)
        self.max_grad_norm = _read_max_grad_norm(cfg)
        steps_per_epoch = len(self.train_batches)
        self.pruner = build_pruner(cfg, self.model, self.optimizer, steps_per_epoch)
        lr_schedule = read_lr_schedule(cfg, num_epochs=self.num_epochs, steps_per_epoch=steps_per_epoch)
        self.early_stopping = read_early_stopping(cfg)
        self.effective = self._effective() | {"lr_schedule": asdict(lr_schedule)}
        self.lr_schedule = lr_schedule.attach(self.optimizer)
        self.progress = Progress()

    def _effective(self) -> dict[str, Any]:
        """What the constructed objects report of themselves: the proof that the configuration arrived."""
        return {
            "optimizer": effective_settings(self.optimizer),
            "pruning": self.pruner.effective() if self.pruner else None,
            "model": type(self.model).__name__,
            "num_parameters": sum(param.numel() for param in self.model.parameters()),
            "dataset": self.task.name,
            **self.task.effective(),
            "batch_size": self.train_batches.order.batch_size,
            "steps_per_epoch": len(self.train_batches),
            "max_grad_norm": self.max_grad_norm,
            "device": str(self.device),
            "precision": str(self.compute.autocast or next(self.model.parameters()).dtype).removeprefix("torch."),
            "compiled": self.network is not self.model,
            "deterministic": torch.backends.cudnn.deterministic,
            "num_threads": torch.get_num_threads(),
            "seed": torch.initial_seed(),
            "torch": torch.__version__,
        }

    def train_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One optimizer step on one batch; the sum of the losses of its examples, still on the device."""
        num_parts = min(self.num_micro_batches, len(targets))  # the last batch of an epoch may be smaller
        loss_sum = torch.zeros((), device=self.device)
        self.optimizer.zero_grad()
        for some, wanted in zip(inputs.tensor_split(num_parts), targets.tensor_split(num_parts), strict=True):
            with self.compute.forward_format():
                loss = self.task.loss(self.network, some, wanted)
            (loss * (len(wanted) / len(targets))).backward()
            loss_sum += loss.detach() * len(wanted)
        if self.pruner:
            self.pruner.before_step()
        if self.max_grad_norm:  # of what the step is made of: not of the gradients of what is pruned
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        if self.pruner:
            self.pruner.after_step()
        self.lr_schedule.step()
        return loss_sum

    def train_epoch(self) -> Tensor:
        """One pass over the training part; the sum of the losses of its examples, float64, still on the device."""
        self.model.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        for inputs, targets in self.train_batches:
            loss_sum += self.train_step(inputs, targets)
        return loss_sum

    def run_epoch(self) -> tuple[dict[str, float], dict[str, float]]:
        """Train and validate once. What was measured: `train_loss`, which is what is minimised, and the metrics of the
        validation; and how it went. `epoch_time_s` covers both, `step_time_s` training only."""
        num_examples = self.train_batches.num_examples
        start = time.perf_counter()
        train_loss = self.train_epoch().item() / num_examples  # waits for the device
        steps_s = time.perf_counter() - start
        measured = {"train_loss": train_loss, **(self.measure("val") if self.task.is_validated else {})}
        how = {
            "epoch_time_s": time.perf_counter() - start,
            "step_time_s": steps_s / len(self.train_batches),
            f"{self.task.unit}_per_s": num_examples * self.task.units_per_example / steps_s,
            "lr": float(self.lr_schedule.get_last_lr()[0]),
        }
        if self.pruner:
            how["sparsity"] = self.sparsity()
        return measured, how

    def measure(self, part: Part) -> dict[str, float]:
        """The metrics of the weights as they are on the validation or the test part."""
        return self.task.measure(part, self.micro_batch)

    @property
    def micro_batch(self) -> int:
        """The most examples that go through the network at once in a training step."""
        return -(-self.train_batches.order.batch_size // self.num_micro_batches)

    def sparsity(self) -> float:
        """Share of zeros among the weights that may be pruned, counted, 0 to 1."""
        return share_of_zeros(self.pruner.weights if self.pruner else prunable_weights(self.model))

    def state_dict(self) -> dict[str, Any]:
        """Everything that training depends on from here."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_schedule": self.lr_schedule.state_dict(),
            "pruner": self.pruner.state_dict() if self.pruner else None,
            "random": random_state(self.order),
            "progress": asdict(self.progress),
            "num_micro_batches": self.num_micro_batches,
            "kind": self._kind(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_schedule.load_state_dict(state["lr_schedule"])
        if self.pruner:
            self.pruner.load_state_dict(state["pruner"])
        restore_random_state(state["random"], self.order)
        self.progress = Progress(**state["progress"])
        self.num_micro_batches = max(self.num_micro_batches, state["num_micro_batches"])

    def inherit(self, state: dict[str, Any], parent: str) -> None:
        """Go on from another run's `state_dict`, with hyperparameters of its own. ValueError when that state does not fit.

        Taken over are the weights, what the optimizer and the pruner remember, random states and progress. The learning rate is
        where its own schedule has it after as many epochs.
        """
        self._check_fits(state)
        own = [
            {name: value for name, value in group.items() if name not in ("params", *COUNTED)}
            for group in self.optimizer.param_groups
        ]
        base_rates = self.lr_schedule.base_lrs
        step = state["progress"]["epoch"] * len(self.train_batches)
        if self.pruner:
            state = state | {"pruner": state["pruner"] | {"step": step}}
        self.load_state_dict(state)
        rates = [base * factor(step) for base, factor in zip(base_rates, self.lr_schedule.lr_lambdas, strict=True)]
        self.lr_schedule.load_state_dict(self.lr_schedule.state_dict() | {"base_lrs": base_rates, "last_epoch": step})
        for group, settings, rate in zip(self.optimizer.param_groups, own, rates, strict=True):
            group.update(settings | {"lr": rate})
        self.progress = replace(self.progress, parent=parent, parent_epoch=self.progress.epoch)

    def _kind(self) -> dict[str, Any]:
        """What two runs must have in common for one to go on from the other's state."""
        optimizer, pruning = self.effective["optimizer"], self.effective["pruning"] or {"method": "none"}
        words = [pruning.get(name) for name in ("method", "variant", "allocation")] + pruning.get("dense_layers", [])
        return {
            "model": self.effective["model"],
            "parameters": self.effective["num_parameters"],
            "data set": self.effective["dataset"],
            "optimizer": optimizer["class"],
            "AMSGrad": optimizer["param_groups"][0].get("amsgrad", False),  # it remembers one thing more
            "pruning": " ".join(word for word in words if word),
        }

    def _check_fits(self, state: dict[str, Any]) -> None:
        theirs, ours = state["kind"], self._kind()
        if different := [f"{name}: {theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name]]:
            raise ValueError("; ".join(different))
        shapes = {name: value.shape for name, value in self.model.state_dict().items()}
        if {name: value.shape for name, value in state["model"].items()} != shapes:
            raise ValueError("its weights have other names or shapes")
        if self.pruner:
            # What is pruned never comes back, and no run may be sparser than its own schedule says.
            num_weights = sum(weight.numel() for weight in self.pruner.weights)
            num_pruned = sum(state["pruner"]["num_pruned"])
            step = state["progress"]["epoch"] * len(self.train_batches)
            if num_pruned > (allowed := self.pruner.schedule.num_pruned(step, num_weights)):
                raise ValueError(f"it has pruned {num_pruned} weights, and the schedule here allows {allowed} by then")

    @property
    def stopped_early(self) -> str:
        """Why there is no further epoch though NUM_EPOCHS has some; empty otherwise."""
        progress = self.progress
        if self.early_stopping is None or progress.epoch >= self.num_epochs:
            return ""
        return self.early_stopping.reason(
            epoch=progress.epoch,
            improved_epoch=progress.improved_epoch,
            shown=self.task.selection.text(progress.improved_key) if progress.improved_key else "",
        )

    @property
    def is_over(self) -> bool:
        """True when there is no further epoch."""
        return self.progress.epoch >= self.num_epochs or bool(self.stopped_early)

    def is_eligible(self, epoch: int) -> bool:
        """False while a pruning ramp rises: what is measured is a denser net than was asked for."""
        return self.pruner is None or epoch * len(self.train_batches) >= self.pruner.schedule.end_step


def _read_max_grad_norm(cfg: RunConfig) -> float:
    """MAX_GRAD_NORM; 0: gradients are not clipped here."""
    norm = cfg.float("MAX_GRAD_NORM")
    if norm < 0:  # would turn all gradients round
        raise ConfigError(f"{cfg.source}: CONFIG_MAX_GRAD_NORM: found {norm}, allowed: 0 or more")
    return norm
