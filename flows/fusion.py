"""The method as a chain of stages: WRPO (arXiv 2412.03187). Building the chain runs nothing; every step knows its address.

Read `fusion` as the paper's method section; each of its verbs is a function below. `flows/run/` executes the chain on
Prefect, `flows/plan.py` shows what a run would do.
"""

from dataclasses import dataclass, field
from typing import Any

from flows.config.recipe import Recipe
from flows.config.usable import refuse_unusable_prompts
from flows.suites.answers import answer_baselines, check_answers
from flows.suites.chains import suite_results
from tasks.checks.stage import check_responses
from tasks.evaluation.stage import Evaluation, evaluate
from tasks.models.stage import obtain_model
from tasks.pairs.rules import Rule
from tasks.pairs.stage import Pairs, SftRecords, build_pairs, build_sft_records
from tasks.prompts.stage import select_prompts
from tasks.report.stage import Report, write_report
from tasks.responses.stage import sample_responses
from tasks.scores.stage import annotate_rewards
from tasks.sft.stage import train_sft
from tasks.splits.stage import split_prompts
from tasks.stage import Step
from tasks.wrpo.settings import reference_settings
from tasks.wrpo.stage import compute_reference, train_wrpo


def fusion(recipe: Recipe) -> Step:
    """The whole chain of a recipe; its last step is the report."""
    recipe.refuse_open_slots()
    refuse_unusable_prompts(recipe)
    prompts = select_prompts(**recipe.prompts.resolve("prompts"))
    target = obtain_model("model · target", **recipe.target.resolve("target"))
    reward = obtain_model("model · reward", **recipe.reward.resolve("reward.model"))
    judge = obtain_model("model · judge", **recipe.evaluation.judge.resolve("evaluation.judge.model"))

    sources = ask_sources(recipe, prompts, reward)
    splits = split_parts(recipe, prompts, sources)
    sft = fine_tune(recipe, prompts, splits, sources, target)
    pairs = pair_responses(recipe, prompts, splits, sources, sft, reward)
    wrpo = optimise(recipe, sft, pairs)

    models = {"target": target} | ({} if sft is target else {"SFT": sft}) | {"WRPO": wrpo}
    evaluation = compare_on_held_out(recipe, prompts, splits, models, sources, reward, judge)
    suites = suite_results(recipe, models)
    jury = score_by_jury(recipe, prompts, sources)
    return write_report(
        responses=sources.responses,
        scores=sources.scores,
        evaluation=evaluation,
        prompts=prompts,
        pairs=pairs,
        sft=[model for name, model in models.items() if name == "SFT"],
        wrpo=wrpo,
        reward=reward,
        judge=judge,
        jury=jury,
        suites=[*suites.values()],
        what=Report(
            sources=tuple(sources.names),
            jury=tuple(juror.name for juror in recipe.jury),
            suites=tuple(suites),
            recipe=recipe.decisions(),
        ),
    )


@dataclass
class Sources:
    """The steps of the source models: one step per source in each list, in the recipe's order."""

    names: list[str] = field(default_factory=list)
    models: list[Step] = field(default_factory=list)
    responses: list[Step] = field(default_factory=list)
    scores: list[Step] = field(default_factory=list)
    checks: list[Step] = field(default_factory=list)  # empty if the recipe has no [checks]

    def read_by(self, rule: Rule) -> dict[str, Any]:
        """Only the steps that a rule reads, so that no other step changes the address of the rule's stage."""
        kept = [place for place, name in enumerate(self.names) if name in rule.uses(tuple(self.names))]
        kinds = {"responses": self.responses, "scores": self.scores}
        if rule.reads_checks:
            kinds["checks"] = self.checks
        return {kind: [steps[place] for place in kept] if steps else [] for kind, steps in kinds.items()}


def ask_sources(recipe: Recipe, prompts: Step, reward: Step) -> Sources:
    """Every source answers every prompt n times. The reward model scores every answer, and checks find the correct ones."""
    sources = Sources()
    for source in recipe.sources:
        name = source.name
        model = obtain_model(f"model · {name}", **source.model.resolve(f"sources.{name}.model"))
        given = {"prompts": prompts, "model": model}
        responses = sample_responses(
            f"per-model sampling · {name}",
            **given,
            what=source.sampling or recipe.sampling,
            how=recipe.how.engine(name),
        )
        scores = annotate_rewards(
            f"reward annotation · {name}",
            **given,
            reward=reward,
            responses=responses,
            what=recipe.reward.scoring,
            how=recipe.how.scoring,
        )
        if recipe.checks:
            label, how = f"reward annotation · checks of {name}", recipe.how.checking
            sources.checks.append(check_responses(label, **given, responses=responses, what=recipe.checks, how=how))
        sources.names.append(name)
        sources.models.append(model)
        sources.responses.append(responses)
        sources.scores.append(scores)
    return sources


