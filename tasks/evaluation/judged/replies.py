"""What a judge's endpoint has said so far, in parts of the pool seconds later, and whether it may be asked any more."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tasks.evaluation.judged.cost import spent
from tasks.program import Progress
from tasks.rows.parts import write_part

REPLY = pa.schema(
    [
        ("request", pa.string()),  # sha256 of judge, parameters and messages
        ("reply", pa.string()),  # JSON: content, finish_reason, top_logprobs of the first token, model
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)
PART_ROWS, PART_SECONDS = 500, 5.0


@dataclass
class Told:
    """What the endpoint has said so far."""

    out: Path
    progress: Progress
    known: int
    total: int
    replies: list[dict] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
    dollars: float = 0.0
    enough: str = ""  # why nothing more may be asked, once it may not
    written: int = 0
    last: float = field(default_factory=time.monotonic)

    def over(self, how: dict) -> str:
        """Whether the last reply has ended it: the limit is spent, or nobody knows what is."""
        if self.dollars > how["limit"]:
            return f"how.limit: ${self.dollars:,.2f} are spent, the limit is ${how['limit']:,.2f}"
        if (how["price_in"] or how["price_out"]) and not self.replies[-1]["prompt_tokens"]:
            return f"{how['url']}: does not say how many tokens it has used, and how.limit cannot be kept (prices of 0: none)"
        return ""

    def hear(self, row: dict, how: dict) -> None:
        self.replies.append(row)
        self.dollars += spent([row], how).dollars
        self.enough = self.enough or self.over(how)
        self.progress(self.known + len(self.replies), self.total, "judgements")
        if len(self.replies) - self.written >= PART_ROWS or time.monotonic() - self.last > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if fresh := self.replies[self.written :]:
            write_part(fresh, REPLY, self.out / f"part-{self.written:09d}.parquet")
        self.written, self.last = len(self.replies), time.monotonic()
