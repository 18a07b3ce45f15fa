"""Numbers, bytes and operations of networks are counted as they are, and once."""

import pytest
import torch
from torch import Tensor, nn

from ksweep.nn.low_rank import LowRankLinear
from ksweep.nn.random_feature_attention import RandomFeatureAttention
from ksweep.nn.sizes import Sizes, count_flops, own_sizes, sizes, sizes_of_layers
from ksweep.nn.sketched import SketchedLinear
from models.lenet5.model import LeNet5
from models.transformer.model import Transformer
from models.transformer.settings import Settings

NUM_TOKENS, LENGTH, WIDTH = 50, 12, 16


def make_transformer(*, is_head_tied: bool) -> Transformer:
    settings = Settings(
        task="language-model",
        d_model=WIDTH,
        num_layers=2,
        num_heads=2,
        mlp_ratio=3,
        positions="rotary",
        mlp="gelu",
        dropout=0.0,
        is_head_tied=is_head_tied,
        halting=None,
        experts=None,
    )
    return Transformer(settings, num_tokens=NUM_TOKENS, num_outputs=NUM_TOKENS, length=LENGTH)


def holding(*tensors: Tensor, buffers: tuple[Tensor, ...] = ()) -> nn.Module:
    """A module whose parameters and buffers these are."""
    module = nn.Module()
    for number, tensor in enumerate(tensors):
        module.register_parameter(f"parameter{number}", nn.Parameter(tensor, requires_grad=False))
    for number, tensor in enumerate(buffers):
        module.register_buffer(f"buffer{number}", tensor)
    return module


def counts(model: nn.Module) -> tuple[int, int, int]:
    found = sizes(model)
    return found.num_params, found.num_buffers, found.num_bytes


def test_parameters_buffers_and_bytes_of_a_known_network() -> None:
    found = sizes(LeNet5(1, 10))
    assert (found.num_params, found.num_buffers) == (61_750, 2 * (6 + 16) + 2)
    assert found.num_bytes == 4 * 61_750 + 4 * 44 + 2 * 8, "two int64 counters of batches"
    assert found.num_stored == 61_750 + 46


def test_bytes_are_those_of_the_numbers_kinds() -> None:
    assert counts(nn.Linear(8, 4).bfloat16()) == (36, 0, 72)
    assert counts(holding(torch.zeros(3), buffers=(torch.zeros(5, dtype=torch.float64), torch.zeros(7).bool()))) == (3, 12, 59)


def test_tied_embeddings_count_once_at_their_first_name() -> None:
    tied, untied = (make_transformer(is_head_tied=is_tied) for is_tied in (True, False))
    assert sizes(untied).num_params - sizes(tied).num_params == NUM_TOKENS * WIDTH
    assert sizes(tied).num_params == sum(parameter.numel() for parameter in tied.parameters())
    layers = sizes_of_layers(tied)
    names = [name for name, module in tied.named_modules() if getattr(module, "weight", None) is tied.head.weight]
    assert [layers[name].num_params for name in names] == [NUM_TOKENS * WIDTH, 0]


@pytest.mark.parametrize("make_model", [lambda: LeNet5(1, 10), lambda: make_transformer(is_head_tied=True)])
def test_a_module_counts_what_is_in_it_and_the_model_all(make_model) -> None:
    model = make_model()
    layers, own = sizes_of_layers(model), own_sizes(model)

    assert list(layers) == list(own) == [name for name, _ in model.named_modules(remove_duplicate=False)]
    assert layers[""] == sizes(model) == sum(own.values(), Sizes(num_params=0, num_buffers=0, num_bytes=0))
    for name, module in model.named_modules():
        inside = [own[f"{name}.{part}".strip(".")] for part, _ in module.named_modules()]
        assert layers[name].num_bytes == sum(part.num_bytes for part in inside)


def test_a_module_with_two_names_counts_at_the_first() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared))
    layers = sizes_of_layers(model)
    assert {name: found.num_params for name, found in layers.items()} == {"": 20, "0": 20, "1": 0, "2": 0, "2.0": 0}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_views_of_one_storage_count_by_what_they_cover(device: str) -> None:
    block = torch.zeros(10, 6, device=device)
    flat = block.view(-1)

    assert counts(holding(block, block.T)) == (60, 0, 240)
    assert counts(holding(flat[:40], flat[30:])) == (60, 0, 240), "they overlap"
    assert counts(holding(flat[:20], flat[40:])) == (40, 0, 160), "they do not"
    assert counts(holding(block[:, :2], block[:, 4:])) == (40, 0, 160), "columns"
    assert counts(holding(block[::2], block[:, ::3])) == (30 + 20 - 10, 0, 160), "rows and columns cross"
    assert counts(holding(flat[:1].expand(100))) == (1, 0, 4), "one number, a hundred times"
    assert counts(holding(torch.zeros(10, 6, device=device), torch.zeros(10, 6, device=device))) == (120, 0, 480)
    assert counts(holding(torch.zeros(0, device=device), torch.zeros((), device=device))) == (1, 0, 4)


