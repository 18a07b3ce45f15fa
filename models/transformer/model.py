"""The network: a pre-norm transformer of which each token may leave before the last layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.transformer.blocks import Block, Rotary, initialize
from models.transformer.halting import Act, HaltingUnit, PonderNet
from models.transformer.moe import Mixture
from models.transformer.settings import Settings

IGNORED = -100  # a target that is not asked for


class Output(NamedTuple):
    """What a forward pass gives.

    `logits`: [B, T, vocabulary] of a language model, [B, classes] of a classifier; in training with PonderNet one more dimension
    in front, the layers. `ponder`: the cost of depth, mean over tokens; none in an evaluation with PonderNet, where the chances
    of the layers that were skipped are not known. `balance`: of the experts, mean over all layers; one that no token enters
    counts 0. `depth`: int64 [B, T], the layers that a token enters, 1 to L. `weights`: in training [L, B, T], what each counts.
    """

    logits: Tensor
    ponder: Tensor | None = None
    balance: Tensor | None = None
    depth: Tensor | None = None
    weights: Tensor | None = None


class Transformer(nn.Module):
    """Embedding, blocks, norm, head; with halting, a unit after each block but the last says which tokens stop there.

    A token that has stopped keeps its state: later layers leave it as it is, and tokens that still run attend to it. In
    training all tokens are computed and those that stopped are masked; in evaluation they are skipped, with the same result.
    PonderNet's training needs the outputs of all layers: there a token is computed beyond its stop too, but the others attend to
    the state that it stopped with, as in evaluation. A classifier with PonderNet stops all tokens of a sequence together, by the
    mean of their logits: what stops is what is predicted. With ACT each token stops by itself.

    `num_tokens`: size of the vocabulary; `num_outputs`: the same for a language model, or the number of classes; `length`: the
    longest sequence.
    """

    def __init__(self, settings: Settings, *, num_tokens: int, num_outputs: int, length: int) -> None:
        super().__init__()
        width, halting = settings.d_model, settings.halting
        self.settings = settings
        self.embedding = nn.Embedding(num_tokens, width)
        is_rotary = settings.positions == "rotary"
        self.positions = None if is_rotary else nn.Embedding(length, width)
        rotary = Rotary(width // settings.num_heads, length) if is_rotary else None
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings, rotary) for _ in range(settings.num_layers))
        # None after the last block: there everything stops, whatever a unit says.
        self.halting_units = nn.ModuleList(HaltingUnit(width) for _ in range(settings.num_layers - 1 if halting else 0))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs, bias=not settings.is_language_model)
        initialize(self, settings.num_layers)
        if settings.is_head_tied:
            self.head.weight = self.embedding.weight
        self.halting_rule: Act | PonderNet | None = None
        if halting:
            self.halting_rule = Act(halting.threshold) if halting.prior is None else PonderNet(halting.threshold, halting.prior)
            for unit in self.halting_units:
                assert isinstance(unit, HaltingUnit)
                nn.init.constant_(unit.linear.bias, halting.bias)
        self._is_full_depth, self._skips = False, True

    def forward(self, tokens: Tensor) -> Output:
        """Tokens int [B, T], T up to the longest sequence. Training and evaluation differ as the class says."""
        x = self.embedding(tokens)  # [B, T, d]
        if self.positions is not None:
            x = x + self.positions.weight[: tokens.shape[1]]
        x = self.dropout(x)
        rule = self.halting_rule
        if rule is None or not self.is_adaptive:
            return self._plain(x)
        if not self.training and self._skips:
            return self._skipping(x, rule)
        return self._masked_act(x, rule) if isinstance(rule, Act) else self._masked_pondernet(x, rule)

    @property
    def is_adaptive(self) -> bool:
        """Whether tokens may stop before the last layer now."""
        return self.halting_rule is not None and not self._is_full_depth

    def stages(self) -> Iterator[tuple[Block, nn.Module | None]]:
        """Each block with the halting unit behind it; there is none behind the last."""
        yield from zip_longest(cast("list[Block]", self.blocks), self.halting_units)

    @contextmanager
    def full_depth(self) -> Iterator[None]:
        """Within it halting is off: every token goes through all layers, and the last state is the output."""
        self._is_full_depth = True
        try:
            yield
        finally:
            self._is_full_depth = False

    @contextmanager
    def all_layers(self) -> Iterator[None]:
        """Within it evaluation skips nothing: it gives the same, slower, and all that training gives."""
        self._skips = False
        try:
            yield
        finally:
            self._skips = True

    def cross_entropy(self, output: Output, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean over the targets that are not -100; with PonderNet's weights of its layers in training.

        `targets`: int64 [B, T] of a language model, [B] of a classifier.
        """
        logits, weights = output.logits, output.weights
        if weights is None or logits.ndim == targets.ndim + 1:
            return F.cross_entropy(
                logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
            )
        losses = F.cross_entropy(
            logits.flatten(0, -2),
            targets.expand(len(logits), *targets.shape).flatten(),
            ignore_index=IGNORED,
            label_smoothing=label_smoothing,
            reduction="none",
        ).view(logits.shape[:-1])
        if targets.ndim == 1:
            weights = weights[..., 0]  # the same for all tokens of a sequence
        return (weights * losses).sum() / (targets != IGNORED).sum()

    def loss(self, output: Output, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """What is trained on: cross-entropy + ACT_LAMBDA * ponder + MOE_BALANCE * balance."""
        loss = self.cross_entropy(output, targets, label_smoothing)
        halting, experts = self.settings.halting, self.settings.experts
        if halting and output.ponder is not None:
            loss = loss + halting.ponder_weight * output.ponder
        if experts and output.balance is not None:
            loss = loss + experts.balance_weight * output.balance
        return loss

    def effective(self) -> dict[str, Any]:
        """What the constructed layers are: the proof that the configuration arrived."""
        block: Any = self.blocks[0]
        mlp: Any = block.mlp.experts[0] if isinstance(block.mlp, Mixture) else block.mlp
        rule, settings = self.halting_rule, self.settings
        return {
            "d_model": self.embedding.embedding_dim,
            "layers": len(self.blocks),
            "heads": block.attention.num_heads,
            "is_causal": block.attention.is_causal,
            "positions": "learned" if self.positions is not None else type(block.attention.rotary).__name__.lower(),
            "mlp": type(mlp).__name__,
            "mlp_hidden": mlp.down.in_features,
            "tied_head": self.head.weight is self.embedding.weight,
            "dropout": self.dropout.p,
            "experts": len(block.mlp.experts) if settings.experts else 1,
            "experts_per_token": block.mlp.top_k if settings.experts else 1,
            "balance_weight": settings.experts.balance_weight if settings.experts else None,
            "halting": type(rule).__name__.lower() if rule else "none",
            "halting_threshold": rule.threshold if rule else None,
            "halting_prior": rule.prior if isinstance(rule, PonderNet) else None,
            "halting_bias": settings.halting.bias if settings.halting else None,
            "ponder_weight": settings.halting.ponder_weight if settings.halting else None,
        }

    def _predict(self, x: Tensor) -> Tensor:
        """States [..., T, d] to logits."""
        x = self.norm(x)
        logits: Tensor = self.head(x if self.settings.is_language_model else x.mean(-2))
        return logits

    def _plain(self, x: Tensor) -> Output:
        balances = []
        for block in self.blocks:
            x, balance = block(x)
            balances.append(balance)
        return Output(self._predict(x), balance=self._mean(balances))

    def _masked_act(self, x: Tensor, rule: Act) -> Output:
        lefts, balances = [rule.start(x)], []
        states: list[Tensor] = []
        for block, unit in self.stages():
            is_running = rule.is_running(lefts[-1])
            new, balance = block(x, None, is_running)
            x = torch.where(is_running.unsqueeze(-1), new, x)
            lefts.append(rule.after(lefts[-1], self._stop_logits(unit, x, x.shape[1])))
            states.append(x)
            balances.append(balance)
        left = torch.stack(lefts)  # [L + 1, B, T]
        weights = rule.weights(left)
        x = (weights.unsqueeze(-1) * torch.stack(states)).sum(0)
        return Output(self._predict(x), rule.ponder(left), self._mean(balances), rule.depth(left), weights)

    def _masked_pondernet(self, x: Tensor, rule: PonderNet) -> Output:
        kept = x  # what other tokens see: the states as they are, or were where they stopped
        lefts, balances = [rule.start(x)], []
        states: list[Tensor] = []
        said = []
        for block, unit in self.stages():
            is_running = rule.is_running(lefts[-1])
            x, balance = block(x, kept if states else None, is_running)
            kept = torch.where(is_running.unsqueeze(-1), x, kept)
            logits = self._stop_logits(unit, x, x.shape[1])
            lefts.append(rule.after(lefts[-1], logits))
            said += [] if logits is None else [logits]
            states.append(x)
            balances.append(balance)
        left = torch.stack(lefts)  # [L + 1, B, T]
        log_weights = rule.log_weights(left, torch.stack(said))
        x = torch.stack(states)
        ponder = rule.ponder(log_weights)
        return Output(self._predict(x), ponder, self._mean(balances), rule.depth(left), log_weights.exp())

    def _skipping(self, x: Tensor, rule: Act | PonderNet) -> Output:
        """Only running tokens go through a block. What the others are, and have left, stays as it is."""
        batch = x.shape[:2]
        x = x.flatten(0, 1)  # [B * T, d]
        lefts, balances, output = [rule.start(x)], [], torch.zeros_like(x)
        for block, unit in self.stages():
            is_running = rule.is_running(lefts[-1])
            index = is_running.nonzero().squeeze(1)  # [R]
            if not len(index):
                break
            new, balance = block.some(x.unflatten(0, batch), is_running.unflatten(0, batch))  # [R, d]
            before = lefts[-1][index]
            after = rule.after(before, self._stop_logits(unit, new, batch[1]))
            if isinstance(rule, Act):
                weights = rule.weights(torch.stack([before, after]))[0]
                output = output.index_add(0, index, weights.unsqueeze(-1) * new)
            x = x.index_copy(0, index, new)
            lefts.append(lefts[-1].index_copy(0, index, after))
            balances.append(balance)
        left = torch.stack(lefts).unflatten(1, batch)
        if isinstance(rule, Act):
            return Output(self._predict(output.unflatten(0, batch)), rule.ponder(left), self._mean(balances), rule.depth(left))
        return Output(self._predict(x.unflatten(0, batch)), None, self._mean(balances), rule.depth(left))

    def _stop_logits(self, unit: nn.Module | None, x: Tensor, length: int) -> Tensor | None:
        """The halting unit's logits for x [..., d]; None after the last block. Where sequences stop as one, the mean of each.

        `length`: tokens of a sequence, which then has all its tokens in `x`.
        """
        if unit is None:
            return None
        logits: Tensor = unit(x)
        if self.settings.is_language_model or isinstance(self.halting_rule, Act):
            return logits
        return logits.view(-1, length).mean(1, keepdim=True).expand(-1, length).reshape(logits.shape)

    def _mean(self, balances: list[Tensor | None]) -> Tensor | None:
        """Over all layers; one that no token enters counts 0."""
        found = [balance for balance in balances if balance is not None]
        return torch.stack(found).sum() / len(self.blocks) if found else None
