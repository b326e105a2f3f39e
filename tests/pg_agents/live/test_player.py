"""What the viewer computes from weights: policy, gradients and episodes."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

import pg_envs
from pg_agents import REINFORCE, LiveView, RandomAgent
from pg_agents.live.link import Options
from pg_agents.live.messages import Setup, State, Update
from pg_agents.live.player import Player, cosine, make_env
from pg_agents.live.viewer import Viewer, running_mean
from pg_envs import oracle

GAMMA = 0.6


def setup_of(model: Any) -> Setup:
    """What a view sends when the model starts to learn."""
    view = LiveView(verbose=0, film="live.gif")
    model._setup_learn(100, None)
    view.init_callback(model)
    view._normalize = model.get_vec_normalize_env()
    return view._setup()


def player_of(model: Any) -> Player:
    setup = setup_of(model)
    assert setup.env is not None and setup.policy is not None, setup.no_env
    return Player(pickle.loads(setup.env)(), pickle.loads(setup.policy)(), setup)


def update(model: Any, gradients: dict[str, Any] | None = None, **more: Any) -> Update:
    parameters = {
        k: v.detach().numpy().copy() for k, v in model.policy.state_dict().items()
    }
    none = np.empty(0)
    return Update(
        0,
        0,
        None,
        none,
        none.astype(np.int64),
        None,
        None,
        parameters,
        gradients,
        **more,
    )


def make_table(n_states: int = 3) -> REINFORCE:
    env = gymnasium.make("PGToy-Sequence-v0", n_states=n_states, observation="index")
    model = REINFORCE("TabularPolicy", env, gamma=GAMMA, seed=0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return model


def test_the_policy_table_is_that_of_the_model() -> None:
    model = make_table()
    player = player_of(model)
    player.take(update(model))
    tables = player.tables()
    assert tables is not None and tables.exact is None
    distribution: Any = model.policy.get_distribution(torch.arange(3)).distribution
    np.testing.assert_allclose(tables.policy, distribution.probs.detach(), atol=1e-6)


def test_the_exact_gradient_has_cosine_1_with_itself() -> None:
    """The estimate is minus the loss's gradient; the oracle's, by the chain rule."""
    model = make_table()
    player = player_of(model)
    assert player.mdp is not None
    probs = torch.softmax(torch.zeros(3, 3), 1)  # for the shape
    obs = torch.arange(3)
    distribution: Any = model.policy.get_distribution(obs).distribution
    probs = distribution.probs
    by_entry = oracle.return_gradient(
        player.mdp, probs.detach().double().numpy(), GAMMA, player.horizon
    )
    (probs * torch.as_tensor(by_entry, dtype=probs.dtype)).sum().backward()
    gradients = {
        name: -p.grad.numpy()
        for name, p in model.policy.named_parameters()
        if p.grad is not None
    }
    player.take(update(model, gradients))
    tables = player.tables()
    assert tables is not None and tables.exact is not None
    assert tables.cosine == pytest.approx(1.0, abs=1e-6)
    assert tables.estimate is not None
    np.testing.assert_allclose(tables.exact, tables.estimate, atol=1e-4)
    assert np.abs(tables.exact).max() == pytest.approx(1.0)
    # Probabilities of a state sum to 1 all along.
    np.testing.assert_allclose(tables.exact.sum(axis=1), 0.0, atol=1e-2)


def test_the_change_of_each_probability_is_that_of_softmax_logits() -> None:
    """For a table of logits: pi(a) (g(a) - sum_b pi(b) g(b)) along the gradient g."""
    model = make_table()
    player = player_of(model)
    assert player.mdp is not None
    obs = torch.arange(3)
    distribution: Any = model.policy.get_distribution(obs).distribution
    pi = distribution.probs.detach().double().numpy()
    q = oracle.return_gradient(player.mdp, pi, GAMMA, player.horizon)
    g = pi * (q - (pi * q).sum(axis=1, keepdims=True))
    change = pi * (g - (pi * g).sum(axis=1, keepdims=True))
    names = [n for n, p in model.policy.named_parameters() if p.shape == (3, 3)]
    # Any estimate will do: the exact one is compared.
    player.take(update(model, {names[0]: np.ones((3, 3), np.float32)}))
    tables = player.tables()
    assert tables is not None and tables.exact is not None
    np.testing.assert_allclose(tables.exact, change / np.abs(change).max(), atol=2e-3)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [([1, 0], [2, 0], 1.0), ([1, 1], [1, -1], 0.0), ([1, 0], [-3, 0], -1.0)],
)
def test_cosine(a: list[float], b: list[float], expected: float) -> None:
    assert cosine(np.array(a, float), np.array(b, float)) == pytest.approx(expected)


def test_the_cosine_with_nothing_is_undefined() -> None:
    assert np.isnan(cosine(np.zeros(2), np.ones(2)))


@pytest.mark.parametrize(
    ("env_id", "arguments", "best"),
    [
        ("PGToy-Sequence-v0", {}, 0.9),
        ("PGToy-Sequence-v0", {"n_states": 4}, 0.85),
        ("PGToy-Bandit-v0", {}, 100.0),
    ],
)
def test_the_best_possible_return(
    env_id: str, arguments: dict[str, Any], best: float
) -> None:
    model = REINFORCE("MlpPolicy", gymnasium.make(env_id, **arguments), seed=0)
    assert player_of(model).best() == pytest.approx(best)


def test_a_training_that_is_paused_at_once_shows_names_and_a_start() -> None:
    """Before the first step; while it is paused, no further step is played."""
    model, folder = make_table(), Path()
    viewer = Viewer(Options((640, 400), "light", 12, Path("a.png"), folder, folder))
    viewer.take(setup_of(model))
    viewer.prepare()
    viewer.take(State("paused"))
    viewer.play(0.0)
    playing = viewer.dashboard().playing
    assert playing.picture is None
    assert playing.action_names == ("left", "centre", "right")
    viewer.take(update(model))
    for now in (1.0, 2.0, 3.0):
        viewer.play(now)
        playing = viewer.dashboard().playing
        assert playing.picture is not None
        assert playing.caption == "episode 1, step 0: return 0"


def test_it_plays_episodes_to_their_end_and_shows_the_last_picture() -> None:
    """Right, right, centre: the table says so with certainty."""
    model = make_table()
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.shape == (3, 3):
                best = torch.tensor([2, 2, 1])
                parameter.copy_(40.0 * torch.eye(3)[best].T)
    player = player_of(model)
    player.take(update(model))
    assert player.playing().message == "waiting for the first weights"
    pauses = [player.step() for _ in range(4)]
    assert pauses[-1] > pauses[-2]
    assert player.playing().caption == "episode 1, step 3, the end: return 0.9"
    player.step()
    assert player.playing().caption == "episode 2, step 0: return 0"
    assert player.playing().probabilities == pytest.approx((0.0, 0.0, 1.0), abs=1e-6)


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_it_draws_what_gymnasium_draws(seconds: float) -> None:
    model = A2C("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    player = player_of(model)
    player.take(update(model))
    player.step()
    playing = player.playing()
    assert playing.picture is not None
    assert playing.action_names == ("push left", "push right")
    assert playing.probabilities is not None
    assert sum(playing.probabilities) == pytest.approx(1.0)
    assert player.tables() is None


def test_observations_are_normalized_and_stacked_as_in_training() -> None:
    """Statistics of the training give the numbers of its wrappers."""
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    stacked = VecFrameStack(env, 3)
    model = A2C("MlpPolicy", stacked, seed=0, device="cpu")
    model.learn(50)
    setup = setup_of(model)
    assert setup.wrappers == ("normalize", "stack:3")
    player = player_of(model)
    rms: Any = env.obs_rms
    statistics = (rms.mean.copy(), rms.var.copy(), env.epsilon, env.clip_obs)
    player.take(update(model, observations=statistics))
    player.step()
    first = player._obs
    player.step()
    env.training = False
    expected = np.concatenate(
        [np.zeros(4), env.normalize_obs(first), env.normalize_obs(player._obs)]
    )
    np.testing.assert_allclose(player._seen(player._obs), expected, atol=1e-6)


@pytest.mark.parametrize(
    "env",
    [
        lambda: gymnasium.make_vec("CartPole-v1", 2),
        lambda: gymnasium.make_vec("PGToy-Sequence-v0", 2, n_states=5),
        lambda: pg_envs.make_torch_vec("PGToy-Sequence-v0", 2, n_states=5),
        lambda: pg_envs.SequenceEnv(n_states=5),
        lambda: gymnasium.make("PGToy-Pixelcopter-v0"),
    ],
)
def test_any_environment_is_made_again(env: Any) -> None:
    """With its arguments and its time limit."""
    model = REINFORCE("MlpPolicy", env(), seed=0)
    player = player_of(model)
    assert player.env is not None
    assert player.env.observation_space == model.observation_space
    if player.mdp is not None:
        assert player.mdp.n_states == 5
    player.take(update(model))
    player.step()
    assert player.playing().picture is not None


def test_numbers_as_actions_have_means_and_deviations() -> None:
    model = A2C("MlpPolicy", "Pendulum-v1", seed=0, device="cpu")
    player = player_of(model)
    player.take(update(model))
    player.step()
    playing = player.playing()
    assert playing.deviations == pytest.approx((1.0,))
    assert playing.limits == ((-2.0, 2.0),)
    player.step()


def test_an_environment_without_pictures_says_so() -> None:
    mdp = pg_envs.sequence_mdp()
    model = REINFORCE("MlpPolicy", pg_envs.TabularEnv(mdp), max_episode_steps=9, seed=0)
    player = player_of(model)
    player.take(update(model))
    player.step()
    assert player.playing().message == "TabularEnv has no picture"
    assert player.tables() is not None


class Counter(gymnasium.Env[Any, Any]):
    """Ends after three steps, and can't draw."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, **_: Any) -> Any:
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t == 3, False, {}


