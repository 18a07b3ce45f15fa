"""The projection heads: unit rows that a plain restatement gives too, and no setting without an effect."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.heads.heads import HeadSettings, build_head

IN_DIM, OUT_DIM, WIDTH = 22, 6, 12
KINDS = ("siglip", "clip", "mlp", "attention")
ALL_KINDS = pytest.mark.parametrize("kind", KINDS)


def make_settings(kind: str, **changes: Any) -> HeadSettings:
    is_attention = kind == "attention"
    known: dict[str, Any] = {
        "kind": kind,
        "output_dim": OUT_DIM,
        "dropout": 0.0,
        "hidden_dim": 0 if kind == "siglip" else WIDTH,
        "num_tokens": 4 if is_attention else 0,  # pieces of 6: two zeros behind the last
        "num_heads": 2 if is_attention else 0,
        "num_layers": 2 if is_attention else 0,
    }
    return HeadSettings(**known | changes)


def make_head(kind: str, in_dim: int = IN_DIM, **changes: Any) -> nn.Module:
    torch.manual_seed(1)
    return build_head(make_settings(kind, **changes), in_dim)


def make_embeddings(in_dim: int = IN_DIM) -> Tensor:
    return F.normalize(torch.randn(5, in_dim, generator=torch.Generator().manual_seed(2)), dim=-1)


def disturb(head: nn.Module) -> None:
    """Initial zeros and ones of norms and biases would hide one that is missing."""
    with torch.no_grad():
        for weight in head.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)), alpha=0.1)


def restated(head: nn.Module, kind: str, x: Tensor) -> Tensor:
    """What the head gives, in float64: of attention a row, a head and a token at a time."""
    state = {name.removeprefix("body."): value.double() for name, value in head.state_dict().items()}
    x = x.double()

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(()))

    def gelu(x: Tensor) -> Tensor:
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    def attention(x: Tensor, name: str, num_heads: int = 2) -> Tensor:
        queries, keys, values = linear(x, f"{name}.queries_keys_values").split(WIDTH, -1)
        size = WIDTH // num_heads
        y = torch.zeros_like(x)
        for at in range(0, WIDTH, size):
            part = slice(at, at + size)
            for token in range(len(x)):
                odds = (keys[:, part] @ queries[token, part] / math.sqrt(size)).exp()
                y[token, part] = (odds / odds.sum()) @ values[:, part]
        return linear(y, f"{name}.out")

    def from_tokens(row: Tensor) -> Tensor:
        pieces = torch.cat([row, torch.zeros(24 - IN_DIM, dtype=row.dtype)]).view(4, 6)
        tokens = torch.stack([piece @ state["pieces.weight"][i] for i, piece in enumerate(pieces)]) + state["pieces.position"]
        for block in ("blocks.0", "blocks.1"):
            tokens = tokens + attention(norm(tokens, f"{block}.norm1"), f"{block}.attention")
            tokens = tokens + linear(gelu(linear(norm(tokens, f"{block}.norm2"), f"{block}.up")), f"{block}.down")
        return linear(norm(tokens.mean(0), "norm"), "out")

    y = {
        "siglip": lambda: linear(norm(x, "0"), "2"),
        "clip": lambda: linear(gelu(linear(x, "0")), "3"),
        "mlp": lambda: norm(linear(gelu(linear(x, "0")), "3"), "4"),
        "attention": lambda: torch.stack([from_tokens(row) for row in x]),
    }[kind]()
    return y / (y**2).sum(-1, keepdim=True).sqrt()


@ALL_KINDS
def test_equals_a_plain_restatement_of_it(kind: str) -> None:
    head, x = make_head(kind), make_embeddings()
    disturb(head)
    torch.testing.assert_close(head(x).double(), restated(head, kind, x), atol=2e-6, rtol=0)


@ALL_KINDS
def test_rows_have_length_one_and_float32_also_under_autocast(kind: str) -> None:
    head, x = make_head(kind), make_embeddings()
    with torch.autocast("cpu", torch.bfloat16):
        narrow = head(x)
    for y in (head(x), narrow):
        assert y.shape == (5, OUT_DIM)
        assert y.dtype == torch.float32
        torch.testing.assert_close(y.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(narrow, head(x), atol=0.05, rtol=0)


@ALL_KINDS
def test_a_row_of_zeros_gives_no_nan_and_no_huge_gradient(kind: str) -> None:
    head = make_head(kind)
    x = torch.cat([make_embeddings(), torch.zeros(1, IN_DIM)])
    y = head(x)
    assert y.isfinite().all()
    y.sum().backward()
    gradients = [weight.grad for weight in head.parameters() if weight.grad is not None]
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e3


def test_a_row_that_the_body_maps_to_zeros_stays_zeros_and_gives_no_gradient() -> None:
    head = make_head("siglip")  # the norm of zeros is its bias, which starts at 0
    y = head(torch.zeros(1, IN_DIM))
    assert not y.any()
    y.sum().backward()
    assert all(not weight.grad.any() for weight in head.parameters() if weight.grad is not None)


@ALL_KINDS
def test_dropout_changes_training_and_not_evaluation(kind: str) -> None:
    head, x = make_head(kind, dropout=0.5), make_embeddings()
    assert not torch.equal(head(x), head(x))
    head.eval()
    plain = make_head(kind).eval()
    plain.load_state_dict(head.state_dict())
    assert torch.equal(head(x), plain(x))


@ALL_KINDS
def test_every_weight_has_an_effect(kind: str) -> None:
    head, target = make_head(kind), torch.randn(5, OUT_DIM, generator=torch.Generator().manual_seed(4))
    disturb(head)
    (head(make_embeddings()) * target).sum().backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0, name


def test_the_weights_of_siglip_start_as_wide_as_the_embedding_asks() -> None:
    linear = make_head("siglip", 400, output_dim=300).get_submodule("body.2")
    assert isinstance(linear, nn.Linear)
    assert linear.bias is None
    assert linear.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)


def test_the_number_of_heads_changes_the_output() -> None:
    x, outputs = make_embeddings(), []
    for num_heads in (1, 2, 4):
        head = make_head("attention", num_heads=num_heads)  # the same weights: they do not depend on the number
        outputs.append(head(x))
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (outputs[one] - outputs[other]).abs().max() > 1e-3


def test_queries_and_keys_get_a_gradient_in_every_layer() -> None:
    head = make_head("attention")
    (head(make_embeddings()) * torch.arange(OUT_DIM)).sum().backward()
    for block in head.body.blocks:  # type: ignore[union-attr]
        gradient = block.attention.queries_keys_values.weight.grad
        for part in gradient.split(WIDTH):
            assert part.abs().max() > 1e-5


@pytest.mark.parametrize("num_tokens", [1, 3, 4, 22])
def test_every_number_of_an_embedding_is_in_a_token(num_tokens: int) -> None:
    head, x = make_head("attention", num_tokens=num_tokens), make_embeddings().requires_grad_()
    (head(x) * torch.arange(OUT_DIM)).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize(("num_tokens", "filled"), [(12, 11), (23, 22)])
def test_more_tokens_than_an_embedding_fills_are_refused(num_tokens: int, filled: int) -> None:
    with pytest.raises(ValueError, match=f"num_tokens is {num_tokens}, but .* of 22 numbers into {filled}: choose {filled}$"):
        make_head("attention", num_tokens=num_tokens)


def test_pieces_have_different_places() -> None:
    head, x = make_head("attention", 24), make_embeddings(24)
    assert (head(x) - head(x.roll(6, 1))).abs().max() > 1e-3


def test_heads_that_do_not_divide_the_width_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="hidden_dim is 12, which 5 heads do not divide"):
        make_head("attention", num_heads=5)


def test_an_unknown_head_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'align' is not known: choose siglip, clip, attention or mlp"):
        make_head("align")
