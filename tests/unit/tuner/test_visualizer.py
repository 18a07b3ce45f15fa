"""The printed tree shows every layer by its name, what it stores and what it costs."""

import io
import re

import pytest
import torch
from torch import Tensor, nn

from ksweep.nn.low_rank import LowRankLinear
from ksweep.nn.random_feature_attention import RandomFeatureAttention
from ksweep.nn.sizes import count_flops, sizes
from ksweep.tuner import visualizer
from ksweep.tuner.visualizer import ModelVisualizer
from models.lenet5.model import LeNet5
from models.resnet18.model import ResNet18

show = ModelVisualizer.print_module_tree


def rows_of(text: str) -> dict[str, dict[str, str]]:
    """Column heading to cell, of each row, by the dotted name that the branches before its name spell."""
    heading, *lines = text.splitlines()
    starts = [match.start() for match in re.finditer(r"(?<=  )\S|^\S", heading)]
    ends = [match.end() for match in re.finditer(r"\S(?=  |$)", heading)]
    found, path = {}, []
    for line in lines:
        tree = re.match(r"((?:[│ ]  )*(?:[├└]─ )?)(\S+)", line)
        if tree is None or line.startswith("one call"):
            break
        path = [*path[: len(tree[1]) // 3], tree[2]]
        cells = {"kind": line[starts[1] :].split("  ")[0]}
        for number in range(2, len(starts)):
            cells[heading[starts[number] : ends[number]]] = line[ends[number - 1] : ends[number]].split("  ")[-1].strip()
        cells["notes"] = line[ends[-1] :].strip()
        found[".".join(path[1:])] = cells
    return found


def test_the_whole_tree_of_a_small_network(capsys: pytest.CaptureFixture[str]) -> None:
    text = show(LeNet5(1, 10), "lenet5")
    assert text + "\n" == capsys.readouterr().out
    assert (
        text
        == """\
layer          kind                 params  buffers    bytes  of bytes
lenet5         LeNet5               61,750       46   247 kB   100.0 %
├─ features    Sequential            2,616       46  10.7 kB     4.3 %
│  ├─ 0        Conv2d(1 → 6, 5x5)      156             624 B     0.3 %
│  ├─ 1        BatchNorm2d(6)           12       13    104 B     0.0 %
│  ├─ 2        ReLU
│  ├─ 3        MaxPool2d
│  ├─ 4        Conv2d(6 → 16, 5x5)   2,416           9.66 kB     3.9 %
│  ├─ 5        BatchNorm2d(16)          32       33    264 B     0.1 %
│  ├─ 6        ReLU
│  └─ 7        MaxPool2d
└─ classifier  Sequential           59,134            237 kB    95.7 %
   ├─ 0        Flatten
   ├─ 1        Linear(400 → 120)    48,120            192 kB    77.9 %
   ├─ 2        ReLU
   ├─ 3        Linear(120 → 84)     10,164           40.7 kB    16.4 %
   ├─ 4        ReLU
   └─ 5        Linear(84 → 10)         850            3.4 kB     1.4 %"""
    )


def test_rows_are_all_modules_in_model_order_under_names_that_select_them() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)), nn.Transformer(8, 2, 1, 1, 8, batch_first=True))
    rows = rows_of(show(model))
    assert list(rows) == [name for name, _ in model.named_modules()]
    assert rows["12.encoder.layers.0.linear1"]["params"] == "72"


def test_a_layer_that_is_a_model_is_one_row() -> None:
    assert show(nn.Linear(3, 4)).splitlines() == [
        "layer  kind           params  bytes  of bytes",
        "model  Linear(3 → 4)      16   64 B   100.0 %",
    ]
    assert show(nn.ReLU()).splitlines() == ["layer  kind", "model  ReLU"]


def test_kinds_say_the_sizes_of_layers() -> None:
    layers = [
        (nn.Conv2d(4, 6, (3, 1), groups=2), "Conv2d(4 → 6, 3x1, 2 groups)"),
        (nn.Embedding(50, 16), "Embedding(50 x 16)"),
        (nn.LayerNorm(16), "LayerNorm(16)"),
        (nn.MultiheadAttention(16, 2), "MultiheadAttention(16, 2 heads)"),
        (LowRankLinear(64, 32, 4), "LowRankLinear(64 → 32, rank 4)"),
        (RandomFeatureAttention(16, 2, 20), "RandomFeatureAttention(16, 2 heads, m=20)"),
        (nn.Dropout(0.1), "Dropout"),
    ]
    rows = rows_of(show(nn.Sequential(*(layer for layer, _ in layers))))
    assert [rows[str(number)]["kind"] for number in range(len(layers))] == [kind for _, kind in layers]


def test_compressed_layers_say_their_share_of_the_dense_one() -> None:
    rows = rows_of(show(nn.Sequential(LowRankLinear(64, 32, 4, bias=False), nn.Linear(64, 32))))
    assert [rows[name]["notes"] for name in "01"] == [f"{100 * 4 * 96 / (64 * 32):.1f} % of dense", ""]


