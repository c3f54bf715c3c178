"""How a model's answers to a suite come about: sampled, turn by turn; read from a file; or chosen among other models' answers."""

from flows.examination import (
    BestByReward,
    Checked,
    Collective,
    Decoding,
    Examination,
    Examined,
    Judged,
    OfRecipe,
    Outputs,
    name_of,
)
from flows.fusion import fusion
from flows.seeds import derived
from flows.written import load
from infra.errors import BadInput
from tasks.evaluation.choosing import Choosing, SurpriseHow, choose_answers, measure_surprise
from tasks.evaluation.given import take_answers
from tasks.evaluation.opening import continue_dialogue
from tasks.evaluation.suites import SUITES
from tasks.models.stage import obtain_model
from tasks.responses.stage import Sampling, sample_responses
from tasks.scores.stage import ScoringHow, annotate_rewards
from tasks.stage import Step, What


def answers(
    examination: Examination,
    suite: Judged | Checked,
    opened: Step,
    one: Examined,
    models: dict[str, Step],
    before: dict[str, list[Step]],
) -> list[Step]:
    """A model's answers, a step per turn; or those that a file holds; or the best of those `before`."""
    if isinstance(one.model, Collective):
        return [collective(suite, opened, one, models, before)]
    if isinstance(one.model, Outputs):
        at = one.model.resolve(f"models.{one.name}.model")
        return [take_answers(f"{name_of(suite)} · outputs of {one.name}", suite=opened, **at)]
    said = [answer(examination, suite, opened, models[one.name], one.name)]
    if isinstance(suite, Judged) and SUITES[suite.suite].TURNS == 2:
        label = f"{name_of(suite)} · second turns of {one.name}"
        turns = continue_dialogue(label, suite=opened, responses=said, what=What())
        said.append(answer(examination, suite, turns, models[one.name], one.name))
    return said


def collective(
    suite: Judged | Checked, opened: Step, one: Examined, models: dict[str, Step], before: dict[str, list[Step]]
) -> Step:
    name, chosen = name_of(suite), one.model
    said = [before[member][0] for member in chosen.members]
    if isinstance(chosen, BestByReward):
        reward = obtain_model(
            f"model · reward of {one.name}", **chosen.reward.model.resolve(f"models.{one.name}.model.reward.model")
        )
        by = {
            "scores": annotate_rewards(
                f"{name} · scores for {one.name}",
                prompts=opened,
                responses=said,
                reward=reward,
                what=chosen.reward.scoring,
                how=ScoringHow(),
            )
        }
    else:
        by = {
            "surprises": [
                measure_surprise(
                    f"{name} · perplexity of {who}", prompts=opened, model=models[who], what=What(), how=SurpriseHow()
                )
                for who in chosen.members
            ]
        }
    what = Choosing(members=chosen.members)
    return choose_answers(f"{name} · answers of {one.name}", responses=said, what=what, **by)


def answer(examination: Examination, suite: Decoding, prompts: Step, model: Step, who: str) -> Step:
    what = Sampling(
        n=1,
        temperature=suite.temperature,
        top_p=suite.top_p,
        max_new_tokens=suite.max_new_tokens,
        seed=derived(examination.seed, "sampling"),
    )
    label = f"{name_of(suite)} · answers of {who}"
    return sample_responses(label, prompts=prompts, model=model, what=what, how=examination.sampling)


def model_step(one: Examined) -> Step:
    field = f"models.{one.name}.model"
    if isinstance(one.model, OfRecipe):
        return made_by(one.model, field)
    return obtain_model(f"model · {one.name}", **one.model.resolve(field))


def made_by(source: OfRecipe, field: str) -> Step:
    """The model of that name among those which the recipe's own evaluation compares."""
    evaluation = fusion(load(source.recipe, source.set)).inputs["evaluation"][0]
    names = (*evaluation.what.models, *evaluation.what.opponents)
    answers = zip(names, evaluation.inputs["answers"], strict=True)
    made = {name: said.inputs["model"][0] for name, said in answers}
    if source.of not in made:
        raise BadInput(f"{field}.of: {source.recipe} has no model {source.of!r}, but {', '.join(made)}")
    return made[source.of]