def test_a_parameter_that_is_a_buffer_too_is_a_parameter() -> None:
    weight = torch.zeros(5)
    model = nn.Sequential(holding(buffers=(weight,)), holding(weight))
    assert counts(model) == (5, 0, 20)
    assert {name: found.num_bytes for name, found in sizes_of_layers(model).items()} == {"": 20, "0": 0, "1": 20}


def test_views_of_other_kinds_of_numbers_share_their_bytes() -> None:
    numbers = torch.zeros(4, dtype=torch.complex64)
    assert sizes(holding(numbers, torch.view_as_real(numbers))).num_bytes == 32


def test_sparse_tensors_count_what_they_hold() -> None:
    matrix = torch.eye(100)
    assert counts(holding(buffers=(matrix.to_sparse(),))) == (0, 300, 100 * (8 + 8 + 4))
    with pytest.warns(UserWarning, match="Sparse CSR"):
        rows = matrix.to_sparse_csr()
    assert sizes(holding(buffers=(rows,))).num_bytes == 101 * 8 + 100 * 8 + 100 * 4


def test_compressed_layers_count_their_buffers() -> None:
    low_rank, sketched = LowRankLinear(64, 32, 4), SketchedLinear(64, 32, num_terms=2, low_rank=3)
    assert counts(low_rank) == (4 * 96 + 32, 0, 4 * (4 * 96 + 32))
    for _ in range(2):  # a forward pass may join its weights in memory: as many numbers
        assert counts(sketched) == (6 * 96 + 32, 6 * 96, 4 * (12 * 96 + 32))
        sketched(torch.zeros(1, 64))
    attention = RandomFeatureAttention(16, 2, 20)
    assert counts(attention) == (4 * 16 * 16 + 4 * 16, 20 * 8, 4 * (4 * 16 * 16 + 4 * 16 + 20 * 8))


def test_a_lazy_layer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"1\.weight has no shape yet"):
        sizes(nn.Sequential(nn.ReLU(), nn.LazyLinear(3)))


# Operations.


def test_products_and_convolutions_count_two_a_multiply_add() -> None:
    assert count_flops(nn.Linear(8, 4), torch.zeros(5, 8)) == 2 * 5 * 8 * 4
    assert count_flops(nn.Linear(8, 4), torch.zeros(8)) == 2 * 8 * 4
    assert count_flops(nn.Conv2d(3, 6, 5, groups=3), torch.zeros(2, 3, 12, 12)) == 2 * (2 * 8 * 8 * 6 * 25)
    assert count_flops(LowRankLinear(8, 4, 2), torch.zeros(5, 8)) == 2 * 5 * 2 * (8 + 4)
    assert count_flops(SketchedLinear(8, 4, num_terms=1, low_rank=1), torch.zeros(5, 8)) == 2 * 5 * 2 * (8 + 4)


class Apply(nn.Module):
    """Calls a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.forward = function


def test_what_torchs_counter_passes_over_counts_too() -> None:
    q, matrix, vector = torch.zeros(2, 3, 7, 4), torch.zeros(5, 6), torch.zeros(6)
    attention = Apply(nn.functional.scaled_dot_product_attention)
    assert count_flops(attention, q, q, q) == count_flops(attention, q, q, q, is_causal=True) == 2 * (2 * 3 * 7 * 7 * 4) * 2
    assert count_flops(Apply(torch.mv), matrix, vector) == count_flops(Apply(torch.addmv), torch.zeros(5), matrix, vector) == 60
    assert count_flops(Apply(torch.dot), vector, vector) == 12
    rows = 3 * 2
    assert count_flops(nn.LSTM(4, 5, num_layers=2), torch.zeros(3, 2, 4)) == 2 * rows * (20 * 4 + 20 * 5 + 20 * 5 + 20 * 5)


@pytest.mark.parametrize("is_training", [True, False])
def test_an_encoder_counts_all_its_products_in_either_mode(is_training: bool) -> None:
    """In evaluation mode torch runs it as one operation, which its own counter takes for nothing."""
    length, width, hidden = 5, 8, 16
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True), 2).train(is_training)
    a_token = 4 * width**2 + 2 * width * hidden + 2 * length * width
    assert count_flops(model, torch.zeros(3, length, width)) == 2 * 2 * 3 * length * a_token
    assert torch.backends.mha.get_fastpath_enabled()


def test_random_features_cost_a_multiple_of_the_length_and_attention_its_square() -> None:
    dense = nn.MultiheadAttention(16, 2, batch_first=True)
    layer = RandomFeatureAttention.from_dense(dense, 32)

    def flops(attention: nn.Module, length: int) -> int:
        inputs = torch.zeros(1, length, 16)
        return count_flops(attention, inputs, inputs, inputs, need_weights=False)

    assert flops(layer, 2048) == 2 * flops(layer, 1024)
    assert flops(dense, 2048) > 3.5 * flops(dense, 1024)
    assert flops(layer, 2048) < flops(dense, 2048)


def test_counting_changes_nothing_of_the_model() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 4)).train()
    model[0].eval()
    state, random_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    count_flops(model, torch.ones(3, 4))
    with pytest.raises(RuntimeError, match="running_mean should contain 5 elements"):
        count_flops(model, torch.ones(3, 5))

    assert [module.training for module in model] == [False, True, True]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.backends.mha.get_fastpath_enabled()
