"""The method, as a chain of stages: WRPO (arXiv 2412.03187). Building it runs nothing; every step knows its address.

Read it as the paper's method section. `flows/orchestrate.py` runs it on Prefect, `flows/plan.py` says what that would do.
"""

from flows.recipe import Recipe
from tasks.evaluation.stage import Evaluation, evaluate
from tasks.models.stage import obtain_model
from tasks.pairs.stage import BestOfSources, Triples, build_pairs, build_sft_records
from tasks.prompts.stage import select_prompts
from tasks.report.stage import Report, write_report
from tasks.responses.stage import sample_responses
from tasks.scores.stage import annotate_rewards
from tasks.sft.stage import train_sft
from tasks.splits.stage import split_prompts
from tasks.stage import Stage, Step
from tasks.wrpo.stage import train_wrpo


def fusion(recipe: Recipe) -> Step:
    """The whole chain of a recipe; its last step is the report."""
    how = recipe.how
    names = tuple(source.name for source in recipe.sources)
    prompts = made(select_prompts, recipe.prompts)
    splits = split_prompts(what=recipe.split, prompts=prompts)
    reward = model("model · reward", "reward.model", recipe.reward.model)
    judge = model("model · judge", "evaluation.judge.model", recipe.evaluation.judge.model)
    target = model("model · target", "target", recipe.target)

    def sample(label, who, sampling, **also):
        return sample_responses(f"per-model sampling · {label}", what=sampling, how=how.sampling, prompts=prompts, model=who, **also)

    def annotate(label, who, responses):
        return annotate_rewards(f"reward annotation · {label}", what=recipe.reward.scoring, how=how.scoring,
                                prompts=prompts, reward=reward, responses=responses, model=who)

    # 1. Every source answers every prompt n times, and the reward model scores every answer.
    models = [model(f"model · {source.name}", f"sources.{source.name}.model", source.model) for source in recipe.sources]
    responses = [sample(source.name, who, source.sampling or recipe.sampling)
                 for source, who in zip(recipe.sources, models, strict=True)]
    scores = [annotate(name, who, said) for name, who, said in zip(names, models, responses, strict=True)]

    # 2. The target is fine-tuned on the best answer of all sources, on the SFT part of the prompts.
    records = build_sft_records(what=BestOfSources(sources=names), prompts=prompts, splits=splits, responses=responses, scores=scores)
    sft = train_sft(what=recipe.sft, how=how.sft, model=target, records=records)

    # 3. The fine-tuned target answers the preference prompts itself: its best is y_wt, its worst y_l; y_ws is the sources' best.
    own = sample("SFT model", sft, recipe.sampling.model_copy(update={"parts": ("preference",)}), splits=splits)
    own_scores = annotate("SFT model", sft, own)
    pairs = build_pairs(what=Triples(sources=names, margin=recipe.pairs.margin), prompts=prompts, splits=splits,
                        responses=responses, scores=scores, own_responses=own, own_scores=own_scores)
    wrpo = train_wrpo(what=recipe.wrpo, how=how.wrpo, model=sft, pairs=pairs)

    # 4. On held-out prompts, before and after; a judge that did not build the data says who won.
    held_out = recipe.sampling.model_copy(update={"n": 1, "temperature": recipe.evaluation.temperature, "parts": ("held_out",)})
    answers = [sample_responses(f"evaluation · answers of {name}", what=held_out, how=how.sampling, prompts=prompts, model=who, splits=splits)
               for name, who in (("target", target), ("SFT", sft), ("WRPO", wrpo))]
    first = recipe.evaluation.judge.scoring.model_copy(update={"parts": ("held_out",), "samples": 1})
    judged = annotate_rewards("evaluation · judging", what=first, how=how.scoring, prompts=prompts, splits=splits,
                              reward=judge, responses=[*answers, *responses])
    evaluation = evaluate("evaluation · results", prompts=prompts, splits=splits, answers=answers, opponents=responses, scores=judged,
                          what=Evaluation(models=("target", "SFT", "WRPO"), opponents=names,
                                          confidence=recipe.evaluation.confidence, seed=recipe.evaluation.seed))
    return write_report(what=Report(sources=names, recipe=recipe.decisions()), prompts=prompts, splits=splits, responses=responses,
                        scores=scores, own_responses=own, own_scores=own_scores, pairs=pairs, sft=sft, wrpo=wrpo, records=records,
                        answers=answers, judged=judged, evaluation=evaluation)


def made(stage: Stage, source) -> Step:
    what, how = source.resolve()
    return stage(what=what, how=how)


def model(label: str, field: str, source) -> Step:
    what, how = source.resolve(field)
    return obtain_model(label, what=what, how=how)
