"""Weights in the safetensors format."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from safetensors import safe_open
from stable_baselines3 import A2C, DQN, SAC
from torch import Tensor, nn

from pg_agents import REINFORCE, ActorCritic, load_weights, save_weights
from tests.pg_agents.checkpoint.resuming_examples import single


def small() -> dict[str, Any]:
    # A new dict each: SB3's A2C adds to it.
    return {"policy_kwargs": {"net_arch": [3]}}


def weights(thing: Any) -> dict[str, Tensor]:
    policy = getattr(thing, "policy", thing)
    return {name: value.clone() for name, value in policy.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def models() -> list[Any]:
    return [
        REINFORCE("MlpPolicy", single(), **small()),
        REINFORCE("TabularPolicy", gymnasium.make("FrozenLake-v1")),
        ActorCritic("MlpPolicy", single(), **small()),
        A2C("MlpPolicy", single(), **small()),
        DQN("MlpPolicy", single(), buffer_size=1, **small()),
        SAC("MlpPolicy", gymnasium.make("Pendulum-v1"), buffer_size=1, **small()),
    ]


def test_weights_are_restored_in_place_without_unpickling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firsts, seconds = models(), models()
    for first in firsts:
        with torch.no_grad():
            for parameter in first.policy.parameters():
                parameter.normal_()
        save_weights(first, tmp_path / type(first).__name__)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    for first, second in zip(firsts, seconds, strict=True):
        if type(first) is REINFORCE:
            save_weights(first, tmp_path / "REINFORCE")
        places = {n: v.data_ptr() for n, v in second.policy.state_dict().items()}
        load_weights(second, tmp_path / type(first).__name__)
        assert same(weights(first), weights(second))
        # Optimisers hold references to these tensors.
        after = {n: v.data_ptr() for n, v in second.policy.state_dict().items()}
        assert after == places


def test_policies_are_accepted(tmp_path: Path) -> None:
    first = ActorCritic("MlpPolicy", single(), seed=0, **small())
    second = ActorCritic("MlpPolicy", single(), seed=1, **small())
    save_weights(first.policy, tmp_path / "w.safetensors")
    load_weights(second.policy, tmp_path / "w.safetensors")
    assert same(weights(first), weights(second))
    for wrong in (None, nn.Linear(1, 1), "w"):
        with pytest.raises(TypeError, match="take an algorithm or a policy"):
            save_weights(wrong, tmp_path / "x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="take an algorithm or a policy"):
            load_weights(wrong, tmp_path / "w")  # type: ignore[arg-type]


def with_extractor() -> A2C:
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Extractor(BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space, 4)
            self.layer = nn.Linear(6, 4)

        def forward(self, obs: Tensor) -> Tensor:
            return self.layer(obs)  # type: ignore[no-any-return]

    kwargs = {"net_arch": [3], "features_extractor_class": Extractor}
    return A2C("MlpPolicy", single(), policy_kwargs=kwargs)


def test_a_tensor_with_several_names_is_stored_once(tmp_path: Path) -> None:
    first, second = with_extractor(), with_extractor()
    names = [n for n in first.policy.state_dict() if n.endswith("layer.weight")]
    assert len(names) == 3
    save_weights(first, tmp_path / "w")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        stored = list(file.keys())
        metadata = file.metadata()
    assert sum(name.endswith("layer.weight") for name in stored) == 1
    assert metadata["class"] == "stable_baselines3.a2c.a2c.A2C"
    assert "Discrete(4)" in metadata["action_space"]
    assert "torch" in metadata["versions"]
    load_weights(second, tmp_path / "w")
    assert same(weights(first), weights(second))
    policy: Any = second.policy
    assert policy.pi_features_extractor is policy.features_extractor


def test_two_values_for_one_tensor_are_refused(tmp_path: Path) -> None:
    shared, apart = with_extractor(), with_extractor()
    policy: Any = apart.policy
    policy.pi_features_extractor = type(policy.features_extractor)(
        apart.observation_space
    )
    save_weights(apart, tmp_path / "w")
    before = weights(shared)
    with pytest.raises(ValueError, match="share one tensor here, and differ there"):
        load_weights(shared, tmp_path / "w")
    assert same(before, weights(shared))


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    save_weights(ActorCritic("MlpPolicy", single(), **small()), tmp_path / "small")
    wide = ActorCritic("MlpPolicy", single(), policy_kwargs={"net_arch": [4]})
    deep = ActorCritic("MlpPolicy", single(), policy_kwargs={"net_arch": [3, 3]})
    double = ActorCritic("MlpPolicy", single(), **small())
    double.policy.double()
    for model, says in (
        (wide, r"is \[3, 6\] torch.float32 there, and \[4, 6\] torch.float32 here"),
        (deep, r"another architecture: it lacks \['mlp_extractor"),
        (double, "torch.float32 there, and .* torch.float64 here"),
    ):
        before = weights(model)
        with pytest.raises(ValueError, match=says):
            load_weights(model, tmp_path / "small")
        assert same(before, weights(model))


def test_other_files_are_refused(tmp_path: Path) -> None:
    model = ActorCritic("MlpPolicy", single(), **small())
    before = weights(model)
    save_weights(model, tmp_path / "w")
    content = (tmp_path / "w.safetensors").read_bytes()
    for i, wrong in enumerate((b"", b"text", content[:50], content[:-1])):
        (tmp_path / f"{i}.safetensors").write_bytes(wrong)
        with pytest.raises(ValueError, match="is damaged, or no safetensors file"):
            load_weights(model, tmp_path / f"{i}")
    model.save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="is damaged, or no safetensors file"):
        load_weights(model, tmp_path / "model.zip")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_weights(model, tmp_path / "missing")
    assert same(before, weights(model))


def test_a_policy_with_other_state_is_refused(tmp_path: Path) -> None:
    model: Any = ActorCritic("MlpPolicy", single(), **small())

    class Counter(nn.Module):
        def get_extra_state(self) -> int:
            return 3

        def set_extra_state(self, state: int) -> None:
            """Not needed."""

    model.policy.counter = Counter()
    with pytest.raises(ValueError, match=r"has other state.*counter._extra"):
        save_weights(model, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("critic", ["separate", "shared", "none"])
def test_the_actor_can_be_stored_alone(tmp_path: Path, critic: str) -> None:
    """With a body that it shares with the critic."""
    kwargs = {"critic": critic, "net_arch": [3]}
    baseline = "none" if critic == "none" else "value"
    model, other = (
        REINFORCE(
            "MlpPolicy",
            "CartPole-v1",
            baseline=baseline,  # type: ignore[arg-type]
            seed=seed,
            policy_kwargs=kwargs,
        )
        for seed in (0, 1)
    )
    before = weights(other)
    save_weights(model, tmp_path / "acting", critic=False)
    with safe_open(tmp_path / "acting.safetensors", framework="pt") as opened:
        names = set(opened.keys())
    body, head = "mlp_extractor.policy_net.0", "action_net"
    assert names == {f"{m}.{part}" for m in (body, head) for part in ("weight", "bias")}
    load_weights(other, tmp_path / "acting", critic=False)
    after = weights(other)
    for name, tensor in after.items():
        wanted = weights(model) if name in names else before
        assert torch.equal(tensor, wanted[name])
    if critic == "separate":
        with pytest.raises(ValueError, match="it lacks"):
            load_weights(other, tmp_path / "acting")


def test_policies_without_an_actor_have_no_critic(tmp_path: Path) -> None:
    model = DQN("MlpPolicy", "CartPole-v1", buffer_size=10, **small())
    with pytest.raises(TypeError, match="critic=False needs an ActorCriticPolicy"):
        save_weights(model, tmp_path / "q", critic=False)
    assert list(tmp_path.iterdir()) == []
