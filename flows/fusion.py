"""The method as a chain of stages: WRPO (arXiv 2412.03187). Building it runs nothing; every step knows its address.

Read it as the paper's method section. `flows/orchestrate.py` runs it on Prefect, `flows/plan.py` says what that does.
"""

from flows.answering import baselines, check_answers
from flows.recipe import Recipe
from flows.suite_chains import suite_results
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
from tasks.wrpo.settings import reference
from tasks.wrpo.stage import compute_reference, train_wrpo


def fusion(recipe: Recipe) -> Step:
    """The whole chain of a recipe; its last step is the report."""
    recipe.refuse_open_slots()
    how, judge, names = recipe.how, recipe.evaluation.judge, tuple(source.name for source in recipe.sources)
    prompts = select_prompts(**recipe.prompts.resolve("prompts"))
    target = obtain_model("model · target", **recipe.target.resolve("target"))
    reward = obtain_model("model · reward", **recipe.reward.resolve("reward.model"))

    # 1. Every source answers every prompt n times, and the reward model scores every answer. Where a rule asks which of
    #    them are correct, each is checked: answers are compared, programs run against tests.
    responses, scores, checks, opponents = [], [], [], {}
    for source in recipe.sources:
        model = obtain_model(f"model · {source.name}", **source.model.resolve(f"sources.{source.name}.model"))
        sampling = source.sampling or recipe.sampling
        responses += [sample_responses(f"per-model sampling · {source.name}", prompts=prompts, model=model,
                                       what=sampling, how=how.engine(source.name))]
        opponents |= {source.name: (model, sampling)} if source.answers else {}
        scores += [annotate_rewards(f"reward annotation · {source.name}", prompts=prompts, model=model, reward=reward,
                                    responses=responses[-1], what=recipe.reward.scoring, how=how.scoring)]
        if recipe.checks:
            checks += [check_responses(f"reward annotation · checks of {source.name}", prompts=prompts, model=model,
                                       responses=responses[-1], what=recipe.checks, how=how.checking)]
    sources = {"responses": responses, "scores": scores}
    made = sources | {"checks": checks}
    to_learn = Pairs(sources=recipe.pairs.uses(names), rule=recipe.pairs)
    to_imitate = SftRecords(sources=recipe.records.uses(names), rule=recipe.records)

    # 2. The prompts are split; by the recipe, only those that leave a pair count. The target is fine-tuned on the best
    #    answers to the SFT part.
    possible = [build_pairs("pairs · before splitting", prompts=prompts, **read_by(recipe.pairs, names, made),
                            what=to_learn)] if recipe.pairs_first else []
    splits = split_prompts(what=recipe.split, prompts=prompts, pairs=possible)
    on = {"prompts": prompts, "splits": splits}
    records = build_sft_records(**on, **read_by(recipe.records, names, made), what=to_imitate)
    sft = target if recipe.sft.form == "none" else train_sft(model=target, records=records, what=recipe.sft, how=how.sft)

    # 3. The fine-tuned target answers the preference prompts itself: its best is y_wt, its worst y_l; y_ws is the
    #    sources' best. On these triples it is optimised, trust moving from y_wt to y_ws as alpha rises. (Other rules
    #    leave other records, some of them none of its own responses.)
    own = sample_responses("per-model sampling · SFT model", **on, model=sft,
                           what=recipe.sampling.on("preference"), how=how.engine("SFT"))
    own_scores = annotate_rewards("reward annotation · SFT model", prompts=prompts, model=sft, reward=reward,
                                  responses=own, what=recipe.reward.scoring, how=how.scoring)
    pairs = build_pairs(**on, **read_by(recipe.pairs, names, made), what=to_learn,
                        **{"own_responses": own, "own_scores": own_scores} if recipe.pairs.reads_own else {})
    given = {"model": sft, "pairs": pairs}
    if asked := reference(recipe.wrpo):
        given["reference"] = compute_reference("WRPO · reference log-probs", **given, what=asked, how=how.wrpo)
    wrpo = train_wrpo(**given, what=recipe.wrpo, how=how.wrpo)

    # 4. On held-out prompts, before and after: the same checks say which answers are correct, and a judge that did not
    #    build the data says who won.
    tuned = {} if sft is target else {"SFT": sft}
    models = {name: (model, recipe.sampling) for name, model in ({"target": target} | tuned | {"WRPO": wrpo}).items()}
    answering = models | opponents
    answers = {name: sample_responses(f"evaluation · answers of {name}", **on, model=model, how=how.engine(name),
                                      what=sampling.on("held_out", n=1, temperature=recipe.evaluation.temperature))
               for name, (model, sampling) in answering.items()}
    asked = {name: model for name, (model, _) in answering.items()}
    beside = baselines(recipe, on, answers, asked, tuple(opponents), reward)
    checked = check_answers(recipe, prompts, answers | beside, asked)
    answers = [*answers.values(), *beside.values()]
    judging = obtain_model("model · judge", **judge.resolve("evaluation.judge.model"))
    judged = annotate_rewards("evaluation · judging", prompts=prompts, responses=answers, reward=judging,
                              what=judge.scoring, how=how.scoring)
    evaluation = evaluate("evaluation · results", **on, answers=answers, scores=judged, checks=checked, what=Evaluation(
        models=tuple(models), opponents=tuple(opponents), collectives=tuple(beside),
        confidence=recipe.evaluation.confidence, seed=recipe.evaluation.seed))
    suites = suite_results(recipe, {name: model for name, (model, _) in models.items()})

    # 5. Beside it all, other reward models score what the sources said: would they have chosen otherwise?
    jury = [annotate_rewards(f"reward annotation · {name} by {juror.name}", prompts=prompts, model=said.inputs["model"],
                             responses=said, what=juror.scoring, how=how.scoring,
                             reward=obtain_model(f"model · {juror.name}", **juror.resolve(f"jury.{juror.name}.model")))
            for juror in recipe.jury for name, said in zip(names, responses, strict=True)]
    return write_report(**sources, evaluation=evaluation, prompts=prompts, pairs=pairs, sft=[*tuned.values()], wrpo=wrpo,
                        reward=reward, judge=judging, jury=jury, suites=[*suites.values()], what=Report(
                            sources=names, jury=tuple(juror.name for juror in recipe.jury), suites=tuple(suites),
                            recipe=recipe.decisions()))


def read_by(rule: Rule, names: tuple[str, ...], made: dict[str, list[Step]]) -> dict[str, list[Step]]:
    """Of what was made for each source, the steps that a rule reads: what it does not read changes no address."""
    chosen, kinds = rule.uses(names), [kind for kind in made if kind != "checks" or rule.reads_checks]
    return {kind: [step for name, step in zip(names, made[kind], strict=True) if name in chosen] for kind in kinds}
