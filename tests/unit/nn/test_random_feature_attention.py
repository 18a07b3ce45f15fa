"""Attention by random features: what it estimates, its linear form, and that it stands where nn.MultiheadAttention stood."""

import copy
import itertools
import warnings

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.autograd import gradcheck

from ksweep.nn import random_feature_attention
from ksweep.nn.random_feature_attention import RandomFeatureAttention, orthogonal_projection

WIDTH, HEADS, LENGTH = 16, 2, 150  # three chunks of causal attention, the last one not full
KERNELS = pytest.mark.parametrize("kernel_fn", RandomFeatureAttention.kernels)
causal_mask = nn.Transformer.generate_square_subsequent_mask


def make_dense(**kinds) -> nn.MultiheadAttention:
    torch.manual_seed(1)
    dense = nn.MultiheadAttention(WIDTH, HEADS, **{"batch_first": True} | kinds)
    for bias in (dense.in_proj_bias, dense.out_proj.bias):
        if bias is not None:
            nn.init.normal_(bias, std=0.1)
    return dense


def make_attention(num_features: int = 32, kernel_fn: str = "softmax", *, seed: int = 2, **kinds) -> RandomFeatureAttention:
    generator = Generator().manual_seed(seed)
    return RandomFeatureAttention.from_dense(make_dense(**kinds), num_features, kernel_fn, generator=generator)


def make_inputs(*shape: int, seed: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=dtype)


