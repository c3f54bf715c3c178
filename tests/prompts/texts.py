"""Made-up texts that behave like prompts: words of a Zipf-like vocabulary, natural lengths, phrases that recur.

The k-th of 30,000 words has a weight of 1/(k + 2.7); words are letters of English frequencies, shorter where frequent.
A text has a log-normal number of words: median 28, 4% below 8 and 13% below 13, as in 7,000 items of real benchmarks;
prompts to be trained on are longer (`median`, `spread`). Sentences have about 14 words. One text in five begins with one
of 40 openings of four to seven words and one sentence in twenty is one of 300 stock phrases of four to seven words, so
that texts share phrases: one clean text in 150 has eight words in a row that stand in one of 7,000 benchmark items,
more often than the one in 400 that was measured on real prompts.
"""

import random
import string
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import log

LETTERS = "etaoinshrdlcumwfgypbvk"
WORDS = 30_000


@cache
def vocabulary(world: int) -> tuple[list[str], list[float], list[list[str]], list[list[str]]]:
    """Words, their cumulated weights, openings and stock phrases."""
    making = random.Random(f"world {world}")
    likely = [1 / (place + 1.5) for place in range(len(LETTERS))]
    seen: dict[str, None] = {}
    while len(seen) < WORDS:
        size = min(12, 2 + int(len(seen) ** 0.2) + making.randrange(4))
        seen.setdefault("".join(making.choices(LETTERS, likely, k=size)))
    words, weights = list(seen), list(accumulate(1 / (place + 2.7) for place in range(WORDS)))
    phrases = [making.choices(words, cum_weights=weights, k=4 + making.randrange(4)) for _ in range(340)]
    return words, weights, phrases[:40], phrases[40:]


@dataclass
class Writer:
    """Writes texts from a seed; writers of one `world` share words and phrases."""

    seed: int
    world: int = 0
    median: float = 28
    spread: float = 0.69

    def __post_init__(self):
        self.words, self.weights, self.openings, self.stock = vocabulary(self.world)
        self.source = random.Random(f"writer {self.seed}")

    def draw(self, count: int) -> list[str]:
        return self.source.choices(self.words, cum_weights=self.weights, k=count)

    def text(self) -> str:
        left = max(3, min(1500, round(self.source.lognormvariate(log(self.median), self.spread))))
        sentences = [list(self.source.choice(self.openings))] if self.source.random() < 0.2 else []
        while left > 0:
            stock = self.source.random() < 0.05
            sentence = (
                list(self.source.choice(self.stock)) if stock else self.draw(min(left, 4 + self.source.randrange(20)))
            )
            sentences.append(sentence)
            left -= len(sentence)
        return " ".join(" ".join(one).capitalize() + self.source.choice(".?.!") for one in sentences)

    def texts(self, count: int) -> list[str]:
        return [self.text() for _ in range(count)]

    def wrapped(self, text: str) -> str:
        """Inside of another prompt, with words before it and behind."""
        return f"{' '.join(self.draw(30)).capitalize()}:\n\n{text}\n\n{' '.join(self.draw(15)).capitalize()}."

    def thinned(self, text: str, share: float) -> str:
        """Without that share of its words, one at least."""
        parts = text.split(" ")
        gone = set(self.source.sample(range(len(parts)), max(1, round(len(parts) * share))))
        return " ".join(part for place, part in enumerate(parts) if place not in gone)

    def respelled(self, text: str) -> str:
        """The same words in other case, spacing and punctuation."""
        return "  ".join(part.strip(string.punctuation).upper() for part in text.split(" ")) + " !"
