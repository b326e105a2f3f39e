"""Which policies a script trains: told apart by the networks that act."""

import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from pg_agents.checker import CannotCheckError, check_script
from pg_agents.checker.script.trainings import Trainings


def train(trainings: Trainings, policy: nn.Module, *rest: nn.Module) -> None:
    """Makes an optimiser for each module, and takes a step of the policy with each."""
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (policy, *rest)]
    for optimizer in optimizers:
        trainings.optimizer(optimizer)
    trainings.policy(policy.parameters())
    for optimizer in optimizers:
        trainings.step(optimizer)


def test_actor_critic_and_target_network_are_one_training() -> None:
    trainings = Trainings()
    train(trainings, nn.Linear(4, 2), nn.Linear(4, 1), nn.Linear(4, 1))
    assert trainings.refusal() is None and trainings.remark() is None
    assert [n for _, n in trainings.kinds()] == [1]
    assert trainings.n_steps() == 1


def test_optimisers_that_share_a_parameter_or_a_policy_are_one_training() -> None:
    trunk, head, value = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 1)
    trainings = Trainings()
    for modules in ((trunk, head), (trunk, value), (trunk,), (head,)):
        parameters = [p for module in modules for p in module.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        trainings.optimizer(optimizer)
        trainings.policy([*trunk.parameters(), *head.parameters()])
        trainings.step(optimizer)
    assert trainings.refusal() is None and trainings.n_steps() == 4


def test_two_policies_are_named_by_the_lines_of_their_optimisers() -> None:
    trainings = Trainings()
    train(trainings, nn.Linear(4, 2))
    train(trainings, nn.Linear(4, 2))
    text = trainings.refusal()
    assert text is not None and "trains 2 policies" in text
    assert text.count("SGD at test_trainings.py:") == 2 and "--entry" in text


def test_the_same_lines_are_one_algorithm_and_the_report_says_so() -> None:
    trainings = Trainings()
    for _ in range(3):
        train(trainings, nn.Linear(4, 2))
    assert trainings.refusal() is None
    assert "the same lines train 3" in (trainings.remark() or "")


def test_a_second_run_of_the_script_is_no_second_training() -> None:
    trainings = Trainings()
    for _ in range(3):
        train(trainings, nn.Linear(4, 2))
        trainings.start_run()
    assert trainings.refusal() is None and trainings.remark() is None
    assert trainings.n_steps() == 3


def test_a_policy_that_no_optimiser_steps_is_no_training() -> None:
    trainings = Trainings()
    train(trainings, nn.Linear(4, 2))
    trainings.policy(nn.Linear(4, 2).parameters())
    assert len(trainings.kinds()) == 1


def test_gradients_handed_in_from_two_lines_are_two_policies() -> None:
    trainings = Trainings()
    trainings.handed_in()
    trainings.handed_in()
    assert "trains 2 policies" in (trainings.refusal() or "")


def test_a_wrong_training_after_a_right_one_is_not_acquitted(tmp_path: Path) -> None:
    source = """
        import gymnasium as gym
        import torch
        from stable_baselines3 import A2C
        from torch.distributions import Categorical

        A2C("MlpPolicy", "CartPole-v1", seed=0).learn(1_000_000)
        env = gym.make("Acrobot-v1")
        policy = torch.nn.Linear(6, 3)
        optimizer = torch.optim.Adam(policy.parameters())
        obs, _ = env.reset()
        while True:
            dist = Categorical(logits=policy(torch.as_tensor(obs)))
            action = dist.sample()
            obs, reward, terminated, truncated, _ = env.step(action.item())
            loss = dist.log_prob(action) * reward
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if terminated or truncated:
                obs, _ = env.reset()
    """
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(source))
    message = r"2 policies: RMSprop\w* of A2C at train.py:7 and Adam at train.py:10"
    with pytest.raises(CannotCheckError, match=message):
        check_script(path)
