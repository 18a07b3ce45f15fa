"""The factors are the best ones: errors equal the optimum that the spectrum gives, and no other product does better."""

import pytest
import torch
from torch import Tensor

from ksweep.nn.factorization import activation_svd, error_by_rank, truncated_svd
from tests.unit.nn.factored import draw, global_random_state_is_left_alone

SHAPES = pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (1, 4), (4, 1)], ids=str)


def weight_of(shape: tuple[int, int], seed: int = 0) -> Tensor:
    return draw(*shape, seed=seed, dtype=torch.float64)


def inputs_of(num_in: int, num_rows: int = 40) -> Tensor:
    """Some directions far stronger than others, as activations are."""
    mixing = draw(num_in, num_in, seed=7, dtype=torch.float64) * torch.logspace(0, -2, num_in, dtype=torch.float64)
    return draw(num_rows, num_in, seed=8, dtype=torch.float64) @ mixing.T + 0.3


def second_of(inputs: Tensor) -> Tensor:
    return inputs.T @ inputs / len(inputs)


def output_error(weight: Tensor, down: Tensor, up: Tensor, inputs: Tensor) -> float:
    """sqrt of the mean squared error over the inputs, computed from the outputs themselves."""
    return (inputs @ weight.T - inputs @ down.T @ up.T).square().sum(1).mean().sqrt().item()


@SHAPES
def test_the_error_of_truncated_svd_is_the_tail_of_the_spectrum_at_every_rank(shape: tuple[int, int]) -> None:
    weight = weight_of(shape)
    values = torch.linalg.svdvals(weight)
    for rank in range(1, min(shape) + 1):
        down, up = truncated_svd(weight, rank)
        assert down.shape == (rank, shape[1])
        assert up.shape == (shape[0], rank)
        tail = values[rank:].square().sum().sqrt()
        assert (weight - up @ down).norm().item() == pytest.approx(tail.item(), abs=1e-12)
        assert error_by_rank(weight)[rank].item() == pytest.approx((tail / values.norm()).item(), abs=1e-12)


def test_both_factors_take_the_root_of_each_singular_value_and_signs_are_fixed() -> None:
    weight = weight_of((7, 5))
    down, up = truncated_svd(weight, 3)
    values = torch.linalg.svdvals(weight)[:3].diag()

    assert torch.allclose(up.T @ up, values, atol=1e-12)
    assert torch.allclose(down @ down.T, values, atol=1e-12)
    for factor_down, factor_up in (truncated_svd(weight, 3), activation_svd(weight, 3, second_of(inputs_of(5)))):
        assert (factor_up.gather(0, factor_up.abs().argmax(0, keepdim=True)) > 0).all()
        assert factor_down.isfinite().all()
    opposite_down, opposite_up = truncated_svd(-weight, 3)
    assert torch.allclose(opposite_up, up, atol=1e-12)
    assert torch.allclose(opposite_down, -down, atol=1e-12)


@SHAPES
def test_the_error_of_activation_svd_is_the_optimum_at_every_rank_and_never_above_that_of_svd(shape: tuple[int, int]) -> None:
    """The optimum from another way to it: singular values of W times the Cholesky factor of the second moments."""
    weight, inputs = weight_of(shape), inputs_of(shape[1])
    second = second_of(inputs)
    values = torch.linalg.svdvals(weight @ torch.linalg.cholesky(second))
    errors = error_by_rank(weight, second)
    assert errors[0] == 1
    assert errors[-1] == 0
    for rank in range(1, min(shape) + 1):
        found = output_error(weight, *activation_svd(weight, rank, second), inputs)
        optimum = values[rank:].square().sum().sqrt().item()
        assert found == pytest.approx(optimum, abs=1e-7 * values.norm().item())
        assert errors[rank].item() == pytest.approx(optimum / values.norm().item(), abs=1e-7)
        assert found <= output_error(weight, *truncated_svd(weight, rank), inputs) + 1e-7


def test_inputs_of_unequal_strength_make_activation_svd_much_better_on_them_than_svd() -> None:
    weight, inputs = weight_of((12, 12)), inputs_of(12)
    aware = output_error(weight, *activation_svd(weight, 4, second_of(inputs)), inputs)
    assert aware < 0.5 * output_error(weight, *truncated_svd(weight, 4), inputs)


def test_no_product_nearby_is_better() -> None:
    weight, inputs = weight_of((6, 8)), inputs_of(8)
    down, up = activation_svd(weight, 3, second_of(inputs))
    best = output_error(weight, down, up, inputs)
    for seed in range(20):
        moved_down = down + 1e-3 * draw(3, 8, seed=seed, dtype=torch.float64)
        moved_up = up + 1e-3 * draw(6, 3, seed=seed + 100, dtype=torch.float64)
        assert output_error(weight, moved_down, moved_up, inputs) > best


