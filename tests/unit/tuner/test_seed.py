"""The seed's own code: every block of its tutorial runs as printed, with only the import line changed."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import plotly.graph_objects
import pytest
import torch
from torch import Tensor, nn

from ksweep.nn.low_rank import LowRankLinear
from ksweep.tuner import Categorical, Int, LayerConfig, OptunaSearch, SKAutoTuner, TuningConfigs
from tests.unit.tuner.seed_blocks import python_blocks, seed_text
from tests.unit.tuner.trained import accuracy_on, smallness, trained


class Blocks(nn.Module):
    """Layers by the names that the tutorial selects: layer1 to layer3, encoder.layers.0, attn, mlp. Low rank by nature."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer1, self.layer2, self.layer3 = (_low_rank(width, generator) for _ in range(3))
        block = nn.Module()
        block.linear = _low_rank(width, generator)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([block])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.layer1, self.layer2, self.layer3, self.encoder.layers[0].linear):
            x = x + torch.tanh(layer(x))
        return x


def _low_rank(width: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(width, width)
    up, down = torch.randn(width, 2, generator=generator), torch.randn(2, width, generator=generator)
    layer.weight.data = 0.05 * up @ down
    return layer


class Transformer(nn.Module):
    """Tokens to logits, of two tokens a row so that it is quick; the smallest widths at which the tutorial's ranks save."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(8, 320)
        self.attn = _low_rank(320, generator)
        self.mlp = _low_rank(320, generator)
        self.head = nn.Linear(320, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens[:, :2] % 8)  # the tutorial's tokens are normal numbers, cut off
        return self.head(x + self.mlp(x + self.attn(x)))


def loader(model: nn.Module, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """One batch, whose targets are what the model says itself: its accuracy is 1."""
    with torch.no_grad():
        return [(inputs, model(inputs).argmax(-1))]


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The names that the tutorial leaves to its reader, in an empty directory, on a machine where .cuda() does nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(plotly.graph_objects.Figure, "show", lambda self: self.to_json())  # it would open a browser
    assert mpl.get_backend().lower() == "agg"
    torch.manual_seed(0)
    model, transformer = Blocks(), Transformer()
    val_loader = loader(model, torch.randn(64, 48))

    def agreement(given: nn.Module) -> float:
        with torch.no_grad():
            return float((given(val_loader[0][0]).argmax(-1) == val_loader[0][1]).float().mean())

    return {
        "YourModel": lambda: model,
        "model": model,
        "your_accuracy_function": agreement,
        "val_loader": val_loader,
        "input_shape": (48,),
        "load_my_transformer": lambda: transformer,
        "get_validation_loader": lambda: loader(transformer, torch.randint(8, (16, 4))),
    }


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_block_of_the_tutorial_runs_as_printed(namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    text = seed_text()
    blocks = python_blocks(text) if text else list(OWN_BLOCKS)
    assert len(blocks) >= len(OWN_BLOCKS)
    for number, block in enumerate(blocks):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # layers that no setting makes smaller
            exec(compile(block.replace("panther.tuner", "ksweep.tuner"), f"block {number}", "exec"), namespace)

    printed = capsys.readouterr().out
    assert "Speedup:" in printed
    assert "Best parameters found:" in printed
    assert Path("best_config.json").exists()
    assert Path("tuning_analysis.png").exists()
    assert Path("tuning.db").exists()
    trials = namespace["tuner"].trials
    assert {trial.layer_name for trial in trials} >= ({"attn", "mlp"} if text else {"attn_mlp"})
    assert all(trial.speed is not None for trial in trials)
    assert isinstance(namespace["model"].attn, nn.Linear), "the model that was given is still dense"


# The calls of the tutorial, for a checkout that stands alone.
OWN_BLOCKS = (
    """
from panther.tuner import SKAutoTuner, LayerConfig, TuningConfigs
config = LayerConfig(layer_names={"type": "Linear"}, params="auto", separate=True)
tuner = SKAutoTuner(model=YourModel(), configs=TuningConfigs([config]), accuracy_eval_func=your_accuracy_function, verbose=True)
tuner.tune()
optimized_model = tuner.apply_best_params()
accuracy_eval_func = your_accuracy_function
speed_eval_func = lambda model: 1 / sum(tensor.numel() for tensor in model.state_dict().values())
""",
    """
from panther.tuner import Categorical, Int, ModelVisualizer, OptunaSearch
ModelVisualizer.print_module_tree(model)
config = LayerConfig(
    layer_names={"pattern": "encoder\\\\.layers\\\\.[0-5]\\\\..*", "type": "Linear"},
    params={"num_terms": Categorical([1, 2, 3]), "low_rank": Int(4, 16, step=4)},
    separate=True,
    copy_weights=True,
)
tuner = SKAutoTuner(
    model=model, configs=TuningConfigs([config]), accuracy_eval_func=accuracy_eval_func, accuracy_threshold=0.95,
    optmization_eval_func=speed_eval_func, verbose=True,
    search_algorithm=OptunaSearch(n_trials=20, study_name="mine", storage="sqlite:///tuning.db", load_if_exists=True),
)
best_params = tuner.tune()
print(f"Best parameters found: {best_params}")
df = tuner.get_results_dataframe()
best_per_layer = df.loc[df.groupby("layer_name")["score"].idxmax()]
print(best_per_layer, df[df["accuracy"] >= 0.95].sort_values("speed", ascending=False))
""",
    """
model = load_my_transformer()
val_loader = get_validation_loader()
config = LayerConfig(["attn", "mlp"], params={"num_terms": Categorical([1])}, separate=False)
def accuracy_eval_func(model):
    return float((model(val_loader[0][0]).max(-1)[1] == val_loader[0][1]).float().mean())
tuner = SKAutoTuner(
    model=model, configs=TuningConfigs([config]), accuracy_eval_func=accuracy_eval_func,
    optmization_eval_func=speed_eval_func, num_runs_per_param=3, search_algorithm=OptunaSearch(n_trials=5),
)
tuner.tune()
optimized_model = tuner.apply_best_params()
print(f"Speedup: {speed_eval_func(optimized_model) / speed_eval_func(model):.2f}x")
tuner.save_tuning_results("best_config.pkl")
tuner.visualize_tuning_results(save_path="tuning_analysis.png", show_plot=True)
""",
)


def test_own_copies_of_the_calls_run(namespace: dict[str, Any]) -> None:
    for block in OWN_BLOCKS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            exec(block.replace("panther.tuner", "ksweep.tuner"), namespace)

    assert isinstance(namespace["optimized_model"].attn, LowRankLinear)
    assert Path("best_config.safetensors").exists()


@pytest.mark.parametrize("spelling", ["optimization_eval_func", "optmization_eval_func"])
def test_both_spellings_of_the_speed_function_arrive(spelling: str) -> None:
    configs = TuningConfigs([LayerConfig(["2"], {"num_terms": Categorical([1]), "low_rank": Int(4, 8, step=4)})])
    options: dict[str, Any] = {"accuracy_threshold": 0.5, spelling: smallness, "search_algorithm": OptunaSearch(n_trials=3)}
    tuner = SKAutoTuner(trained(), configs, accuracy_on("search"), **options)
    tuner.tune()

    assert all(trial.speed is not None and trial.speed > 1 for trial in tuner.trials)
