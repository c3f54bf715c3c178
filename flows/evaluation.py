"""Evaluates any models on any suites, without training. Each suite is a separate chain that ends in its results."""

from typing import cast

from flows.config.examination import Collective, Examination, Examined, Outputs, RecipeModel
from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.suites.chains import suite_chains
from infra.errors import BadInput
from tasks.evaluation.stage import Evaluation
from tasks.models.stage import HubModel, ModelFolder, TinyGenerator, obtain_model
from tasks.stage import Step


def build_chains(examination: Examination) -> dict[str, Step]:
    """The last step of every suite, by the suite's name: the results of all models."""
    models = {
        examined.name: model_step(examined)
        for examined in examination.models
        if not isinstance(examined.model, Outputs | Collective)
    }
    return suite_chains(examination, models)


def model_step(examined: Examined) -> Step:
    field = f"models.{examined.name}.model"
    if isinstance(examined.model, RecipeModel):
        return made_by(examined.model, field)
    model = cast("TinyGenerator | ModelFolder | HubModel", examined.model)  # the only other kinds with a model step
    return obtain_model(f"model · {examined.name}", **model.resolve(field))


def made_by(source: RecipeModel, field: str) -> Step:
    """The step that makes the model `source.of`: one of the models that the recipe's own evaluation compares."""
    evaluation = fusion(load_recipe(source.recipe, source.set)).inputs["evaluation"][0]
    what = cast("Evaluation", evaluation.what)
    names = (*what.models, *what.opponents)
    answers = zip(names, evaluation.inputs["answers"], strict=False)  # the collectives' answers come last: not needed
    made = {name: responses.inputs["model"][0] for name, responses in answers}
    if source.of not in made:
        raise BadInput(f"{field}.of: {source.recipe} has no model {source.of!r}; it has {', '.join(made)}")
    return made[source.of]
