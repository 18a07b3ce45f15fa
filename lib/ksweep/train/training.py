"""All objects of one run and their state; one step, one epoch, one evaluation.

Nothing is copied from the device to the host within an epoch, but two handfuls of sums at its end.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.augment import Augment
from ksweep.data.dataset import DataSet, load
from ksweep.data.loader import EVALUATION_BATCH, Batches
from ksweep.optim.build import build_optimizer, effective_settings
from ksweep.prune.build import build_pruner
from ksweep.prune.weights import prunable_weights, share_of_zeros
from ksweep.train.device import autocast_type, use_deterministic_algorithms, use_device
from ksweep.train.early_stopping import read_early_stopping
from ksweep.train.lr_schedule import read_lr_schedule
from ksweep.train.seeding import data_generator, random_state, restore_random_state, seed_all

ModelBuilder = Callable[[RunConfig, DataSet], nn.Module]
COUNTED = ("spam_step",)  # in an optimizer's groups like its settings, but state: AdamWSPAM's own count of steps


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands. Of the best epoch so far: its number (0: none yet), its key and its metrics; and of the last one
    that was an improvement (see EarlyStopping). Where nothing is validated, each epoch is the best one.

    `train_time_s`: all epochs with their validation; `peak_memory_mib`: the most of all attempts. `parent`: the run that it was
    taken over from, after its epoch `parent_epoch`; all numbers count that run's epochs as well.
    """

    epoch: int = 0
    train_time_s: float = 0.0
    peak_memory_mib: float = 0.0
    best_epoch: int = 0
    best_val_acc: float = -math.inf
    best_val_loss: float = math.inf
    best_train_loss: float = math.inf
    improved_epoch: int = 0
    improved_val_acc: float = -math.inf
    improved_val_loss: float = math.inf
    parent: str = ""
    parent_epoch: int = 0

    def without_best(self) -> "Progress":
        """As if no epoch had been the best yet."""
        fresh = Progress()
        return replace(
            self,
            best_epoch=fresh.best_epoch,
            best_val_acc=fresh.best_val_acc,
            best_val_loss=fresh.best_val_loss,
            best_train_loss=fresh.best_train_loss,
        )

    def after(
        self, metrics: dict[str, float], *, peak_memory_mib: float, is_eligible: bool, min_delta: float = 0.0
    ) -> "Progress":
        """One epoch further; it is the best one if it is eligible and beats the best so far.

        One epoch beats another by a higher validation accuracy, or by the same with a lower loss. Without these there is nothing
        to select by, and the last one counts.
        """
        progress = replace(
            self,
            epoch=self.epoch + 1,
            train_time_s=self.train_time_s + metrics["epoch_time_s"],
            peak_memory_mib=max(self.peak_memory_mib, peak_memory_mib),
        )
        if "val_acc" not in metrics:
            return replace(progress, best_epoch=progress.epoch, best_train_loss=metrics["train_loss"])
        if not is_eligible:
            return progress
        val_acc, val_loss = metrics["val_acc"], metrics["val_loss"]
        # Not by what is the best: without_best() forgets that for a while.
        is_improved = (val_acc, -val_loss) > (self.improved_val_acc, -self.improved_val_loss)
        if is_improved and val_acc >= self.improved_val_acc + min_delta:
            progress = replace(progress, improved_epoch=progress.epoch, improved_val_acc=val_acc, improved_val_loss=val_loss)
        if (val_acc, -val_loss) > (self.best_val_acc, -self.best_val_loss):
            train_loss = metrics["train_loss"]
            progress = replace(
                progress,
                best_epoch=progress.epoch,
                best_val_acc=val_acc,
                best_val_loss=val_loss,
                best_train_loss=train_loss,
            )
        return progress