def test_an_environment_without_a_render_method_says_so() -> None:
    model = REINFORCE("MlpPolicy", Counter(), seed=0)
    player = player_of(model)
    player.take(update(model))
    player.step()
    assert player.playing().message == "Counter has no picture"


def recurrent(env: str) -> Any:
    contrib = pytest.importorskip("sb3_contrib")
    return contrib.RecurrentPPO("MlpLstmPolicy", env, n_steps=16, device="cpu")


@pytest.mark.parametrize("env", ["CartPole-v1", "PGToy-Sequence-v0"])
@pytest.mark.parametrize(
    "make",
    [
        lambda env: DQN("MlpPolicy", env, device="cpu"),
        lambda env: RandomAgent("RandomPolicy", env),
        recurrent,
    ],
    ids=["DQN", "RandomAgent", "RecurrentPPO"],
)
def test_policies_without_probabilities_are_shown_by_what_they_play(
    make: Any, env: str
) -> None:
    model = make(env)
    player = player_of(model)
    player.take(update(model))
    while player.n_episodes < 2:
        player.step()
        playing = player.playing()
        assert playing.picture is not None and playing.message == ""
        assert playing.probabilities is None and playing.deviations is None
    assert player.tables() is None


def test_a_recurrent_policy_plays_with_its_hidden_state() -> None:
    model = recurrent("CartPole-v1")
    player, seen = player_of(model), []
    player.take(update(model))
    predict = player.policy.predict  # type: ignore[union-attr]

    def recorded(obs: Any, state: Any, is_first: Any) -> Any:
        action, after = predict(obs, state, is_first)
        seen.append((state, bool(is_first[0]), after))
        return action, after

    player.policy.predict = recorded  # type: ignore[union-attr, method-assign]
    while player.n_episodes < 3:
        player.step()
    for (_, _, before), (state, is_first, _) in pairwise(seen):
        assert state is (None if is_first else before)
    assert sum(is_first for _, is_first, _ in seen) == 2


def test_a_wrapper_that_is_unknown_leaves_the_picture_out() -> None:
    from stable_baselines3.common.vec_env import VecEnvWrapper

    class Odd(VecEnvWrapper):
        def reset(self) -> Any:
            return self.venv.reset()

        def step_wait(self) -> Any:
            return self.venv.step_wait()

    model = A2C("MlpPolicy", Odd(make_vec_env("CartPole-v1", 1)), device="cpu")
    setup = setup_of(model)
    assert setup.env is None
    assert "behind a Odd" in setup.no_env


def test_a_single_environment_is_taken_as_it_is() -> None:
    env = pg_envs.SequenceEnv()
    assert make_env(env) is env


def test_the_running_mean_is_that_of_the_callbacks() -> None:
    from pg_agents.callbacks import RunningReward

    returns = np.random.default_rng(0).normal(size=50)
    reference = RunningReward(0.05)
    expected = [reference.update(r) for r in returns]
    first = running_mean(returns[:20], np.empty(0), 0)
    second = running_mean(returns[20:], first, 20)
    np.testing.assert_allclose(np.concatenate([first, second]), expected)