@pytest.mark.parametrize("shape", [(9, 6), (6, 9)], ids=str)
def test_inputs_that_are_never_seen_leave_the_optimum_and_get_what_is_left_of_the_rank(shape: tuple[int, int]) -> None:
    num_in = shape[1]
    weight, inputs = weight_of(shape), inputs_of(num_in)
    inputs[:, :3] = 0.0  # dead inputs: the second moments are singular
    second = second_of(inputs)
    values = torch.linalg.svdvals(weight[:, 3:] @ torch.linalg.cholesky(second[3:, 3:]))
    for rank in (1, 2):
        found = output_error(weight, *activation_svd(weight, rank, second), inputs)
        assert found == pytest.approx(values[rank:].square().sum().sqrt().item(), rel=1e-6)

    rank = num_in - 2 if shape == (9, 6) else 5
    one_live = torch.zeros(num_in, num_in, dtype=torch.float64)
    one_live[0, 0] = 2.0
    down, up = activation_svd(weight, rank, one_live)
    assert torch.allclose((up @ down)[:, 0], weight[:, 0], atol=1e-6), "what is seen is served first"
    served = weight[:, :1] / weight[:, 0].norm()
    others = (weight - served @ served.T @ weight)[:, 1:]
    best = torch.linalg.svdvals(others)[rank - 1 :].norm().item()
    assert (weight - up @ down)[:, 1:].norm().item() == pytest.approx(best, rel=1e-6), "the rest goes to the weight itself"


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e-30], ids=str)
def test_inputs_without_a_preferred_direction_give_the_product_of_svd(scale: float) -> None:
    weight = weight_of((7, 5))
    down, up = truncated_svd(weight, 3)
    aware_down, aware_up = activation_svd(weight, 3, scale * torch.eye(5))
    assert torch.allclose(aware_up @ aware_down, up @ down, atol=1e-7)


def test_a_weight_of_less_rank_is_met_exactly_at_its_rank_and_above() -> None:
    weight = weight_of((8, 2)) @ weight_of((2, 6))
    second = second_of(inputs_of(6))
    for rank in (2, 3, 6):
        for down, up in (truncated_svd(weight, rank), activation_svd(weight, rank, second)):
            assert torch.allclose(up @ down, weight, atol=1e-7)
    zero = torch.zeros(4, 3)
    for down, up in (truncated_svd(zero, 2), activation_svd(zero, 2, torch.eye(3))):
        assert torch.equal(up @ down, zero)
    assert torch.equal(error_by_rank(zero), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(error_by_rank(weight, torch.zeros(6, 6)), torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_factors_have_the_dtype_of_the_weight_and_are_exact_up_to_it(dtype: torch.dtype) -> None:
    weight, second = weight_of((6, 6)).to(dtype), second_of(inputs_of(6))
    for down, up in (truncated_svd(weight, 6), activation_svd(weight, 6, second)):
        assert down.dtype == up.dtype == dtype
        error = (weight.double() - up.double() @ down.double()).norm() / weight.double().norm()
        assert error < 4 * max(torch.finfo(dtype).eps, 1e-15)


def test_equal_weights_give_equal_factors_whatever_their_memory_and_no_random_state_is_used() -> None:
    weight, second = weight_of((6, 9)), second_of(inputs_of(9))
    with global_random_state_is_left_alone():
        first = (*truncated_svd(weight, 4), *activation_svd(weight, 4, second))
    turned = weight.T.contiguous().T.requires_grad_()
    again = (*truncated_svd(turned, 4), *activation_svd(turned, 4, second))
    assert all(torch.equal(one, other) and not other.requires_grad for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("rank", [0, -1, 6])
def test_a_rank_that_is_not_there_is_refused_with_what_is_allowed(rank: int) -> None:
    weight = weight_of((7, 5))
    for factorize in (lambda: truncated_svd(weight, rank), lambda: activation_svd(weight, rank, torch.eye(5))):
        with pytest.raises(ValueError, match=rf"rank: found {rank}, allowed: 1 to 5"):
            factorize()


def test_numbers_and_shapes_that_mean_nothing_are_refused() -> None:
    weight = weight_of((7, 5))
    broken = weight.clone()
    broken[2, 3] = float("nan")
    with pytest.raises(ValueError, match="weight: found NaN or infinite"):
        truncated_svd(broken, 2)
    with pytest.raises(ValueError, match="second: found NaN or infinite"):
        activation_svd(weight, 2, torch.full((5, 5), float("inf")))
    with pytest.raises(ValueError, match=r"second: found the shape \[7, 7\], allowed: \[5, 5\]"):
        error_by_rank(weight, torch.eye(7))
    for shape in ((5,), (2, 3, 4), (0, 5)):
        with pytest.raises(ValueError, match=r"weight: found the shape .* allowed: a matrix"):
            truncated_svd(torch.zeros(shape), 1)
