"""What a tenant's own agent could try in order to learn of one person from aggregates."""

from __future__ import annotations

import math
import random
from statistics import fmean

import numpy as np
import pytest
from tests.aggregate_fakes import (
    PEOPLE,
    MemoryAccountant,
    Town,
    between,
    colleague,
    dataset,
    is_,
    table,
)

from mc_platform.aggregate import Query
from mc_platform.aggregate.noise import answer, large_enough, margin
from mc_platform.errors import BudgetSpent, Unavailable
from mc_platform.model.dataset import MICRO

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("apart", [1, 5, 9])
async def test_differencing_is_refused_whoever_asks_the_second_query(apart):
    """All, and all but a few: the difference would be about the few."""
    for _ in range(10):
        town = Town()
        assert (await town.ask(between(0, PEOPLE - 1 - apart))).answer
        refused = await town.ask(who=colleague(1))
        assert refused.answer is None
        # In the other order, and for another measure
        town = Town()
        assert (await town.ask(measure="sum", column="income")).answer
        assert (await town.ask(between(apart, PEOPLE - 1))).answer is None


async def test_queries_about_different_people_are_answered():
    town = Town()
    for name in ("north", "east", "south", "west"):
        outcome = await town.ask(is_("town", name))
        assert abs(outcome.answer.value - 100) < 60
    assert (await town.ask()).answer


async def test_a_tracker_finds_no_padding_that_hides_one_person():
    """T, and T with the person: the person alone is too small a group, and so is the difference."""
    town = Town()
    assert (await town.ask(between(50, 50))).answer is None
    assert (await town.ask(between(100, 200))).answer
    assert (await town.ask(between(100, 201))).answer is None
    assert (await town.ask(between(99, 200))).answer is None
    assert (await town.ask(between(201, 399))).answer  # the rest of it is far from T


async def test_averaging_gets_one_draw_however_it_is_worded():
    town = Town()
    first = await town.ask(is_("town", "north"), between(10, 300))
    spent = town.spent
    wordings = [
        (between(10, 300), is_("town", "north")),
        ({"column": "town", "op": "in", "value": ["north", "north"]}, between(9.2, 300.9)),
        (between(10, 350), between(-5, 300), is_("town", "north")),
        (is_("town", "north"), between(10, 300), {"column": "secret", "op": "in", "value": ["yes", "no"]}),
    ]  # fmt: skip
    for where in wordings * 20:
        again = await town.ask(*where, epsilon=1.0, who=colleague(2))
        assert (again.answer, again.epsilon, again.repeated) == (first.answer, 0, True)
    assert town.spent == spent
    assert town.rows.reads == 1


async def test_a_wording_that_selects_the_same_people_by_other_conditions_gets_no_second_draw():
    """Nobody with the income 100.5 or more is there: the bound excludes nobody."""
    town = Town(rows=table(people=200))
    assert (await town.ask(measure="mean", column="income")).answer
    outcome = await town.ask(between(0, 99.5, "income"), measure="mean", column="income")
    assert outcome.answer is None


async def test_a_refusal_is_kept_too_so_that_asking_again_does_not_pass_by_luck():
    """A group this small is refused mostly; where it was, it is each time."""
    town = Town()
    while (await town.ask(between(0, 14))).answer:
        town = Town()
    for _ in range(50):
        assert (await town.ask(between(0, 14))).answer is None
    assert town.spent == town.dataset.test_epsilon / MICRO


def test_the_refusal_is_no_oracle_of_the_exact_size():
    """Where one person more matters most, the chance of an answer moves by e^epsilon at most."""
    rules = dataset()
    at = rules.minimum_group + margin(MICRO / rules.test_epsilon, rules)
    trials = 1500
    rates = [sum(large_enough(at + more, rules) for _ in range(trials)) / trials for more in (0, 1)]
    slack = 4 * math.sqrt(0.25 / trials)
    bound = math.exp(rules.test_epsilon / MICRO)
    assert 0.3 < rates[0] < rates[1] + slack  # it is where the chance is open
    assert rates[1] <= bound * rates[0] + (1 + bound) * slack
    assert 1 - rates[0] <= bound * (1 - rates[1]) + (1 + bound) * slack
    # Below the minimum there is none at all, as far as anybody can observe
    assert not any(large_enough(rules.minimum_group - 1, rules) for _ in range(trials))


