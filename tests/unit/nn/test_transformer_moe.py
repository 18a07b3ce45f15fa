"""The mixture of experts: few experts compute a token, and the router learns."""

import pytest
import torch

from models.transformer.blocks import GeluMlp
from models.transformer.moe import Mixture
from models.transformer.settings import Experts
from tests.unit.nn.transformers import descend, make_tokens, make_transformer


def make_mixture(number: int = 4, top_k: int = 2) -> Mixture:
    torch.manual_seed(1)
    return Mixture(8, number, top_k, lambda: GeluMlp(8, 2))


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_each_token_is_the_sum_of_its_experts_times_their_probabilities(top_k: int) -> None:
    mixture, tokens = make_mixture(top_k=top_k), torch.randn(30, 8)
    outputs, _ = mixture(tokens)
    for token, output in zip(tokens, outputs, strict=True):
        odds = [(weight @ token).exp() for weight in mixture.router.weight]
        best = sorted(range(4), key=lambda number: -odds[number])[:top_k]
        expected = sum(odds[number] / sum(odds) * mixture.experts[number](token) for number in best)

        assert torch.allclose(output, expected, atol=1e-6)


def test_an_expert_computes_only_the_tokens_that_chose_it() -> None:
    mixture, tokens, computed = make_mixture(), torch.randn(50, 8), []
    for expert in mixture.experts:
        expert.register_forward_hook(lambda _, args, __: computed.append(len(args[0])))
    mixture(tokens)

    assert sum(computed) == 2 * len(tokens)
    assert computed == torch.bincount(mixture.router(tokens).topk(2).indices.flatten(), minlength=4).tolist()


def test_the_router_learns_from_the_outputs_even_with_one_expert_a_token() -> None:
    mixture, tokens = make_mixture(top_k=1), torch.randn(50, 8)
    outputs, _ = mixture(tokens)
    (slopes,) = torch.autograd.grad(outputs.square().sum(), mixture.router.weight)

    assert (slopes.abs().sum(1) > 1e-6).all()


def test_balance_is_one_when_experts_are_used_alike_and_their_number_when_one_has_all() -> None:
    mixture = make_mixture(top_k=1)
    tokens = torch.eye(8)[:4].repeat(5, 1)
    with torch.no_grad():
        mixture.router.weight.zero_()
        mixture.router.weight[range(4), range(4)] = 20.0
    alike = mixture(tokens)[1].item()
    with torch.no_grad():
        mixture.router.weight.zero_()
        mixture.router.weight[2] = 20.0

    assert alike == pytest.approx(1, abs=1e-5)
    assert mixture(tokens)[1].item() == pytest.approx(4, abs=1e-5)


def test_balance_is_about_the_tokens_that_count() -> None:
    mixture, tokens, counts = make_mixture(), torch.randn(50, 8), torch.arange(50) % 3 == 0

    assert mixture(tokens, counts)[1].item() == pytest.approx(mixture(tokens[counts])[1].item(), abs=1e-6)
    assert mixture(tokens, torch.zeros(50, dtype=torch.bool))[1].item() == 0


def test_the_balance_in_the_loss_spreads_the_tokens() -> None:
    def largest_share(balance_weight: float) -> float:
        experts = Experts(number=4, top_k=1, balance_weight=balance_weight)
        model, tokens = make_transformer(experts=experts, num_layers=1), make_tokens(batch=16)
        with torch.no_grad():
            model.blocks[0].mlp.router.weight[1:] *= 0.1  # a router that starts with a favourite
        chosen = []
        model.blocks[0].mlp.router.register_forward_hook(lambda _, __, logits: chosen.append(logits.argmax(-1)))
        descend(model, tokens, num_steps=15)
        return torch.bincount(chosen[-1], minlength=4).max().item() / tokens.numel()

    assert largest_share(1.0) < 0.42 < largest_share(0.0)