class Training:
    """All objects of one run, and their state. `build_model` gets the configuration and the data set.

    Each batch goes through the network in `num_micro_batches` parts, whose gradients add up to the batch's. ConfigError when the
    configuration asks for what is not to be had.
    """

    def __init__(self, cfg: RunConfig, build_model: ModelBuilder, num_micro_batches: int) -> None:
        self.device = use_device(cfg)
        self.autocast = autocast_type(cfg, self.device)
        seed = cfg.int("SEED")
        seed_all(seed)
        use_deterministic_algorithms(cfg, self.device)
        self.num_epochs = cfg.int("NUM_EPOCHS")
        self.num_micro_batches = num_micro_batches
        self.label_smoothing = cfg.float("LABEL_SMOOTHING")
        self.order = data_generator(seed)
        self._load_data(cfg)
        self.model = build_model(cfg, self.data).to(self.device)
        if self.device.type == "cuda":
            # Not on a CPU: where the images lie so it gains nothing, and a fused AdamW step takes 2.4 times as long.
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
        self.network = torch.compile(self.model) if cfg.bool("TORCH_COMPILE") else self.model
        self.optimizer = build_optimizer(cfg, self.model)
        steps_per_epoch = len(self.train_batches)
        self.pruner = build_pruner(cfg, self.model, self.optimizer, steps_per_epoch)
        lr_schedule = read_lr_schedule(cfg, num_epochs=self.num_epochs, steps_per_epoch=steps_per_epoch)
        self.early_stopping = read_early_stopping(cfg)
        self.effective = self._effective() | {"lr_schedule": asdict(lr_schedule)}
        self.lr_schedule = lr_schedule.attach(self.optimizer)
        self.progress = Progress()

    def _load_data(self, cfg: RunConfig) -> None:
        num_workers, batch_size = cfg.int("NUM_WORKERS"), cfg.int("BATCH_SIZE")
        augment = Augment(padding=cfg.int("RANDOM_CROP"), flip=cfg.bool("RANDOM_FLIP"), generator=self.order, device=self.device)
        data = load(cfg)
        if batch_size > len(data.train):
            raise ConfigError(
                f"{cfg.source}: CONFIG_BATCH_SIZE: found {batch_size}, allowed: up to {len(data.train)},"
                f" the training examples of {data.name}"
            )
        self.data = data if num_workers else data.to(self.device)
        self.side = cfg.int("IMAGE_SIZE")
        self.train_batches = Batches(
            self.data,
            self.data.train,
            batch_size=batch_size,
            device=self.device,
            side=self.side,
            num_workers=num_workers,
            generator=self.order,
            augment=augment if augment.padding or augment.flip else None,
        )

    def evaluation_batches(self, part: Tensor) -> Batches:
        """The batches of `part` (validation or test), in order, as they are."""
        # Without gradients four times as many images fit: so evaluation needs no more memory than a step, however it is split.
        micro_batch = -(-self.train_batches.order.batch_size // self.num_micro_batches)
        batch_size = min(EVALUATION_BATCH, 4 * micro_batch)
        return Batches(self.data, part, batch_size=batch_size, device=self.device, side=self.side)

    def _effective(self) -> dict[str, Any]:
        """What the constructed objects report of themselves: the proof that the configuration arrived."""
        augment = self.train_batches.augment
        return {
            "optimizer": effective_settings(self.optimizer),
            "pruning": self.pruner.effective() if self.pruner else None,
            "model": type(self.model).__name__,
            "num_parameters": sum(param.numel() for param in self.model.parameters()),
            "dataset": self.data.name,
            "num_examples": {part: len(getattr(self.data, part)) for part in ("train", "val", "test")},
            "image_size": self.train_batches.side,
            "random_crop": augment.padding if augment else 0,
            "random_flip": augment.flip if augment else False,
            "batch_size": self.train_batches.order.batch_size,
            "steps_per_epoch": len(self.train_batches),
            "label_smoothing": self.label_smoothing,
            "device": str(self.device),
            "precision": str(self.autocast or next(self.model.parameters()).dtype).removeprefix("torch."),
            "compiled": self.network is not self.model,
            "deterministic": torch.backends.cudnn.deterministic,
            "num_threads": torch.get_num_threads(),
            "seed": torch.initial_seed(),
            "torch": torch.__version__,
        }

    def train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One optimizer step on one batch; the sum of the losses of its examples, still on the device."""
        num_parts = min(self.num_micro_batches, len(labels))  # the last batch of an epoch may be smaller
        loss_sum = torch.zeros((), device=self.device)
        self.optimizer.zero_grad()
        for part, targets in zip(images.tensor_split(num_parts), labels.tensor_split(num_parts), strict=True):
            with self._forward_format():
                loss = F.cross_entropy(self.network(part), targets, label_smoothing=self.label_smoothing)
            (loss * (len(targets) / len(labels))).backward()
            loss_sum += loss.detach() * len(targets)
        if self.pruner:
            self.pruner.before_step()
        self.optimizer.step()
        if self.pruner:
            self.pruner.after_step()
        self.lr_schedule.step()
        return loss_sum

    def train_epoch(self) -> Tensor:
        """One pass over the training part; the sum of the losses of its examples, float64, still on the device."""
        self.model.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        for images, labels in self.train_batches:
            loss_sum += self.train_step(images, labels)
        return loss_sum

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> Tensor:
        """Sum of the losses (without label smoothing) and number of right answers over one part, float64 [2], on the device."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for images, labels in batches:
            with self._forward_format():
                logits = self.model(images).float()  # [B, classes]; bf16 would sum losses with three digits
            loss_sum = F.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([loss_sum.double(), (logits.argmax(1) == labels).sum().double()])
        return sums

    def _forward_format(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None)

    def run_epoch(self) -> dict[str, float]:
        """Train and validate once; the metrics of the epoch. `epoch_time_s` covers both, `step_time_s` training only."""
        num_examples = self.train_batches.num_examples
        start = time.perf_counter()
        train_loss = self.train_epoch().item() / num_examples  # waits for the device
        steps_s = time.perf_counter() - start
        metrics = {
            "train_loss": train_loss,
            **(self.validate() if self.is_validated else {}),
            "epoch_time_s": time.perf_counter() - start,
            "step_time_s": steps_s / len(self.train_batches),
            "images_per_s": num_examples / steps_s,
            "lr": float(self.lr_schedule.get_last_lr()[0]),
        }
        if self.pruner:
            metrics["sparsity"] = self.sparsity()
        return metrics

    @property
    def is_validated(self) -> bool:
        """False when there is no validation part: it is trained on."""
        return len(self.data.val) > 0

    def validate(self) -> dict[str, float]:
        """Loss and accuracy of the weights as they are on the validation part."""
        val_acc, val_loss = self._measure(self.data.val)
        return {"val_loss": val_loss, "val_acc": val_acc}

    def test(self) -> tuple[float, float]:
        """Accuracy and loss of the weights as they are on the test part, which nothing else touches."""
        return self._measure(self.data.test)

    def _measure(self, part: Tensor) -> tuple[float, float]:
        batches = self.evaluation_batches(part)
        loss_sum, num_right = self.evaluate(batches).tolist()
        return num_right / batches.num_examples, loss_sum / batches.num_examples

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
            epoch=progress.epoch, improved_epoch=progress.improved_epoch, improved_val_acc=progress.improved_val_acc
        )

    @property
    def is_over(self) -> bool:
        """True when there is no further epoch."""
        return self.progress.epoch >= self.num_epochs or bool(self.stopped_early)

    def is_eligible(self, epoch: int) -> bool:
        """False while a pruning ramp rises: its validation accuracy is that of a denser net than was asked for."""
        return self.pruner is None or epoch * len(self.train_batches) >= self.pruner.schedule.end_step