@pytest.mark.parametrize(("measure", "target"), [("count", 0), ("sum", 200), ("mean", 200)])
def test_membership_inference_has_no_more_advantage_than_epsilon_allows(measure, target):
    """The attacker knows everybody but the target, and asks of a group that it may be in."""
    rules = dataset()
    column = rules.columns["income"] if measure != "count" else None
    draw = random.Random(f"membership {measure}")
    others = [draw.randrange(201) for _ in range(60)]
    epsilon = MICRO
    query = Query(rules.name, measure, "income" if column else "", ())
    trials = 2000
    outs, ins = (
        [answer(query, group, column, epsilon).value for _ in range(trials)]
        for group in (others, [*others, target])
    )
    thresholds = sorted([*outs, *ins])[:: trials // 50]
    ins_a, outs_a = np.array(ins), np.array(outs)
    advantage = max(
        abs(float((ins_a >= at).mean()) - float((outs_a >= at).mean())) for at in thresholds
    )
    bound = (math.e - 1) / (math.e + 1)  # total variation of any 1-private mechanism
    assert advantage <= bound + 4 * math.sqrt(0.5 / trials)
    if measure != "mean":
        assert advantage > bound / 2  # the attack works as well as it can, so the bound is tried


async def test_inclusion_and_exclusion_over_large_groups_meets_the_noise():
    """All less one half less the other: no two of the three groups are close, yet they add up.

    Overlap control cannot see this; the noise of three answers leaves more than one person open.
    """
    errors = []
    for seed in range(30):
        secrets = set(random.Random(seed).sample(range(PEOPLE), 200))
        town = Town(rows=table(secrets))
        total = 0.0
        for low, high, sign in ((0, 399, 1), (0, 199, -1), (200, 399, -1)):
            outcome = await town.ask(between(low, high), is_("secret", "yes"))
            if outcome.answer is None:
                break
            total += sign * outcome.answer.value
        else:
            errors.append(abs(total))
    assert len(errors) > 20
    assert fmean(errors) > 1  # the truth is 0; without noise every error is


async def test_reconstruction_ends_with_the_budget_and_fails():
    """Prefix counts of a secret bit, over and over, by four principals that work together."""
    draw = random.Random("reconstruction")
    secrets = set(draw.sample(range(PEOPLE), PEOPLE // 2))
    town = Town(rows=table(secrets), principal_epsilon=10, tenant_epsilon=30)
    rows, counts, ended = [], [], 0
    for number in range(400):
        low, high = sorted(draw.sample(range(PEOPLE), 2))
        try:
            outcome = await town.ask(
                between(low, high), is_("secret", "yes"), who=colleague(number % 4)
            )
        except BudgetSpent:
            ended += 1
            continue
        if outcome.answer:
            rows.append([low <= place <= high for place in range(PEOPLE)])
            counts.append(outcome.answer.value)
    assert ended > 300
    assert town.spent <= 30
    truth = np.array([place in secrets for place in range(PEOPLE)])
    assert _guessed(rows, counts, truth) < 0.65
    # The same attack on exact answers, all prefixes, finds everybody
    exact = [[place <= high for place in range(PEOPLE)] for high in range(PEOPLE)]
    assert _guessed(exact, [truth[: high + 1].sum() for high in range(PEOPLE)], truth) == 1.0


def _guessed(rows, counts, truth):
    """The share of bits that least squares gets right, started from the base rate."""
    matrix = np.array(rows, dtype=float)
    rest = np.array(counts, dtype=float) - matrix @ np.full(len(truth), 0.5)
    bits, *_ = np.linalg.lstsq(matrix, rest, rcond=None)
    return float(((bits > 0) == truth).mean())


async def test_a_crash_after_the_charge_gives_nothing_back():
    class Forgetful(MemoryAccountant):
        async def end(self, query_id, answer):
            raise Unavailable("down")

    town = Town(accountant=Forgetful())
    for times in (1, 2, 3):
        with pytest.raises(Unavailable):
            await town.ask()
        assert town.spent == pytest.approx(times * 1.0)


async def test_what_the_query_will_need_is_looked_at_before_its_test_is_charged():
    town = Town(principal_epsilon=1.2, tenant_epsilon=5)
    assert (await town.ask(is_("town", "east"))).remaining.principal == 200_000
    with pytest.raises(BudgetSpent):
        await town.ask(is_("town", "west"))
    assert town.spent == pytest.approx(1.0)
    assert (await town.ask(is_("town", "west"), who=colleague(1))).answer


async def test_who_is_overtaken_between_test_and_answer_is_told_what_the_test_has_cost():
    class Overtaken(MemoryAccountant):
        async def begin(self, opening):
            turn = await super().begin(opening)
            self.charges.append(("colleague-1", 4_200_000))
            return turn

    town = Town(accountant=Overtaken(), principal_epsilon=5, tenant_epsilon=5)
    with pytest.raises(BudgetSpent, match=r"its test has spent 0\.5$") as refused:
        await town.ask()
    assert refused.value.epsilon == 500_000
    assert town.spent == pytest.approx(4.7)
