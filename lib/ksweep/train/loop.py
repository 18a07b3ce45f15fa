"""The loop that every model plugs into: train, validate, report, save; select on validation; test once.

A run that was killed goes on from checkpoints/last.pt and ends with the same numbers, to the last bit on a CPU. Nothing is
copied from the device to the host but one handful of sums an epoch.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.contract.run import Run
from ksweep.data.dataset import DataSet, load
from ksweep.data.loader import EVALUATION_BATCH, Batches
from ksweep.optim.build import build_optimizer, effective_settings
from ksweep.prune.build import build_pruner
from ksweep.prune.state import measured_sparsity
from ksweep.train.checkpoint import Checkpoints
from ksweep.train.device import autocast_type, use_device
from ksweep.train.seeding import data_generator, random_state, restore_random_state, seed_all

STOPPED = 143  # exit code of a program that a SIGTERM ended

ModelBuilder = Callable[[RunConfig, DataSet], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands. Of the best epoch so far: its number (0: none yet), its key and its metrics."""

    epoch: int = 0
    train_time_s: float = 0.0
    best_epoch: int = 0
    best_val_acc: float = -math.inf
    best_val_loss: float = math.inf
    best_train_loss: float = math.inf

    def is_beaten_by(self, metrics: dict[str, float]) -> bool:
        """True for a higher validation accuracy, or the same with a lower loss."""
        return (metrics["val_acc"], -metrics["val_loss"]) > (self.best_val_acc, -self.best_val_loss)


class Training:
    """All objects of one run, and their state. `build_model` gets the configuration and the data set.

    ConfigError when the configuration asks for what is not to be had.
    """

    def __init__(self, cfg: RunConfig, build_model: ModelBuilder) -> None:
        self.device = use_device(cfg)
        self.autocast = autocast_type(cfg)
        seed = cfg.int("SEED")
        seed_all(seed)
        self.num_epochs = cfg.int("NUM_EPOCHS")
        self.order = data_generator(seed)
        self._load_data(cfg)
        self.model = build_model(cfg, self.data).to(self.device)
        self.optimizer = build_optimizer(cfg, self.model)
        self.pruner = build_pruner(cfg, self.model, self.optimizer, len(self.train_batches))
        self.effective = self._effective()
        self.schedule = build_lr_schedule(cfg, self.optimizer, self.num_epochs)
        self.progress = Progress()

    def _load_data(self, cfg: RunConfig) -> None:
        num_workers, batch_size = cfg.int("NUM_WORKERS"), cfg.int("BATCH_SIZE")
        data = load(cfg)
        if batch_size > len(data.train):
            raise ConfigError(
                f"{cfg.source}: CONFIG_BATCH_SIZE: found {batch_size}, allowed: up to {len(data.train)},"
                f" the training examples of {data.name}"
            )
        self.data = data if num_workers else data.to(self.device)
        self.train_batches = Batches(
            self.data, self.data.train, batch_size=batch_size, device=self.device, num_workers=num_workers, generator=self.order
        )
        self.val_batches = Batches(self.data, self.data.val, batch_size=EVALUATION_BATCH, device=self.device)

    def _effective(self) -> dict[str, Any]:
        """What the constructed objects report of themselves: the proof that the configuration arrived."""
        return {
            "optimizer": effective_settings(self.optimizer),
            "pruning": asdict(self.pruner.schedule) if self.pruner else None,
            "model": type(self.model).__name__,
            "num_parameters": sum(param.numel() for param in self.model.parameters()),
            "dataset": self.data.name,
            "num_examples": {part: len(getattr(self.data, part)) for part in ("train", "val", "test")},
            "batch_size": self.train_batches.order.batch_size,
            "steps_per_epoch": len(self.train_batches),
            "device": str(self.device),
            "precision": str(self.autocast or next(self.model.parameters()).dtype).removeprefix("torch."),
            "num_threads": torch.get_num_threads(),
            "seed": torch.initial_seed(),
            "torch": torch.__version__,
        }

    def train_epoch(self) -> Tensor:
        """One pass over the training part; the sum of the losses of its examples, float64, still on the device."""
        self.model.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        for images, labels in self.train_batches:
            with self._forward_format():
                loss = F.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            if self.pruner:
                self.pruner.mask_gradients()
            self.optimizer.step()
            if self.pruner:
                self.pruner.after_step()
            loss_sum += loss.detach() * len(labels)
        return loss_sum

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> Tensor:
        """Sum of the losses and number of right answers over one part, float64 [2], still on the device."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for images, labels in batches:
            with self._forward_format():
                logits = self.model(images)  # [B, classes]
            loss_sum = F.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([loss_sum.double(), (logits.argmax(1) == labels).sum().double()])
        return sums

    def _forward_format(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None)

    def run_epoch(self) -> dict[str, float]:
        """Train and validate once; the metrics of the epoch. `epoch_time_s` covers both."""
        start = time.perf_counter()
        sums = torch.cat([self.train_epoch()[None], self.evaluate(self.val_batches)]).tolist()  # the one wait for the device
        return {
            "train_loss": sums[0] / self.train_batches.num_examples,
            "val_loss": sums[1] / self.val_batches.num_examples,
            "val_acc": sums[2] / self.val_batches.num_examples,
            "epoch_time_s": time.perf_counter() - start,
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def test(self) -> tuple[float, float]:
        """Accuracy and loss of the weights as they are on the test part, which nothing else touches."""
        batches = Batches(self.data, self.data.test, batch_size=EVALUATION_BATCH, device=self.device)
        loss_sum, num_right = self.evaluate(batches).tolist()
        return num_right / batches.num_examples, loss_sum / batches.num_examples

    def state_dict(self) -> dict[str, Any]:
        """Everything that training depends on from here."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "pruner": self.pruner.state_dict() if self.pruner else None,
            "random": random_state(self.order),
            "progress": asdict(self.progress),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.pruner:
            self.pruner.load_state_dict(state["pruner"])
        restore_random_state(state["random"], self.order)
        self.progress = Progress(**state["progress"])

    def is_eligible(self, epoch: int) -> bool:
        """False while a pruning ramp rises: its validation accuracy is that of a denser net than was asked for."""
        return self.pruner is None or epoch >= self.pruner.schedule.end_epoch


