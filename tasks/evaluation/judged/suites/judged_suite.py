"""The interface of a judged suite. Each suite is one subclass without state; `SUITES` holds one object of each."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from tasks.evaluation.judged.suites.files import Game, Question


class JudgedSuite(ABC):
    """A benchmark whose answers a judge model compares or rates, with the prompts and rules that its authors published."""

    files: ClassVar[dict[str, str]]  # name -> where the authors publish the file
    optional: ClassVar[dict[str, str]] = {}  # the same for files that only some forms of the suite need
    parameters: ClassVar[dict[str, Any]]  # of each request to the judge
    reply_tokens: int  # estimated length of a reply, used until the judge has given enough replies
    turns: int = 1  # answers per question
    full_marks: int = 100  # highest value of the suite's metrics

    def names(self, given: Collection[str]) -> list[str]:
        """The suite's files, with the optional ones that are in `given`."""
        return [*self.files, *(name for name in self.optional if name in given)]

    @abstractmethod
    def read_questions(self, folder: Path) -> list[Question]: ...

    @abstractmethod
    def read_judge_prompt(self, folder: Path) -> Any:
        """The judge's instructions, in the form that `make_games` needs."""

    @abstractmethod
    def make_games(
        self, judge_prompt: Any, question: Question, answers: tuple[str, ...], both_orders: bool = False
    ) -> list[Game]:
        """The requests to the judge about one question."""

    @abstractmethod
    def read_verdict(self, reply: dict, game_name: str) -> float | str | None:
        """The verdict in a judge's reply; None if the reply has no valid verdict."""

    def losing_verdict(self, game_name: str) -> float | str:
        """The verdict for a degenerate answer. The judge is not asked."""
        return 1.0


class TwoAnswerSuite(JudgedSuite):
    """A suite whose judge sees two answers, the model's and the baseline's."""

    @abstractmethod
    def share_of_first(self, verdict: Any, game_name: str) -> float:
        """The share of the verdict, 0 to 1, that went to the answer shown first."""
