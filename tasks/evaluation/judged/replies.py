"""Records a judge's replies, writes them to parts of the pool, and stops the requests when the limit is spent."""

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
    """The replies so far and their cost."""

    out: Path
    progress: Progress
    known: int
    total: int
    replies: list[dict] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
    dollars: float = 0.0
    stop_reason: str = ""  # why no further request may be sent; empty while requests are allowed
    written: int = 0  # replies in parts
    last_write: float = field(default_factory=time.monotonic)

    def find_stop_reason(self, how: dict) -> str:
        """Why the last reply ends the requests: the limit is spent, or the endpoint does not count tokens."""
        if self.dollars > how["limit"]:
            return f"how.limit: ${self.dollars:,.2f} are spent, the limit is ${how['limit']:,.2f}"
        if (how["price_in"] or how["price_out"]) and not self.replies[-1]["prompt_tokens"]:
            return (
                f"{how['url']}: does not return token counts, so how.limit cannot be kept; set prices of 0 for no limit"
            )
        return ""

    def record(self, row: dict, how: dict) -> None:
        self.replies.append(row)
        self.dollars += spent([row], how).dollars
        self.stop_reason = self.stop_reason or self.find_stop_reason(how)
        self.progress(self.known + len(self.replies), self.total, "judgements")
        if len(self.replies) - self.written >= PART_ROWS or time.monotonic() - self.last_write > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if fresh := self.replies[self.written :]:
            write_part(fresh, REPLY, self.out / f"part-{self.written:09d}.parquet")
        self.written, self.last_write = len(self.replies), time.monotonic()
