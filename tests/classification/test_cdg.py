from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from aoi_tl.classification.cdg import (
    ARMS,
    Cycle,
    arm_steps,
    count_cycles,
    cycle_losses,
)
from aoi_tl.classification.training import History, train


def test_one_cycle_is_fifty_source_steps_and_then_ten_target_steps() -> None:
    steps = arm_steps("cdg", 3, Cycle())
    runs = [(kind, len(list(block))) for kind, block in itertools.groupby(steps)]
    assert runs == [("source", 50), ("target", 10)] * 3


def test_joint_steps_end_a_cycle() -> None:
    assert Cycle(2, 1, 1).steps == ("source", "source", "target", "joint")


@pytest.mark.parametrize("cycle", [Cycle(), Cycle(7, 3), Cycle(2, 1, 4)])
def test_every_arm_takes_the_same_number_of_optimiser_steps(cycle: Cycle) -> None:
    lengths = {arm: len(arm_steps(arm, 4, cycle)) for arm in ("plain", "multi-task", "cdg")}
    assert set(lengths.values()) == {4 * len(cycle.steps)}


def test_pretrained_and_cdg_take_the_same_steps_in_another_order() -> None:
    assert sorted(arm_steps("pretrained", 5, Cycle())) == sorted(arm_steps("cdg", 5, Cycle()))


def test_counting_target_steps_gives_every_arm_as_many_of_them() -> None:
    seen = {
        arm: sum(step != "source" for step in arm_steps(arm, 6, Cycle(), count="target"))
        for arm in ARMS
    }
    assert set(seen.values()) == {60}


def test_an_epoch_is_one_pass_over_the_source_in_whole_cycles() -> None:
    # 1800 images are 113 batches of 16: three blocks of 50 cover them.
    assert count_cycles(1800, 16, 1, Cycle()) == 3
    assert count_cycles(800, 16, 10, Cycle()) == 10
    with pytest.raises(ValueError, match="source or joint steps"):
        count_cycles(100, 16, 1, Cycle(0, 10))


def test_unknown_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="plain, pretrained, multi-task, cdg"):
        arm_steps("cgd", 1, Cycle())


def test_losses_of_a_cycle_add_up_as_in_the_paper() -> None:
    history = History(
        (0, 1, 2, 3, 4, 5), ("source", "source", "target") * 2, (4.0, 2.0, 1.0, 2.0, 0.0, 0.5),
        1.0, 0.0,
    )
    first, second = cycle_losses(history, 3, alpha=2.0, beta=0.5)
    assert (first.target, first.source) == (1.0, 3.0)
    assert first.total == 2.0 * 1.0 + 0.5 * 3.0
    assert first.overall == first.total + 0.5 * 4.0 + 0.5 * 2.0 + 2.0 * 1.0
    assert second.overall == (2.0 * 0.5 + 0.5 * 1.0) + 0.5 * 2.0 + 2.0 * 0.5


def test_losses_of_a_cycle_without_a_domain_leave_it_out() -> None:
    [only] = cycle_losses(History((0, 1), ("target",) * 2, (1.0, 3.0), 1.0, 0.0), 2)
    assert np.isnan(only.source)
    assert (only.total, only.overall) == (2.0, 6.0)


def test_gradients_reach_the_encoder_from_both_heads_and_each_head_from_its_domain_alone(
    make_classifier, make_stream
) -> None:
    streams = {"target": make_stream(4), "source": make_stream(3)}
    for step, other in (("target", "source"), ("source", "target")):
        classifier = make_classifier()
        encoder = [p.detach().clone() for p in classifier.encoder.parameters()]
        heads = {name: head.weight.detach().clone() for name, head in classifier.heads.items()}
        train(classifier, [step], streams)
        assert all(
            p.grad is not None and bool(p.grad.abs().sum() > 0)
            for p in [classifier.encoder[0].weight, classifier.heads[step].weight]
        )
        assert classifier.heads[other].weight.grad is None
        assert not torch.equal(encoder[0], classifier.encoder[0].weight)
        assert not torch.equal(heads[step], classifier.heads[step].weight)
        assert torch.equal(heads[other], classifier.heads[other].weight)


def test_a_source_block_does_not_drag_the_target_head_along(make_classifier, make_stream) -> None:
    # Adam goes on moving what has momentum: here a head must rest while the other domain trains.
    streams = {"target": make_stream(4), "source": make_stream(3)}
    after_target, after_both = make_classifier(), make_classifier()
    train(after_target, ["target"] * 3, streams)
    train(after_both, ["target"] * 3 + ["source"] * 5, streams)
    assert torch.equal(after_target.heads["target"].weight, after_both.heads["target"].weight)


@pytest.mark.parametrize("arm", ["multi-task", "cdg"])
def test_alpha_zero_leaves_the_target_head_untouched(arm: str, make_classifier, make_stream
                                                     ) -> None:
    classifier = make_classifier()
    head = classifier.heads["target"]
    before = {name: value.clone() for name, value in head.state_dict().items()}
    source = classifier.heads["source"].weight.detach().clone()
    train(classifier, arm_steps(arm, 2, Cycle(3, 2)),
          {"target": make_stream(4), "source": make_stream(3)}, alpha=0.0)
    for name, value in classifier.heads["target"].state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(source, classifier.heads["source"].weight)


def test_joint_gradient_is_the_weighted_sum_of_both_domains(make_classifier, make_stream) -> None:
    streams = {"target": make_stream(4), "source": make_stream(3)}
    gradients = {}
    for name, step, alpha, beta in (
        ("target", "target", 2.0, 0.5), ("source", "source", 2.0, 0.5), ("both", "joint", 2.0, 0.5),
    ):
        # Without batch statistics the domains do not see each other within a step.
        classifier = make_classifier(normalise=False)
        train(classifier, [step], streams, alpha=alpha, beta=beta)
        gradients[name] = classifier.encoder[0].weight.grad
    torch.testing.assert_close(gradients["both"], gradients["target"] + gradients["source"])