def split_parts(recipe: Recipe, prompts: Step, sources: Sources) -> Step:
    """Splits the prompts into parts for SFT, for preference optimisation and for evaluation. Some recipes first build pairs
    from all prompts, and the split then counts only prompts that have a pair."""
    pairs = []
    if recipe.pairs_first:
        what = Pairs(sources=recipe.pairs.uses(tuple(sources.names)), rule=recipe.pairs)
        pairs = [build_pairs("pairs · before splitting", prompts=prompts, **sources.read_by(recipe.pairs), what=what)]
    return split_prompts(what=recipe.split, prompts=prompts, pairs=pairs)


def fine_tune(recipe: Recipe, prompts: Step, splits: Step, sources: Sources, target: Step) -> Step:
    """The target, fine-tuned on the sources' best answers to the SFT prompts; the target itself if there is no SFT."""
    if recipe.sft.form == "none":
        return target
    what = SftRecords(sources=recipe.records.uses(tuple(sources.names)), rule=recipe.records)
    records = build_sft_records(prompts=prompts, splits=splits, **sources.read_by(recipe.records), what=what)
    return train_sft(model=target, records=records, what=recipe.sft, how=recipe.how.sft)


def pair_responses(recipe: Recipe, prompts: Step, splits: Step, sources: Sources, sft: Step, reward: Step) -> Step:
    """The fine-tuned target answers the preference prompts: its best answer is y_wt, its worst y_l. The sources' best answer
    is y_ws. Some rules build pairs from the sources' answers only; then this sampling is left out."""
    own: dict[str, Any] = {}
    if recipe.pairs.reads_own:
        given = {"prompts": prompts, "model": sft}
        responses = sample_responses(
            "per-model sampling · SFT model",
            **given,
            splits=splits,
            what=recipe.sampling.on("preference"),
            how=recipe.how.engine("SFT"),
        )
        scores = annotate_rewards(
            "reward annotation · SFT model",
            **given,
            reward=reward,
            responses=responses,
            what=recipe.reward.scoring,
            how=recipe.how.scoring,
        )
        own = {"own_responses": responses, "own_scores": scores}
    what = Pairs(sources=recipe.pairs.uses(tuple(sources.names)), rule=recipe.pairs)
    return build_pairs(prompts=prompts, splits=splits, **sources.read_by(recipe.pairs), **own, what=what)


def optimise(recipe: Recipe, sft: Step, pairs: Step) -> Step:
    """Preference optimisation: trust moves from y_wt to y_ws as alpha rises. The reference log-probabilities are a separate
    step, which all objectives that train on these pairs share."""
    given: dict[str, Any] = {"model": sft, "pairs": pairs}
    if needed := reference_settings(recipe.wrpo):
        label = "WRPO · reference log-probs"
        given["reference"] = compute_reference(label, model=sft, pairs=pairs, what=needed, how=recipe.how.wrpo)
    return train_wrpo(**given, what=recipe.wrpo, how=recipe.how.wrpo)


def compare_on_held_out(
    recipe: Recipe, prompts: Step, splits: Step, models: dict[str, Step], sources: Sources, reward: Step, judge: Step
) -> Step:
    """Compares target, SFT, WRPO, the sources, and the baselines made from the sources' answers, on prompts that no model
    was trained on. The recipe's checks find the correct answers; a reward model that did not build the data is the judge."""
    samplings = {name: (model, recipe.sampling) for name, model in models.items()}
    for source, model in zip(recipe.sources, sources.models, strict=True):
        if source.answers:
            samplings[source.name] = (model, source.sampling or recipe.sampling)
    answering = {name: model for name, (model, _) in samplings.items()}
    opponents = tuple(name for name in answering if name not in models)
    held_out = {"prompts": prompts, "splits": splits}
    answers = {
        name: sample_responses(
            f"evaluation · answers of {name}",
            **held_out,
            model=model,
            what=sampling.on("held_out", n=1, temperature=recipe.evaluation.temperature),
            how=recipe.how.engine(name),
        )
        for name, (model, sampling) in samplings.items()
    }
    collectives = answer_baselines(recipe, held_out, answers, answering, opponents, reward)
    answers |= collectives
    scores = annotate_rewards(
        "evaluation · judging",
        prompts=prompts,
        responses=[*answers.values()],
        reward=judge,
        what=recipe.evaluation.judge.scoring,
        how=recipe.how.scoring,
    )
    return evaluate(
        "evaluation · results",
        prompts=prompts,
        splits=splits,
        answers=[*answers.values()],
        scores=scores,
        checks=check_answers(recipe, prompts, answers, answering),
        what=Evaluation(
            models=tuple(models),
            opponents=opponents,
            collectives=tuple(collectives),
            confidence=recipe.evaluation.confidence,
            seed=recipe.evaluation.seed,
        ),
    )


def score_by_jury(recipe: Recipe, prompts: Step, sources: Sources) -> list[Step]:
    """Other reward models score the same source responses, to show if they would have chosen other responses. No training
    data is built from these scores."""
    return [
        annotate_rewards(
            f"reward annotation · {name} by {juror.name}",
            prompts=prompts,
            model=model,
            responses=responses,
            reward=obtain_model(f"model · {juror.name}", **juror.resolve(f"jury.{juror.name}.model")),
            what=juror.scoring,
            how=recipe.how.scoring,
        )
        for juror in recipe.jury
        for name, model, responses in zip(sources.names, sources.models, sources.responses, strict=True)
    ]