def build_lr_schedule(cfg: RunConfig, optimizer: torch.optim.Optimizer, num_epochs: int) -> LRScheduler:
    """The schedule that LR_SCHEDULE names, to be stepped after each epoch."""
    name = cfg.str("LR_SCHEDULE")
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=num_epochs)
    if name == "constant":
        return ConstantLR(optimizer, factor=1.0, total_iters=0)
    raise ConfigError(f'{cfg.source}: CONFIG_LR_SCHEDULE: found "{name}", allowed: constant cosine')


def train(run: Run, build_model: ModelBuilder) -> int:
    """Train one configuration to its end and write its result; the exit code: 0, or 143 when it was told to stop.

    The selected weights are those of the epoch with the best validation accuracy (at a tie, the lower loss; then the earlier
    one). With pruning only epochs from the end of the ramp on are eligible, else the selected net would be the dense one.
    They are tested once, at the very end. A loss that is not finite ends the run as diverged.
    """
    training = Training(run.config, build_model)
    checkpoints = Checkpoints(run.dir)
    _resume(training, checkpoints)
    while training.progress.epoch < training.num_epochs:
        epoch = training.progress.epoch + 1
        metrics = training.run_epoch()
        go_on = run.report(step=epoch * len(training.train_batches), epoch=epoch, **metrics)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"epoch {epoch}/{training.num_epochs}  {shown}", flush=True)
        if not math.isfinite(metrics["train_loss"] + metrics["val_loss"]):
            return _finish_diverged(run, training, epoch, metrics)
        _advance(training, checkpoints, metrics)
        if not go_on:
            print(f"told to stop: saved after epoch {epoch}", flush=True)
            return STOPPED
    return _finish(run, training, checkpoints)


def _resume(training: Training, checkpoints: Checkpoints) -> None:
    state, reason = checkpoints.load_last()
    if reason:
        print(f"starting afresh: {reason}", flush=True)
    if state is not None:
        training.load_state_dict(state)
        print(f"going on after epoch {training.progress.epoch}", flush=True)


def _advance(training: Training, checkpoints: Checkpoints, metrics: dict[str, float]) -> None:
    """Count the epoch, keep its weights if they are the best, save."""
    progress = training.progress
    epoch = progress.epoch + 1
    training.schedule.step()
    training.progress = replace(progress, epoch=epoch, train_time_s=progress.train_time_s + metrics["epoch_time_s"])
    if training.is_eligible(epoch) and progress.is_beaten_by(metrics):
        training.progress = replace(
            training.progress,
            best_epoch=epoch,
            best_val_acc=metrics["val_acc"],
            best_val_loss=metrics["val_loss"],
            best_train_loss=metrics["train_loss"],
        )
        checkpoints.save_best(training.model.state_dict(), epoch)
    checkpoints.save_last(training.state_dict(), needs_best=training.progress.best_epoch > 0)


def _finish(run: Run, training: Training, checkpoints: Checkpoints) -> int:
    progress = training.progress
    training.model.load_state_dict(checkpoints.load_best()["model"])
    test_acc, test_loss = training.test()
    run.finish(
        effective=training.effective,
        val_acc=progress.best_val_acc,
        val_loss=progress.best_val_loss,
        train_loss=progress.best_train_loss,
        test_acc=test_acc,
        test_loss=test_loss,
        best_epoch=progress.best_epoch,
        final_sparsity=measured_sparsity(training.model),
        train_time_s=progress.train_time_s,
        epoch_time_s=progress.train_time_s / progress.epoch,
    )
    return 0


def _finish_diverged(run: Run, training: Training, epoch: int, metrics: dict[str, float]) -> int:
    reason = f"epoch {epoch}: train_loss is {metrics['train_loss']}, val_loss is {metrics['val_loss']}"
    print(f"diverged: {reason}", flush=True)
    run.finish(
        effective=training.effective,
        status="diverged",
        reason=reason,
        train_loss=metrics["train_loss"],
        val_loss=metrics["val_loss"],
        val_acc=metrics["val_acc"],
    )
    return 0
