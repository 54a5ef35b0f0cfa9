"""PonderNet: halting distribution, prior and divergence against oracles; sampled exits; what runs when; replay."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from eebench.api import ExitOutput, Task
from eebench.engine.macs import exit_costs
from eebench.plugins.registry import Registry
from eebench.testing import (
    BACKBONES,
    assert_replay_is_dynamic,
    build,
    classes_for,
    gradients,
    inputs_for,
    pick,
    replay,
    tiny_vit,
    trace,
    train_step,
)
from eebench_methods.palbert import PALBERT
from eebench_methods.pondernet import PonderNet
from eebench_methods.pondernet.halting import (
    DRAWS,
    QExit,
    SampledExit,
    divergence,
    geometric_prior,
    log_halting,
    own_logits,
)

REGRESSION = Task(kind="regression", classes=1, metric="pearson_spearman")


def halting_by_definition(halts):
    """p_i = λ_i · prod_{j<i} (1 - λ_j), the last step taking the rest; plain products in double precision."""
    p, left = [], 1.0
    for halt in halts:
        p.append(halt * left)
        left *= 1 - halt
    return [*p, left]


def test_halting_distribution_by_hand():
    # λ = 1/2, 1/4, 1/5: p = 1/2, 1/2·1/4 = 1/8, 3/8·1/5 = 3/40, rest 3/8·4/5 = 3/10
    signals = torch.tensor([[0.5, 0.25, 0.2]]).logit()
    torch.testing.assert_close(log_halting(signals).exp(), torch.tensor([[1 / 2, 1 / 8, 3 / 40, 3 / 10]]))


def test_halting_distribution_is_its_definition_and_sums_to_one():
    signals = 3 * torch.randn(50, 11, generator=torch.Generator().manual_seed(0))
    p = log_halting(signals).exp()
    expected = [halting_by_definition(row) for row in torch.sigmoid(signals.double()).tolist()]
    torch.testing.assert_close(p, torch.tensor(expected), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(p.sum(1), torch.ones(50))


def test_halting_distribution_stays_finite_where_products_underflow():
    signals = torch.tensor([[200.0] * 11, [-200.0] * 11, [200.0, -200.0] * 5 + [0.0]], requires_grad=True)
    log_p = log_halting(signals)
    assert log_p.isfinite().all()
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(3))
    for direction in ("forward", "reverse"):
        loss = divergence(log_p, geometric_prior(0.1, 12, "rest"), direction).sum()
        assert loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, signals, retain_graph=True)
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("truncation", "mean", "last"), [("rest", 7.18, 0.314), ("normalised", 5.28, 0.044)])
def test_prior_of_twelve_steps(truncation, mean, last):
    prior = geometric_prior(0.1, 12, truncation)
    assert float(prior.sum()) == pytest.approx(1, abs=1e-6)
    assert float((prior * torch.arange(1, 13)).sum()) == pytest.approx(mean, abs=0.005)
    assert float(prior[-1]) == pytest.approx(last, abs=0.0005)


@pytest.mark.parametrize("lambda_p", [0.1, 0.4])
def test_prior_against_scipy(lambda_p):
    mass = stats.geom.pmf(np.arange(1, 9), lambda_p)
    np.testing.assert_allclose(geometric_prior(lambda_p, 8, "raw"), mass, rtol=1e-6)
    np.testing.assert_allclose(geometric_prior(lambda_p, 8, "normalised"), mass / mass.sum(), rtol=1e-6)
    rest = [*mass[:-1], stats.geom.sf(7, lambda_p)]
    np.testing.assert_allclose(geometric_prior(lambda_p, 8, "rest"), rest, rtol=1e-6)


def test_prior_is_the_halting_distribution_of_a_constant_lambda():
    log_p = log_halting(torch.full((1, 7), 0.2).logit())
    torch.testing.assert_close(log_p[0].exp(), geometric_prior(0.2, 8, "rest"))
    assert float(divergence(log_p, geometric_prior(0.2, 8, "rest"), "forward")) == pytest.approx(0, abs=1e-6)


def test_divergence_against_torch():
    log_p = log_halting(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)))
    prior = geometric_prior(0.3, 6, "rest")
    p, target = torch.distributions.Categorical(logits=log_p), torch.distributions.Categorical(probs=prior)
    torch.testing.assert_close(divergence(log_p, prior, "forward"), torch.distributions.kl_divergence(p, target))
    torch.testing.assert_close(divergence(log_p, prior, "reverse"), torch.distributions.kl_divergence(target, p))
    for truncation in ("rest", "normalised", "raw"):  # what labml and PALBERT compute, the unnormalised prior included
        prior = geometric_prior(0.3, 6, truncation)
        expected = F.kl_div(log_p, prior.expand(20, 6), reduction="batchmean")
        torch.testing.assert_close(divergence(log_p, prior, "reverse").mean(), expected)


@pytest.mark.parametrize("exit", ["sample", "quantile", "expectation"])
@pytest.mark.parametrize("kl", ["forward", "reverse"])
def test_loss_is_the_expected_loss_and_the_divergence(exit, kl):
    method, model = build(PonderNet, tiny_vit(), exit=exit, kl=kl, beta=0.3, lambda_p=0.4, dropout=0.0)
    inputs, targets = inputs_for(model.backbone, 8), classes_for(8)
    step = train_step(model, method.phases()[0], inputs, targets, method.task)
    losses = [F.cross_entropy(own_logits(visit), targets, reduction="none") for visit in step.visits]
    prior = [0.4, 0.24, 0.144, 0.216]  # 0.6^3 = 0.216 is what is left for the last block
    expected = 0.0
    for row in range(8):
        halts = [torch.sigmoid(visit.output.signal[row]).item() for visit in step.visits[:-1]]
        p = halting_by_definition(halts)
        expected += sum(a * loss[row].item() for a, loss in zip(p, losses, strict=True)) / 8
        pairs = zip(p, prior, strict=True) if kl == "forward" else zip(prior, p, strict=True)
        expected += 0.3 * sum(a * math.log(a / b) for a, b in pairs) / 8
    assert method.phases()[0].loss(step).item() == pytest.approx(expected, rel=1e-4)


def test_every_way_to_exit_is_trained_alike():
    losses = []
    for way in ("sample", "quantile", "expectation"):
        method, model = build(PonderNet, tiny_vit(), exit=way, dropout=0.0)
        step = train_step(model, method.phases()[0], inputs_for(model.backbone, 8), classes_for(8), method.task)
        losses.append(method.phases()[0].loss(step).item())
    assert losses[0] == pytest.approx(losses[1]) == pytest.approx(losses[2])


def test_backbone_gate_and_classifier_are_trained_and_shared():
    method, model = build(PonderNet, tiny_vit())
    moved = set(gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task))
    still = {name for name, _ in model.named_parameters()} - moved
    assert still == {"backbone.net.head.weight", "backbone.net.head.bias"}  # set aside: the shared one answers
    assert {name.split(".")[1] for name in moved if name.startswith("exits.")} == {"1"}, "one set for all exits"
    _, model = build(PonderNet, tiny_vit(), classifier="per_exit")
    assert len({id(head.classifier[1].weight) for head in model.exits.values()}) == 4


# --- the rules ---


def test_golden_trace_of_the_sampled_exit():
    # margin = logit λ - noise, three samples, three exits before the last; stop where it is above -bias
    margin = np.array([[-1.0, 0.5, 2.0], [0.25, -3.0, -3.0], [-2.0, -2.0, -0.5]], dtype=np.float32)
    rule, seen = SampledExit(0), {"margin": margin}
    assert replay(rule, seen, 0.0).tolist() == [1, 0, 3]
    assert replay(rule, seen, 1.0).tolist() == [1, 0, 2]  # above -1: -1.0 itself is not
    assert replay(rule, seen, 1.5).tolist() == [0, 0, 2]
    assert replay(rule, seen, -1.0).tolist() == [2, 3, 3]
    assert replay(rule, seen, rule.knob.never).tolist() == [3, 3, 3]
    assert replay(rule, seen, rule.knob.always).tolist() == [0, 0, 0]


@pytest.mark.parametrize("bias", [0.0, 1.0, -2.0])
def test_sampled_exits_follow_the_halting_distribution(bias):
    signals, samples = torch.tensor([-1.0, 0.5, -0.3]), 40_000
    rule, ids = SampledExit(seed=3), torch.arange(samples)
    seen = [rule.observe(ExitOutput(signal=s.expand(samples)), i, ids)["margin"] for i, s in enumerate(signals)]
    where = np.full(samples, 3)
    for position in reversed(range(3)):
        where[(seen[position] > -bias).numpy()] = position
    expected = samples * log_halting((signals + bias)[None])[0].double().exp().numpy()
    assert stats.chisquare(np.bincount(where, minlength=4), expected * samples / expected.sum()).pvalue > 1e-3


def test_draws_are_logistic_and_independent_across_exits():
    first, second = (SampledExit(0).noise(position, torch.arange(DRAWS)).numpy() for position in (0, 1))
    assert stats.kstest(first, stats.logistic.cdf).pvalue > 1e-3
    assert np.isfinite(first).all()
    assert abs(stats.spearmanr(first, second).statistic) < 0.02


def test_draws_belong_to_the_sample_and_the_seed():
    ids = torch.tensor([5, 70_000, 123_456_789_012, 5])
    noise = SampledExit(0).noise(2, ids)
    assert noise[0] == noise[3]
    assert len(noise.unique()) == 3
    for i, name in enumerate(ids):
        assert SampledExit(0).noise(2, name[None]) == noise[i]
    assert not torch.equal(SampledExit(1).noise(2, ids), noise)


def test_grid_holds_the_methods_own_setting_and_the_extremes():
    margin = np.random.default_rng(0).logistic(size=(50, 3)).astype(np.float32)
    grid = SampledExit(0).grid({"margin": margin})
    assert {0.0, -1e6, 1e6} <= set(grid)
    stops = [replay(SampledExit(0), {"margin": margin}, bias).mean() for bias in grid]
    assert stops == sorted(stops, reverse=True), "a larger bias stops earlier"
    assert len(set(stops)) > 30


@pytest.mark.parametrize(
    ("kind", "exit"),
    [(kind, "sample") for kind in BACKBONES]
    + [(k, e) for k in ("pyramid", "text") for e in ("quantile", "expectation")],
)
def test_replay_is_dynamic(kind, exit):
    method, model = build(PonderNet, BACKBONES[kind](3), exit=exit)
    rule = method.rule()
    where = assert_replay_is_dynamic(model, rule, inputs_for(model.backbone), exits=3)
    assert (where[rule.knob.always] == 0).all()
    assert (where[rule.knob.never] == len(model.blocks) - 1).all()


@pytest.mark.parametrize("exit", ["sample", "quantile", "expectation"])
def test_replay_is_dynamic_on_regression(exit):
    method, model = build(PonderNet, BACKBONES["text"](1), REGRESSION, exit=exit)
    assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), exits=3)


# --- what runs when ---


def calls(module):
    """Rows a module is handed, one entry a call."""
    rows: list[int] = []
    module.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    return rows


def test_a_sample_is_classified_once_and_gated_until_it_stops():
    method, model = build(PonderNet, tiny_vit())
    head = model.exits["1"]
    inputs = inputs_for(model.backbone)
    seen, _ = trace(model, method.rule(), inputs)
    where = replay(method.rule(), seen, 0.0)
    assert len(set(where.tolist())) > 2
    classified, gated = calls(head.classifier), calls(head.gate)
    model.dynamic(inputs, method.rule(), 0.0)
    assert sum(classified) == len(where)
    assert gated == [int((where >= position).sum()) for position in range(3)], "nobody decides at the last exit"


def test_fixed_depth_runs_one_classifier_and_no_gate():
    _, model = build(PonderNet, tiny_vit())
    head = model.exits["1"]
    inputs = inputs_for(model.backbone, 5)
    classified, gated = calls(head.classifier), calls(head.gate)
    answer = model.static(inputs, 3)
    assert (classified, gated) == ([5], [])
    torch.testing.assert_close(answer, model.forced(inputs, 3))


def test_costs_charge_every_gate_passed_and_one_classifier():
    _, model = build(PonderNet, tiny_vit())
    costs = exit_costs(model, inputs_for(model.backbone, 1))
    np.testing.assert_array_equal(costs.gates, [32, 64, 96, 96])  # Linear(32, 1) at each exit but the last
    per_exit = 5 * 32 + 32 * 32  # LayerNorm of the class token at 5 an element, pooler
    np.testing.assert_array_equal(costs.heads, [per_exit * n + 32 * 3 for n in (1, 2, 3, 4)])
    assert (np.diff(costs.total) > 0).all()


# --- the expectation ---


@pytest.mark.parametrize("task", [Task(classes=3), REGRESSION], ids=["classes", "values"])
def test_mixture_is_the_expectation_so_far(task):
    _, model = build(PonderNet, tiny_vit(outputs=task.outputs), task, exit="expectation")
    inputs = inputs_for(model.backbone, 6)
    visits = model.trace(inputs)
    for position, visit in enumerate(visits):
        for row in range(6):
            halts = [float(torch.sigmoid(v.output.signal[row])) for v in visits[:position]]
            own = [v.output.aux["own"][row] for v in visits[: position + 1]]
            answers = own if task.kind == "regression" else [torch.softmax(logits, 0) for logits in own]
            expected = sum(p * a for p, a in zip(halting_by_definition(halts), answers, strict=True))
            found = visit.logits[row] if task.kind == "regression" else torch.softmax(visit.logits[row], 0)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.static(inputs, 3), visits[2].logits)


def test_lone_rows_of_a_padded_batch_say_the_same():
    """Text: what a row's neighbours are padded to must not reach its exits."""
    _, model = build(PonderNet, BACKBONES["text"](3))
    inputs = inputs_for(model.backbone)
    _, together = trace(model, QExit(), inputs)
    _, alone = trace(model, QExit(), pick(inputs, torch.tensor([7])))
    torch.testing.assert_close(alone[0], together[7], atol=1e-5, rtol=1e-5)


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("pondernet[halt_bias=-0.5,kl=forward,truncation=raw,lambda_p=0.3]")
    assert chosen.pinned == -0.5
    assert chosen.method == PonderNet(kl="forward", truncation="raw", lambda_p=0.3)
    assert (PonderNet().kl, PonderNet().beta) == (PALBERT().kl, PALBERT().beta)
    with pytest.raises(ValueError, match="between 0 and 1"):
        PonderNet(lambda_p=1.0)
    assert Registry.installed().choose("pondernet[exit=expectation,q=0.5]")[0].pinned == 0.5
