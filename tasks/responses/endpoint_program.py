"""Program: asks an OpenAI-compatible endpoint for responses and writes them as they arrive.

JOB {rows, prompts, what, how, url, known, tokenizer, found}; writes OUT/part-*.parquet. A server with `speaks = "tokens"`
gets the same token ids as every other engine; one with `speaks = "chat"` gets the messages and applies its own chat template.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from infra.errors import BadInput
from infra.settings import read_secret
from tasks.endpoint.ask_served_model import find_served_model
from tasks.endpoint.client import EndpointClient, Refused, Unanswered, ask_all, choice_text, count_tokens
from tasks.endpoint.rate_limit import Pace
from tasks.endpoint.served_model import ServedModel, choose_identity, with_served_model
from tasks.endpoint.settings import asking_settings
from tasks.program import Progress, run_program
from tasks.records import RESPONSE
from tasks.responses.token_rows import (
    Reader,
    answer_row,
    context_of,
    count_of,
    find_end_tokens,
    make_row,
    read_config,
    refusal_row,
    rows_of,
)
from tasks.rows.parts import Parts
from tasks.tokens import generation_of

LENGTH_REASONS = {
    "length",
    "max_tokens",
    "max_output_tokens",
    "model_length",
}  # servers name the length limit differently
HOPELESS = 20  # refusals before the first answer: after that many, the prompts are not the cause


def ask_rows(job: dict, out: Path, progress: Progress) -> dict:
    how = job["how"]
    where = EndpointClient(
        job["url"],
        read_secret(how["key"]) if how["key"] else "",
        **asking_settings(how),
        path={"chat": "chat/completions", "tokens": "completions"}[how["speaks"]],
        pace=Pace(how["requests_per_minute"], how["tokens_per_minute"]),
    )
    form = Tokens(job) if how["speaks"] == "tokens" else Chat(job)
    served = identify_server(where, job)
    form.mark = mark_of(served)
    schema = RESPONSE if served is None else with_served_model(RESPONSE, served)
    return asyncio.run(write_answers(where, form, job, Parts(schema, out, how["part_seconds"]), progress))


def identify_server(where: EndpointClient, job: dict) -> ServedModel | None:
    """The identity of the model that our server serves. Without stored rows the first of several servers decides: all of
    them should serve one model."""
    how, known = job["how"], [ServedModel.model_validate(each) for each in job["known"]]
    if not known and where.url != how["urls"][0]:
        first = find_served_model(replace(where, url=how["urls"][0]), how, [])
        known = [named] if (named := choose_identity(first, [], how, where.url)) else []
    return choose_identity(find_served_model(where, how, known), known, how, where.url)


def mark_of(served: ServedModel | None) -> str:
    """What a row's engine adds to the model's name: a number, if another model had the name before."""
    number = served.name.rpartition("#")[2] if served else "1"
    return "" if number == "1" else f"#{number}"


async def write_answers(
    where: EndpointClient, form: "Chat | Tokens", job: dict, parts: Parts, progress: Callable[[int, int], object]
) -> dict:
    """Writes all answers that arrive, even if an error ends the loop: they are paid for."""
    rows, total, answers, refusals = {}, count_of(job), 0, []
    reply: dict | Unanswered | None = None

    def bodies() -> Iterator[tuple[str, dict]]:
        for number, row in enumerate(rows_of(job)):
            body = form.body(row)
            if "finish_reason" in body:
                parts.add([body])  # a refusal row: the prompt cannot be sent
                continue
            rows[str(number)] = {name: row[name] for name in ("prompt_id", "sample_index", "seed")}
            yield str(number), body

    try:
        async for name, reply in ask_all(where, bodies()):
            row = rows.pop(name)
            if isinstance(reply, Refused):
                refusals.append(refusal_row(row, str(reply), engine=form.engine + form.mark))
            elif isinstance(reply, Unanswered):
                raise RuntimeError(f"{where.url}: prompt {row['prompt_id'][:12]}: {reply}")
            else:
                parts.add([form.row(row, reply)])
                answers += 1
            # refusals are written only after an answer: if the server refuses everything, its configuration is wrong
            if answers:
                parts.add(refusals)
                refusals = []
            elif len(refusals) == HOPELESS:
                raise BadInput(
                    f"{where.url}: the server refused all of the first {HOPELESS} requests; its last answer: {reply}"
                )
            progress(parts.count, total)
        if refusals and not job["found"]:
            raise BadInput(f"{where.url}: the server refused all {len(refusals)} requests; its last answer: {reply}")
        parts.add(refusals)
    finally:
        parts.close()
    return {**where.seen, "answers": answers}


class Chat:
    """Sends messages with the standard OpenAI fields. The server applies its own template and returns no token ids."""

    mark = ""  # of the engine's name

    def __init__(self, job: dict):
        what, how = job["what"], job["how"]
        if what["top_k"] or what["repetition_penalty"] != 1:
            raise BadInput('sampling: top_k and repetition_penalty need a server with speaks = "tokens"')
        self.engine = f"endpoint {how['model']}"
        self.most = what["max_new_tokens"]
        self.fields = {
            "model": how["model"],
            "temperature": what["temperature"],
            "top_p": what["top_p"],
            how["length_field"]: what["max_new_tokens"],
        }

    def body(self, row: dict) -> dict:
        return {**self.fields, "messages": row["messages"], "seed": row["seed"]}

    def row(self, row: dict, reply: dict) -> dict:
        choice = reply["choices"][0]
        prompt, made = (
            count_tokens(reply, kind) or None for kind in ("prompt_tokens", "completion_tokens")
        )  # 0: the server did not report it
        reason = "length" if is_cut_off(choice.get("finish_reason"), made, self.most) else "stop"
        text = choice_text(choice)
        assert text is not None  # the client refuses a reply without a text
        return make_row(row, replace_surrogates(text), prompt, made, reason, replace_surrogates(self.named(reply)))

    def named(self, reply: dict) -> str:
        """Returns the model name and fingerprint that the server reports: the requested name may be an alias."""
        model = reply.get("model") or self.fields["model"]
        return f"endpoint {model}{self.mark} {reply.get('system_fingerprint') or ''}".strip()


def is_cut_off(reason: object, tokens: int | None, most: int) -> bool:
    """True if an answer reached its length limit. Without a known finish reason, the server's count of tokens decides."""
    if isinstance(reason, str) and reason.lower() in LENGTH_REASONS:
        return True
    return reason != "stop" and tokens is not None and tokens >= most