def quadratic(layer: RandomFeatureAttention, query: Tensor, key: Tensor, is_causal: bool, masked: Tensor | None = None):
    """Outputs and weights from the definition, with all weights and no stabilising: float64 and small inputs need none."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    q, k, v = (
        (x @ weight.T + bias).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for x, weight, bias in zip((query, key, key), weights, biases, strict=True)
    )
    size = WIDTH // HEADS

    def features(x: Tensor) -> Tensor:
        x = x / size**0.25
        if layer.kernel_fn == "relu":
            return (x @ layer.projection.T).relu() + 0.001
        return (x @ layer.projection.T - x.square().sum(-1, keepdim=True) / 2).exp()

    products = features(q) @ features(k).mT
    products = products.tril() if is_causal else products
    products = products if masked is None else products * ~masked[:, None, None]
    attention = products / products.sum(-1, keepdim=True)
    return layer.out_proj((attention @ v).transpose(1, 2).flatten(2)), attention


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float(((found - wanted).norm() / wanted.norm()).detach())


# What is computed.


@KERNELS
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length", [1, 63, 64, 65, LENGTH])
def test_the_linear_form_is_the_quadratic_one_of_the_same_features(kernel_fn: str, is_causal: bool, length: int) -> None:
    layer = make_attention(kernel_fn=kernel_fn, dtype=torch.float64)
    inputs = make_inputs(2, length, WIDTH, dtype=torch.float64).requires_grad_()
    found, weights = layer(inputs, inputs, inputs, is_causal=is_causal, average_attn_weights=False)
    wanted, wanted_weights = quadratic(layer, inputs, inputs, is_causal)
    towards = make_inputs(2, length, WIDTH, seed=4, dtype=torch.float64)
    own = torch.autograd.grad(found, [inputs, *layer.parameters()], towards)
    gradients = torch.autograd.grad(wanted, [inputs, *layer.parameters()], towards)

    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(weights, wanted_weights, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(own, gradients, rtol=1e-9, atol=1e-10)


@KERNELS
@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_are_those_of_finite_differences(kernel_fn: str, is_causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_feature_attention, "_CHUNK", 2)
    layer = make_attention(4, kernel_fn, dtype=torch.float64)
    padding = torch.tensor([[False, False, False, False, True]])

    def outputs(query: Tensor, key: Tensor, value: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
        return torch.func.functional_call(layer, named, (query, key, value, padding, False, None, True, is_causal))[0]

    inputs = [make_inputs(1, 5, WIDTH, seed=seed, dtype=torch.float64).requires_grad_() for seed in (1, 2, 3)]
    assert gradcheck(outputs, (*inputs, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_error_against_exact_attention_falls_as_the_root_of_the_number_of_features(is_causal: bool) -> None:
    dense, inputs = make_dense(), make_inputs(2, LENGTH, WIDTH) / 2
    mask = causal_mask(LENGTH) if is_causal else None
    wanted, wanted_weights = dense(inputs, inputs, inputs, attn_mask=mask)

    def errors(num_features: int) -> tuple[float, float]:
        """Of outputs and weights: means of four draws."""
        pairs = []
        for seed in range(4):
            generator = Generator().manual_seed(seed)
            layer = RandomFeatureAttention.from_dense(dense, num_features, generator=generator)
            found, weights = layer(inputs, inputs, inputs, attn_mask=mask)
            pairs.append((relative_error(found, wanted), relative_error(weights, wanted_weights)))
        return tuple(sum(column) / len(pairs) for column in zip(*pairs, strict=True))

    by_number = [errors(num_features) for num_features in (16, 64, 256, 1024)]
    for few, many in itertools.pairwise(by_number):  # four times the features: half the error
        assert all(0.3 < own / before < 0.75 for own, before in zip(many, few, strict=True)), by_number
    assert max(by_number[-1]) < 0.06


def test_projection_rows_are_orthogonal_in_blocks_and_as_long_as_gaussian_ones() -> None:
    rows = orthogonal_projection(4000 + 3, 8, Generator().manual_seed(1))
    directions = rows / rows.norm(dim=1, keepdim=True)
    blocks = directions[:4000].unflatten(0, (-1, 8))

    assert rows.shape == (4003, 8)
    torch.testing.assert_close(blocks @ blocks.mT, torch.eye(8, dtype=rows.dtype).expand(500, 8, 8), rtol=0, atol=1e-12)
    assert rows.square().sum(1).mean() == pytest.approx(8, rel=0.03), "mean of a chi-squared number of 8 degrees"
    assert rows.square().sum(1).var() == pytest.approx(16, rel=0.15)
    assert rows.mean(0).abs().max() < 4 / 4000**0.5, "no direction is preferred: q of a QR factorisation alone has some"


def test_exact_attention_to_one_key_is_that_keys_value() -> None:
    dense, layer = make_dense(), make_attention(8)
    query, key = make_inputs(2, 5, WIDTH), make_inputs(2, 1, WIDTH, seed=4)
    torch.testing.assert_close(layer(query, key, key)[0], dense(query, key, key)[0], rtol=1e-4, atol=1e-6)


@KERNELS
@pytest.mark.parametrize(("scale", "starts"), [(1, (1, 30, 64, 100)), (8, (1, 30, 64, 100)), (100, (1, 64, 128))])
def test_later_tokens_change_no_earlier_output(kernel_fn: str, scale: float, starts: tuple[int, ...]) -> None:
    """Large ones have features of e^-50 and less, which must not vanish beside those of small ones after them.

    Of e^-1000 they do, within one chunk of 64, and their queries attend to them all alike.
    """
    layer = make_attention(kernel_fn=kernel_fn)
    for start in starts:
        early, late = scale * make_inputs(1, start, WIDTH), make_inputs(1, LENGTH - start, WIDTH, seed=9)
        with torch.no_grad():
            alone, followed = (
                layer(x, x, x, need_weights=False, is_causal=True)[0][:, :start] for x in (early, torch.cat([early, late], 1))
            )
        assert relative_error(followed, alone) < 1e-4, start


def test_where_the_last_chunk_is_not_full_nothing_stands_beside_its_tokens() -> None:
    """The keys are of e^-100 and less, and near to each other; what fills the chunk up is of 1."""
    layer, inputs = make_attention(dtype=torch.float64), make_inputs(1, 1, WIDTH, seed=7) * 14 + make_inputs(1, 70, WIDTH) / 10
    wanted = quadratic(layer, inputs.double(), inputs.double(), is_causal=True)[1]
    found = layer.float()(inputs, inputs, inputs, is_causal=True, average_attn_weights=False)[1]
    assert wanted[..., 69, :].std() > 0.001
    torch.testing.assert_close(found, wanted.float(), rtol=1e-3, atol=1e-5)


@KERNELS
@pytest.mark.parametrize("is_causal", [False, True])
def test_keys_left_out_take_no_digits_of_the_others(kernel_fn: str, is_causal: bool) -> None:
    layer, large = make_attention(kernel_fn=kernel_fn), 100 * make_inputs(1, 30, WIDTH)
    both, padding = torch.cat([large, make_inputs(1, 40, WIDTH, seed=9)], 1), torch.arange(70).unsqueeze(0) >= 30
    with torch.no_grad():
        wanted = layer(large, large, large, need_weights=False, is_causal=is_causal)[0]
        found = layer(both, both, both, padding, need_weights=False, is_causal=is_causal)[0][:, :30]
    assert relative_error(found, wanted) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("is_causal", [False, True])
def test_large_inputs_give_means_of_values_and_finite_gradients(scale: float, is_causal: bool) -> None:
    layer, inputs = make_attention(), (scale * make_inputs(2, LENGTH, WIDTH)).requires_grad_()
    outputs, weights = layer(inputs, inputs, inputs, is_causal=is_causal)
    outputs.square().sum().backward()

    assert outputs.isfinite().all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, LENGTH), rtol=0, atol=1e-5)
    assert all(grad.isfinite().all() for grad in (inputs.grad, layer.in_proj_weight.grad))


# Masks.


@KERNELS
@pytest.mark.parametrize("is_causal", [False, True])
def test_padded_keys_count_for_nothing(kernel_fn: str, is_causal: bool) -> None:
    layer, inputs = make_attention(kernel_fn=kernel_fn, dtype=torch.float64), make_inputs(2, LENGTH, WIDTH, dtype=torch.float64)
    padding = torch.zeros(2, LENGTH, dtype=torch.bool)
    padding[0, 100:] = padding[1, 7:70] = True
    wanted, wanted_weights = quadratic(layer, inputs, inputs, is_causal, padding)
    as_float = torch.zeros(2, LENGTH, dtype=torch.float64).masked_fill(padding, -torch.inf)
    for mask in (padding, as_float):
        found, weights = layer(inputs, inputs, inputs, mask, average_attn_weights=False, is_causal=is_causal)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(weights, wanted_weights, rtol=1e-10, atol=1e-12)
    loud = torch.where(padding.unsqueeze(-1), 1e3 * inputs, inputs)
    found = layer(inputs, loud, loud, padding, is_causal=is_causal)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_finite_numbers_of_a_padding_mask_weight_keys_as_in_exact_attention() -> None:
    dense, inputs = make_dense(), make_inputs(1, 20, WIDTH) / 4
    mask = make_inputs(1, 20, seed=5)
    found = make_attention(4096)(inputs, inputs, inputs, mask)[1]
    assert relative_error(found, dense(inputs, inputs, inputs, mask)[1]) < 0.01
    layer = make_attention(kernel_fn="relu")
    plain, weighted = (layer(inputs, inputs, inputs, one, average_attn_weights=False)[1] for one in (None, mask))
    wanted = plain * mask.exp()
    torch.testing.assert_close(weighted, wanted / wanted.sum(-1, keepdim=True))


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_query_without_any_key_gets_the_bias_alone_and_finite_gradients(is_causal: bool) -> None:
    layer, inputs = make_attention(), make_inputs(2, 70, WIDTH).requires_grad_()
    padding = torch.zeros(2, 70, dtype=torch.bool)
    padding[0] = True
    padding[1, :3] = True
    outputs, weights = layer(inputs, inputs, inputs, padding, is_causal=is_causal)
    outputs.sum().backward()

    without = outputs[1, :3] if is_causal else outputs[0]
    torch.testing.assert_close(without, layer.out_proj.bias.expand_as(without))
    assert weights[0].eq(0).all()
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["float", "bool", "float 3-D", "bool 3-D", "lowest float", "hint alone", "mask and hint"])
def test_a_causal_mask_is_known_in_all_its_forms(kind: str) -> None:
    layer, inputs = make_attention(), make_inputs(3, 9, WIDTH)
    wanted = layer(inputs, inputs, inputs, is_causal=True)[0]
    mask: Tensor | None = causal_mask(9)
    if "bool" in kind:
        mask = mask.isneginf()
    if kind == "lowest float":
        mask = mask.clamp(min=torch.finfo(torch.float32).min)
    if "3-D" in kind:
        mask = mask.expand(3 * HEADS, 9, 9)
    if kind == "hint alone":
        mask = None
    found = layer(inputs, inputs, inputs, attn_mask=mask, is_causal="hint" in kind)[0]
    assert torch.equal(found, wanted)
    assert not torch.allclose(found, layer(inputs, inputs, inputs)[0])


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.eye(9, dtype=torch.bool), "know the causal mask alone"),
        (causal_mask(9).T, "know the causal mask alone"),
        (causal_mask(9) + 0.5, "know the causal mask alone"),
        (causal_mask(9).isneginf().logical_not(), "know the causal mask alone"),
        (causal_mask(8), r"attn_mask: found the shape \(8, 8\), needed \(9, 9\)"),
    ],
)
def test_other_masks_are_refused(mask: Tensor, words: str) -> None:
    layer, inputs = make_attention(), make_inputs(3, 9, WIDTH)
    with pytest.raises(ValueError, match=words):
        layer(inputs, inputs, inputs, attn_mask=mask)


def test_causal_attention_to_keys_of_another_length_is_refused() -> None:
    layer = make_attention()
    with pytest.raises(ValueError, match="as many queries as keys: found 9 and 7"):
        layer(make_inputs(1, 9, WIDTH), make_inputs(1, 7, WIDTH), make_inputs(1, 7, WIDTH), is_causal=True)


@pytest.mark.parametrize(
    ("shapes", "mask", "words"),
    [
        (((2, 9, 15), (2, 9, 15), (2, 9, 15)), None, "the last of 16 numbers"),
        (((2, 9, 16), (2, 7, 16), (2, 9, 16)), None, "key and value must have one shape"),
        (((2, 9, 16), (3, 9, 16), (3, 9, 16)), None, "key and value must have one shape"),
        (((9, 16), (2, 9, 16), (2, 9, 16)), None, "needed 2 or 3 dimensions"),
        (((2, 9, 16), (2, 0, 16), (2, 0, 16)), None, "there must be a query and a key: found 9 and 0"),
        (
            ((2, 9, 16),) * 3,
            torch.zeros(9, 2, dtype=torch.bool),
            r"key_padding_mask: found torch.bool \(9, 2\), needed .*\(2, 9\)",
        ),
        (((2, 9, 16),) * 3, torch.zeros(2, 9, dtype=torch.int64), "key_padding_mask: found torch.int64"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, mask: Tensor | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_attention()(*(make_inputs(*shape) for shape in shapes), key_padding_mask=mask)


# A drop-in.


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("is_batched", [True, False])
@pytest.mark.parametrize(("need_weights", "average"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("num_keys", [6, 9])
def test_outputs_and_weights_have_the_shapes_of_nn_multihead_attention(
    batch_first: bool, is_batched: bool, need_weights: bool, average: bool, num_keys: int
) -> None:
    dense = make_dense(batch_first=batch_first)
    layer = make_attention(batch_first=batch_first)
    query, key, padding = make_inputs(3, 6, WIDTH), make_inputs(3, num_keys, WIDTH), torch.zeros(3, num_keys, dtype=torch.bool)
    padding[:, -1] = True
    if not is_batched:
        query, key, padding = query[0], key[0], padding[0]
    elif not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    arguments = {"key_padding_mask": padding, "need_weights": need_weights, "average_attn_weights": average}
    found, weights = layer(query, key, key, **arguments)
    wanted, wanted_weights = dense(query, key, key, **arguments)

    assert found.shape == wanted.shape
    assert (weights is None) == (wanted_weights is None) == (not need_weights)
    assert weights is None or weights.shape == wanted_weights.shape
    assert torch.equal(found, layer(query, key, key, padding, False)[0]), "weights that are asked for change no output"


@pytest.mark.parametrize("batch_first", [True, False])
def test_every_layout_gives_the_same_numbers(batch_first: bool) -> None:
    layer, query, key = make_attention(), make_inputs(3, 6, WIDTH), make_inputs(3, 9, WIDTH, seed=8)
    wanted = layer(query, key, key)[0]
    layer.batch_first = batch_first
    turned = [x if batch_first else x.transpose(0, 1) for x in (query, key)]
    batched = layer(turned[0], turned[1], turned[1].clone())[0]  # keys and values in two products
    torch.testing.assert_close(batched if batch_first else batched.transpose(0, 1), wanted)
    torch.testing.assert_close(layer(query[1], key[1], key[1])[0], wanted[1])


@pytest.mark.parametrize(
    "kinds",
    [{}, {"batch_first": False, "dropout": 0.2}, {"bias": False}, {"dtype": torch.float64}, {"dtype": torch.bfloat16}],
    ids=str,
)
def test_there_and_back_gives_the_same_bits_and_kind(kinds) -> None:
    dense = make_dense(**kinds).eval()
    dense.out_proj.weight.requires_grad_(False)
    layer = RandomFeatureAttention.from_dense(dense, 32)
    back = layer.to_dense()
    flags = {name: weight.requires_grad for name, weight in dense.named_parameters()}

    for other in (layer, back):
        own = dict(other.named_parameters())
        assert list(own) == list(dict(dense.named_parameters()))
        assert all(
            torch.equal(own[name], weight) and own[name].dtype == weight.dtype for name, weight in dense.named_parameters()
        )
        assert all(own[name].data_ptr() != weight.data_ptr() for name, weight in dense.named_parameters())
        assert (other.dropout, other.batch_first, other.training) == (dense.dropout, dense.batch_first, False)
        assert {name: weight.requires_grad for name, weight in other.named_parameters()} == flags
    assert layer.projection.dtype == dense.in_proj_weight.dtype
    query = make_inputs(3, 6, WIDTH).to(dense.in_proj_weight.dtype)
    assert torch.equal(back(query, query, query)[0], dense(query, query, query)[0])


@pytest.mark.parametrize(
    ("kinds", "words"),
    [({"kdim": 8}, "kdim, vdim: found 8, "), ({"add_bias_kv": True}, "add_bias_kv"), ({"add_zero_attn": True}, "add_zero_attn")],
)
def test_attention_of_another_kind_is_not_converted(kinds, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RandomFeatureAttention.from_dense(make_dense(**kinds), 32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((16, 3, 8), "embed_dim: found 16, needed a multiple of num_heads, which is 3"),
        ((16, 2, 0), "num_random_features: found 0"),
        ((16, 2, 8.0), "num_random_features: found 8.0"),
        ((16, 0, 8), "num_heads: found 0"),
        ((16, 2, 8, "gelu"), "kernel_fn: found 'gelu', allowed: softmax relu"),
        ((16, 2, 8, "relu", 1.0), "dropout: found 1.0"),
    ],
)
def test_sizes_that_are_not_allowed_are_refused(arguments, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RandomFeatureAttention(*arguments)


def make_encoder(layer_class=nn.TransformerEncoderLayer, **kinds) -> nn.TransformerEncoderLayer:
    torch.manual_seed(5)
    return layer_class(WIDTH, HEADS, 32, dropout=0.0, batch_first=True, **kinds)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("has_grad", [True, False])
@pytest.mark.parametrize("masks", ["none", "padding", "causal"])
def test_in_a_transformer_encoder_it_is_called_and_no_fused_path_goes_around_it(
    is_training: bool, has_grad: bool, masks: str
) -> None:
    dense = nn.TransformerEncoder(make_encoder(), 2)
    replaced, called = copy.deepcopy(dense), set()
    for number, layer in enumerate(replaced.layers):
        layer.self_attn = RandomFeatureAttention.from_dense(layer.self_attn, 2048)
        # No hook: where there is one, torch leaves its fused path by itself.
        layer.self_attn.forward = noting(layer.self_attn.forward, number, called)
    inputs, padding = make_inputs(3, 9, WIDTH), torch.zeros(3, 9, dtype=torch.bool)
    padding[0, 5:] = True
    arguments = {"none": {}, "padding": {"src_key_padding_mask": padding}, "causal": {"mask": causal_mask(9)}}[masks]
    with torch.set_grad_enabled(has_grad), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")  # by torch, which packs padded sequences
        wanted, found = (model.train(is_training)(inputs, **arguments) for model in (dense, replaced))

    assert called == {0, 1}
    kept = ~padding if masks == "padding" else torch.ones_like(padding)
    assert found.shape == wanted.shape
    assert 0 < relative_error(found[kept], wanted[kept]) < 0.1


def noting(function, number: int, called: set[int]):
    def noted(*args, **kwargs):
        called.add(number)
        return function(*args, **kwargs)

    return noted


def test_in_a_transformer_decoder_it_takes_both_places() -> None:
    dense = nn.TransformerDecoder(make_encoder(nn.TransformerDecoderLayer), 2).eval()
    replaced = copy.deepcopy(dense)
    for layer in replaced.layers:
        layer.self_attn = RandomFeatureAttention.from_dense(layer.self_attn, 2048)
        layer.multihead_attn = RandomFeatureAttention.from_dense(layer.multihead_attn, 2048)
    target, memory = make_inputs(3, 9, WIDTH), make_inputs(3, 5, WIDTH, seed=8)
    wanted, found = (model(target, memory, tgt_mask=causal_mask(9)) for model in (dense, replaced))
    assert 0 < relative_error(found, wanted) < 0.1


def test_a_new_transformer_encoder_takes_layers_with_it() -> None:
    layer = make_encoder()
    layer.self_attn = make_attention()
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with torch.no_grad():
        assert model(make_inputs(3, 9, WIDTH)).isfinite().all()


@KERNELS
def test_it_learns_from_its_initial_weights(kernel_fn: str) -> None:
    """To give each token the one before it, which only attention can."""
    layer = RandomFeatureAttention(WIDTH, HEADS, 32, kernel_fn, batch_first=True, generator=Generator().manual_seed(1))
    inputs = make_inputs(8, 12, WIDTH)
    targets = inputs.mean(1, keepdim=True).expand_as(inputs)
    losses = []
    for _ in range(60):
        loss = (layer(inputs, inputs, inputs, need_weights=False)[0] - targets).square().mean()
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(layer.parameters(), gradients, strict=True):
                weight -= 2.0 * gradient
    assert losses[-1] < 0.2 * losses[0]


# What it keeps to.


def test_dropout_drops_keys_for_all_queries_alike_in_training_alone() -> None:
    layer, inputs = make_attention(dropout=0.5), make_inputs(1, 200, WIDTH)
    exact = make_attention()(inputs, inputs, inputs, average_attn_weights=False)
    for found, wanted in zip(layer.eval()(inputs, inputs, inputs, average_attn_weights=False), exact, strict=True):
        assert torch.equal(found, wanted)
    torch.manual_seed(4)
    outputs, weights = layer.train()(inputs, inputs, inputs, average_attn_weights=False)
    is_dropped = weights.eq(0)

    assert torch.equal(is_dropped.all(2), is_dropped.any(2)), "a key is dropped for all queries or for none"
    assert 0.3 < is_dropped.float().mean() < 0.7
    assert not torch.equal(is_dropped[:, 0], is_dropped[:, 1]), "heads drop keys of their own"
    torch.testing.assert_close(weights[~is_dropped], 2 * exact[1][~is_dropped])
    values = (inputs @ layer.in_proj_weight[2 * WIDTH :].T + layer.in_proj_bias[2 * WIDTH :]).unflatten(-1, (HEADS, -1))
    wanted = layer.out_proj((weights @ values.transpose(1, 2)).transpose(1, 2).flatten(2))
    torch.testing.assert_close(outputs, wanted, rtol=1e-4, atol=1e-5)


def test_no_random_number_is_taken_from_the_global_generator() -> None:
    dense, state = make_dense(), torch.get_rng_state()
    layer = RandomFeatureAttention.from_dense(dense, 32)
    layer.to_dense()
    RandomFeatureAttention(WIDTH, HEADS, 32)
    layer.eval()(*[make_inputs(1, 4, WIDTH)] * 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_generator_alone_decides_about_weights_and_projection() -> None:
    def state(seed: int | None) -> dict[str, Tensor]:
        generator = None if seed is None else Generator().manual_seed(seed)
        return RandomFeatureAttention(WIDTH, HEADS, 32, generator=generator).state_dict()

    one, again, other, default = state(7), state(7), state(8), state(None)
    assert sorted(one) == sorted([*make_dense().state_dict(), "projection"])
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if "bias" not in name)
    assert all(torch.equal(tensor, state(0)[name]) for name, tensor in default.items())


def test_initial_weights_spread_as_those_of_nn_multihead_attention() -> None:
    torch.manual_seed(1)
    dense, layer = nn.MultiheadAttention(128, 4), RandomFeatureAttention(128, 4, 32)
    for name, weight in dense.named_parameters():
        own = dict(layer.named_parameters())[name]
        assert own.detach().std(correction=0) == pytest.approx(weight.detach().std(correction=0).item(), rel=0.03), name
        assert own.detach().abs().max() == pytest.approx(weight.detach().abs().max().item(), rel=0.01), name


def test_a_copy_and_a_state_dict_carry_the_projection() -> None:
    layer, inputs = make_attention(), make_inputs(2, 9, WIDTH)
    other = make_attention(seed=99)
    wanted = layer(inputs, inputs, inputs)[0]
    assert not torch.equal(other(inputs, inputs, inputs)[0], wanted)
    other.load_state_dict(layer.state_dict())
    for same in (other, copy.deepcopy(layer)):
        assert torch.equal(same(inputs, inputs, inputs)[0], wanted)
    assert "projection" not in dict(layer.named_parameters())


@pytest.mark.slow
def test_it_compiles_in_one_graph() -> None:
    layer, inputs = make_attention(), make_inputs(2, 130, WIDTH)
    padding = torch.zeros(2, 130, dtype=torch.bool)
    padding[0, 100:] = True

    def outputs(x: Tensor) -> Tensor:
        x = layer(x, x, x, padding, need_weights=False)[0]
        return layer(x, x, x, padding, need_weights=False, is_causal=True)[0]

    torch.testing.assert_close(torch.compile(outputs, backend="eager", fullgraph=True)(inputs), outputs(inputs))


@pytest.mark.parametrize("is_causal", [False, True])
def test_half_precision_costs_no_more_than_in_exact_attention(is_causal: bool) -> None:
    dense, layer, inputs = make_dense(), make_attention(256), 3 * make_inputs(2, LENGTH, WIDTH)

    def error(attention: nn.Module, **arguments: bool) -> float:
        wanted = attention(inputs, inputs, inputs, **arguments)[0]
        with torch.autocast("cpu", torch.bfloat16):
            found, weights = attention(inputs, inputs, inputs, **arguments)
        assert found.dtype == torch.bfloat16
        assert attention is dense or weights.dtype == torch.bfloat16
        return relative_error(found.float(), wanted)

    assert error(layer, is_causal=is_causal) < error(dense)
    narrow = copy.deepcopy(layer).bfloat16()
    wide, rounded = copy.deepcopy(narrow).float(), inputs.bfloat16()
    found = narrow(rounded, rounded, rounded, is_causal=is_causal)[0]
    assert found.dtype == torch.bfloat16
    assert relative_error(found.float(), wide(*[rounded.float()] * 3, is_causal=is_causal)[0]) < 0.006


def test_on_the_meta_device_it_has_shapes_and_no_numbers() -> None:
    layer = RandomFeatureAttention(WIDTH, HEADS, 32, device="meta", batch_first=True)
    inputs = torch.empty(2, 70, WIDTH, device="meta")
    outputs, weights = layer(inputs, inputs, inputs, is_causal=True)
    assert (outputs.shape, weights.shape) == ((2, 70, WIDTH), (2, 70, 70))
    assert all(tensor.is_meta for tensor in layer.state_dict().values())


def test_it_prints_its_sizes() -> None:
    text = repr(make_attention(32))
    dense = 4 * WIDTH**2 + 4 * WIDTH
    assert "num_random_features=32, kernel_fn=softmax" in text
    assert f"stored={4 * WIDTH**2 + 32 * 8}+{4 * WIDTH} ({(dense + 32 * 8) / dense:.1%} of dense)" in text
