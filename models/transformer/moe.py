"""A mixture of experts: each token is computed by the few that a router chooses for it (Fedus, Zoph, Shazeer 2022)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mixture(nn.Module):
    """Several experts, the `top_k` most probable of which compute a token ("Switch Transformers", equations 2 to 6).

    Each chosen expert's output is multiplied by its probability among all, not renormalised: so the router has a gradient with
    one expert a token too. No expert has a limit of tokens, and none is dropped; how many each gets is only known once the router
    has computed, which on a GPU is one wait for the device a layer.
    """

    def __init__(self, d_model: int, number: int, top_k: int, make_expert: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.top_k = top_k
        self.router = nn.Linear(d_model, number, bias=False)
        self.experts = nn.ModuleList(make_expert() for _ in range(number))

    def forward(self, tokens: Tensor, is_counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens [N, d] to ([N, d], balance). `is_counted` bool [N]: those that the balance is about; None: all.

        Balance: number of experts * sum over experts of (share of the choices) * (mean probability); 1 when all are used alike,
        0 where no token counts.
        """
        probabilities = self.router(tokens).softmax(-1)  # [N, E]
        values, chosen = probabilities.topk(self.top_k)  # [N, k]
        is_chosen = F.one_hot(chosen, len(self.experts)).sum(1)  # [N, E]
        outputs = self._compute(tokens, chosen, is_chosen.sum(0).tolist())  # [N, k, d]
        is_counted = torch.ones_like(chosen[:, 0], dtype=torch.bool) if is_counted is None else is_counted
        num_counted = is_counted.sum().clamp(min=1)
        shares = (is_counted.unsqueeze(1) * is_chosen).sum(0) / (num_counted * self.top_k)  # [E]
        means = (is_counted.unsqueeze(1) * probabilities).sum(0) / num_counted  # [E]
        return (outputs * values.unsqueeze(-1)).sum(1), len(self.experts) * (shares * means).sum()

    def _compute(self, tokens: Tensor, chosen: Tensor, counts: list[int]) -> Tensor:
        """The chosen experts' outputs [N, k, d]: each expert computes all its tokens at once."""
        order = chosen.flatten().argsort(stable=True)  # (token, choice) pairs by expert
        pieces = tokens[order // self.top_k].split(counts)
        outputs = torch.cat([expert(piece) for expert, piece in zip(self.experts, pieces, strict=True)])
        return outputs[order.argsort()].unflatten(0, chosen.shape)