class Tied(nn.Module):
    """Embedding and head share a weight; a block is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.again = self.block
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.spare = nn.Sequential(nn.Linear(4, 4))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.again(self.block(self.embedding(tokens))))


def test_what_is_tied_counts_once_and_names_the_first() -> None:
    model = Tied()
    rows = rows_of(show(model))
    assert rows["again"]["notes"] == "= block"
    assert "again.0" not in rows
    assert rows["head"]["notes"] == "weight = embedding.weight"
    assert (rows["head"]["params"], rows["again"]["params"]) == ("", "")
    parts = ("embedding", "block", "spare")
    assert int(rows[""]["params"]) == sizes(model).num_params == sum(int(rows[name]["params"]) for name in parts)


def test_layers_without_a_call_and_with_several_say_so() -> None:
    rows = rows_of(show(Tied(), inputs=(torch.zeros(3, 5, dtype=torch.int64),)))
    notes = {name: row["notes"] for name, row in rows.items()}
    assert notes == {
        "": "",
        "embedding": "",
        "block": "called 2 times",
        "block.0": "called 2 times",
        "block.1": "called 2 times",
        "again": "= block",
        "head": "weight = embedding.weight",
        "spare": "not called",
        "spare.0": "not called",
    }
    assert all(rows[name]["of FLOPs"] == rows[name]["of time"] == "" for name in ("spare", "spare.0", "again"))


def percent(cell: str) -> float:
    return float(cell.removesuffix(" %")) if cell else 0.0


def test_shares_of_operations_are_those_of_the_count_and_sum_up() -> None:
    model, images = LeNet5(1, 10), torch.zeros(2, 1, 32, 32)
    text = show(model, inputs=images)
    rows, total = rows_of(text), count_flops(model, images)
    for name, inputs in (("features.0", images), ("features.4", torch.zeros(2, 6, 14, 14))):
        share = 100 * count_flops(model.get_submodule(name), inputs) / total
        assert percent(rows[name]["of FLOPs"]) == pytest.approx(share, abs=0.06)
    for column in ("of FLOPs", "of time"):
        assert percent(rows[""][column]) == 100
        assert percent(rows["features"][column]) + percent(rows["classifier"][column]) <= 100.1
    assert percent(rows["features"]["of FLOPs"]) + percent(rows["classifier"]["of FLOPs"]) == pytest.approx(100, abs=0.2)
    assert f"one call: {total / 1e6:.3g} MFLOPs (2 a multiply-add), " in text


class Clock:
    """Tells the time that the layers let pass; a machine that does other work tells more."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Wait(nn.Module):
    """Takes as many seconds, and every fifth time ten times as many."""

    def __init__(self, clock: Clock, seconds: float, first: int) -> None:
        super().__init__()
        self.clock, self.seconds, self.num_calls = clock, seconds, first

    def forward(self, inputs: Tensor) -> Tensor:
        self.num_calls += 1
        self.clock.now += self.seconds * (10 if self.num_calls % 5 == 0 else 1)
        return inputs


def test_shares_of_time_are_those_of_the_clock_but_for_its_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(visualizer, "time", clock)
    around = nn.Sequential(Wait(clock, 0.004, 1), Wait(clock, 0.006, 2))
    model = nn.ModuleDict({"short": Wait(clock, 0.002, 3), "around": around})
    model.forward = lambda inputs: model["around"](model["short"](inputs))
    text = show(model, inputs=torch.zeros(1))
    shares = {name: row["of time"] for name, row in rows_of(text).items()}
    assert shares == {"": "100.0 %", "short": "16.7 %", "around": "83.3 %", "around.0": "33.3 %", "around.1": "50.0 %"}
    assert ", 12 ms (medians of 9, " in text


def test_an_encoder_is_taken_apart_though_torch_would_fuse_it() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()
    text = show(model, inputs=torch.zeros(2, 5, 8))
    rows = rows_of(text)
    assert percent(rows["layers.0.linear1"]["of FLOPs"]) > 10
    assert percent(rows["layers.0.self_attn"]["of time"]) > 0
    assert rows["layers.0.self_attn.out_proj"]["notes"] == "not called", "torch's attention reads its weight only"
    assert text.splitlines()[-1].startswith("nn.TransformerEncoderLayer runs layer by layer here")


def test_the_model_is_left_as_it_was_even_when_a_call_fails() -> None:
    model = ResNet18(3, 10, width=4, stem="cifar").train()
    model.bn1.eval()
    modes = {module: module.training for module in model.modules()}
    state, random_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    show(model, inputs=torch.ones(2, 3, 8, 8))
    with pytest.raises(RuntimeError, match="to have 3 channels"):
        show(model, inputs=torch.ones(2, 1, 8, 8))

    assert {module: module.training for module in model.modules()} == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_wide_table_leaves_out_sizes_before_it_gets_wider_than_a_page() -> None:
    model: nn.Module = LowRankLinear(4096, 4096, 512, device="meta")
    for name in ("the_query_of_attention", "self", "attention", "layers", "encoder"):
        model = nn.ModuleDict({name: model, "other": nn.Linear(4096, 4096, device="meta")})
    text = show(model)
    assert "LowRankLinear  " in text
    assert max(map(len, text.splitlines())) <= 120
    assert len({line.index("%") for line in text.splitlines() if "%" in line}) == 1, "columns are aligned"


def test_it_prints_where_it_is_told_and_in_letters_that_go_there(capsys: pytest.CaptureFixture[str]) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    text = show(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), file=stream)
    stream.flush()
    assert raw.getvalue().decode().splitlines()[2:] == ["|- 0   Linear(3 > 4)      16   64 B   100.0 %", "`- 1   ReLU"]
    assert "├─ 0" in text
    assert capsys.readouterr().out == ""
