"""The best products of two thin matrices in place of a weight: of the weight itself, or of what it does to its inputs.

A weight W [out, d] becomes up [out, r] @ down [r, d]. All numbers are computed in float64 on the CPU and given back in the
weight's own dtype, on its device. Equal weights give equal factors: each column of `up` has its entry of largest size positive.
"""

import torch
from torch import Tensor

# Directions that no calibration input has count this share of a mean direction's energy: enough to decide between factors that
# are equally good for the inputs seen, too little to cost those inputs anything that float32 could show.
_UNSEEN = 1e-10


def truncated_svd(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(down [rank, d], up [out, rank]) with the least ||W - up down|| in the Frobenius norm (Eckart and Young 1936).

    The root of each singular value lies on either side. Raises ValueError where the rank is not 1 to min(out, d), or where the
    weight is no matrix of finite numbers.
    """
    matrix = _exact(weight, rank)
    left = torch.linalg.svd(matrix, full_matrices=False).U
    return _project(weight, matrix, left[:, :rank])


def activation_svd(weight: Tensor, rank: int, second: Tensor) -> tuple[Tensor, Tensor]:
    """(down [rank, d], up [out, rank]) with the least E||W x - up down x||^2 for inputs with E[x x^T] = `second` [d, d].

    With the leading eigenvectors Q of E[(W x)(W x)^T] = W second W^T, the best product is Q Q^T W: reduced-rank regression
    (Izenman 1975); Chen, Yu, Dhillon, Hsieh 2021 ("DRONE") give it for networks. Nothing is inverted, so `second` may be
    singular: what is left of the rank after all inputs seen are served goes to W itself, as in `truncated_svd`. Raises
    ValueError as that does, and where `second` does not fit the weight.
    """
    matrix = _exact(weight, rank)
    second = _exact_second(second, matrix)
    unseen = _UNSEEN * second.diagonal().mean().item()
    spread = torch.eye(len(second), dtype=second.dtype, device="cpu") * (unseen if unseen > 0 else 1.0)
    return _project(weight, matrix, _output_directions(matrix, second + spread)[1][:, :rank])


def error_by_rank(weight: Tensor, second: Tensor | None = None) -> Tensor:
    """Relative error of the best product of rank 0, 1, ... min(out, d): float64 [min(out, d) + 1], from 1 down to 0.

    Without `second` it is ||W - up down|| / ||W|| in the Frobenius norm; with it, sqrt(E||W x - up down x||^2 / E||W x||^2),
    exact to about 1e-7. Where there is nothing to lose (W, or every W x, is zero), all are 0. Raises ValueError as
    `activation_svd`.
    """
    matrix = _exact(weight)
    if second is None:
        energies = torch.linalg.svdvals(matrix).square()
    else:
        energies = _output_directions(matrix, _exact_second(second, matrix))[0].clamp_min(0.0)
    lost = torch.cat([energies.flip(0).cumsum(0).flip(0), energies.new_zeros(1)])
    return (lost / lost[0]).sqrt() if lost[0] > 0 else torch.zeros_like(lost)


def _output_directions(matrix: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [n] and eigenvectors [out, n] of W second W^T, largest first, n = min(out, d)."""
    if matrix.shape[0] > matrix.shape[1]:  # W = basis core: the outputs fill no more than d dimensions
        basis, core = torch.linalg.qr(matrix)
        energies, vectors = torch.linalg.eigh(core @ second @ core.T)
        vectors = basis @ vectors
    else:
        energies, vectors = torch.linalg.eigh(matrix @ second @ matrix.T)
    return energies.flip(0), vectors.flip(1)


def _project(weight: Tensor, matrix: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of left left^T W, either of the same size in each component, signs fixed; dtype and device of `weight`."""
    down = left.T @ matrix
    peaks = left.gather(0, left.abs().argmax(dim=0, keepdim=True)).squeeze(0)
    scale = down.norm(dim=1).sqrt() * torch.where(peaks < 0, -1.0, 1.0)
    down = torch.where(scale[:, None] == 0, 0.0, down / scale[:, None])
    return down.to(weight), (left * scale).to(weight)


def _exact(weight: Tensor, rank: int | None = None) -> Tensor:
    """`weight` as float64 on the CPU, checked."""
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"weight: found the shape {list(weight.shape)}, allowed: a matrix [out, d] that is not empty")
    limit = min(weight.shape)
    if rank is not None and not 1 <= rank <= limit:
        raise ValueError(f"rank: found {rank}, allowed: 1 to {limit}, the smaller side of a weight {list(weight.shape)}")
    matrix = weight.detach().to("cpu", torch.float64).contiguous()
    if not matrix.isfinite().all():
        raise ValueError("weight: found NaN or infinite numbers, which cannot be factorized; look at how the model was trained")
    return matrix


def _exact_second(second: Tensor, matrix: Tensor) -> Tensor:
    """`second` as float64 on the CPU, checked."""
    num_in = matrix.shape[1]
    if second.shape != (num_in, num_in):
        raise ValueError(f"second: found the shape {list(second.shape)}, allowed: [{num_in}, {num_in}], of the weight's inputs")
    second = second.detach().to("cpu", torch.float64).contiguous()
    if not second.isfinite().all():
        raise ValueError("second: found NaN or infinite numbers; look at the calibration inputs")
    return second