def replace_surrogates(text: str) -> str:
    """Replaces lone surrogates by U+FFFD: a server may cut a text inside a character, and UTF-8 cannot encode half of one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Tokens:
    """Sends token ids and all of vLLM's sampling fields, so that no default of the server has an effect."""

    mark = ""  # of the engine's name

    def __init__(self, job: dict):
        from tasks.loading import load_tokenizer  # imported here because it loads torch, which Chat does not need

        what, how = job["what"], job["how"]
        self.tokenizer = load_tokenizer(job["tokenizer"])
        self.ends = find_end_tokens(generation_of(job["tokenizer"]), self.tokenizer)
        self.vocabulary = read_config(job["tokenizer"]).vocab_size
        self.reader = Reader(self.tokenizer, context_of(job["tokenizer"]), what["max_new_tokens"])
        self.engine, self.seeded = f"endpoint {how['model']}", True
        self.fields = {
            "model": how["model"],
            "temperature": what["temperature"],
            "top_p": what["top_p"],
            "top_k": what["top_k"],
            "min_p": 0.0,
            "repetition_penalty": what["repetition_penalty"],
            "stop_token_ids": sorted(self.ends),
            "return_token_ids": True,
        }

    def body(self, row: dict) -> dict:
        request = self.reader(row)
        if isinstance(request, dict):
            return request
        seed = {"seed": row["seed"]} if self.seeded else {}
        return {**self.fields, "prompt": request.ids, "max_tokens": request.room, **seed}

    def row(self, row: dict, reply: dict) -> dict:
        choice = reply["choices"][0]
        if not isinstance(ids := choice.get("token_ids"), list):
            raise BadInput('how.engines: the server returns no token ids; set speaks = "chat"')
        if foreign := [one for one in ids if type(one) is not int or not 0 <= one < self.vocabulary]:
            raise BadInput(
                f"how.engines: the server returned the token {foreign[0]!r}, which the model does not have; check"
                " the server's model"
            )
        engine = self.engine + self.mark
        return answer_row(self.tokenizer, row, count_tokens(reply, "prompt_tokens"), ids, self.ends, engine)


if __name__ == "__main__":
    run_program(ask_rows)
