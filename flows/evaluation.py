"""Evaluating models alone: any models on any suites, each suite a chain of its own that ends in its results."""

from flows.config.examination import Collective, Examination, Examined, OfRecipe, Outputs
from flows.config.loading import load
from flows.fusion import fusion
from flows.suites.chains import suite_chains
from infra.errors import BadInput
from tasks.models.stage import obtain_model
from tasks.stage import Step


def chains(examination: Examination) -> dict[str, Step]:
    """The last step of every suite, by its name: its results, of all models."""
    models = {
        one.name: model_step(one) for one in examination.models if not isinstance(one.model, Outputs | Collective)
    }
    return suite_chains(examination, models)


def model_step(one: Examined) -> Step:
    field = f"models.{one.name}.model"
    if isinstance(one.model, OfRecipe):
        return made_by(one.model, field)
    return obtain_model(f"model · {one.name}", **one.model.resolve(field))


def made_by(source: OfRecipe, field: str) -> Step:
    """The model of that name among those which the recipe's own evaluation compares."""
    evaluation = fusion(load(source.recipe, source.set)).inputs["evaluation"][0]
    names = (*evaluation.what.models, *evaluation.what.opponents)
    answers = zip(names, evaluation.inputs["answers"], strict=False)  # collectives follow
    made = {name: said.inputs["model"][0] for name, said in answers}
    if source.of not in made:
        raise BadInput(f"{field}.of: {source.recipe} has no model {source.of!r}, but {', '.join(made)}")
    return made[source.of]
