import numpy as np
import pytest
from gymnasium import spaces
from scipy.special import ndtr

from pg_agents.checker.battery import battery
from pg_agents.checker.script.box_task import BoxTask, box_task
from pg_envs import oracle

SPACE = spaces.Box(np.array([-2.0, -1.0]), np.array([2.0, 3.0]), dtype=np.float64)


@pytest.fixture
def task() -> BoxTask:
    return box_task(battery(2, 0.8)[1], SPACE)


def random_policy(task: BoxTask, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = task.mdp.n_states, task.n_dimensions
    means, log_stds = rng.normal(size=shape), rng.normal(-0.5, 0.3, size=shape)
    return np.concatenate([means, log_stds], axis=1)


def expected_return(task: BoxTask, policy: np.ndarray) -> float:
    return oracle.expected_return(
        task.mdp, task.doors(policy), task.gamma, task.horizon
    )


def test_probability_of_a_door_is_the_mean_over_actions(task: BoxTask) -> None:
    policy = random_policy(task)
    # Gauss-Hermite quadrature in both dimensions.
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    for state in range(task.mdp.n_states):
        means, stds = policy[state, :2], np.exp(policy[state, 2:])
        grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1)
        actions = means + stds * grid
        inner = actions @ task.weights[state] + task.offsets[state]
        expected = np.einsum("i,j,ij->", weights, weights, ndtr(inner))
        assert task.doors(policy)[state, 1] == pytest.approx(expected, abs=1e-9)
        assert task.door_probability(state, actions[3, 5]) == pytest.approx(
            ndtr(inner[3, 5])
        )


def test_gradient_is_the_derivative_of_the_expected_return(task: BoxTask) -> None:
    policy, h = random_policy(task, 1), 1e-5
    gradient = task.gaussian_gradient(policy)
    for index in np.ndindex(policy.shape):
        up, down = policy.copy(), policy.copy()
        up[index] += h
        down[index] -= h
        slope = (expected_return(task, up) - expected_return(task, down)) / (2 * h)
        assert gradient[index] == pytest.approx(slope, abs=1e-8)


def test_actions_within_the_bounds_decide(task: BoxTask) -> None:
    for state in range(task.mdp.n_states):
        corners = [
            task.door_probability(state, np.array([x, y]))
            for x in (-2.0, 2.0)
            for y in (-1.0, 3.0)
        ]
        assert max(corners) - min(corners) > 0.5
