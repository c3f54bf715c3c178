"""The rules of the two papers once more, in plain Python loops over one prompt at a time: what the fast path is held against.

A response is a dict of source, priority (place of its source), sample_index, text, tokens, score and check (None: missing).
"""

import math
from collections import Counter


def in_order(responses):
    """WRPO takes the argmax and the argmin of the reward; the written rule for ties does the rest."""
    return sorted(responses, key=lambda one: (-one["score"], one["priority"], one["sample_index"]))


def taking_part(rule, responses, counts):
    kept = []
    for one in responses:
        if one["score"] is None:
            counts["responses_without_score"] += 1
        elif one["tokens"] < rule.min_tokens:
            counts["responses_too_short"] += 1
        elif rule.reads_checks and one["check"] is None:
            counts["responses_without_check"] += 1
        else:
            kept.append(one)
            counts["responses_cut_off"] += one["finish_reason"] == "length"
    return in_order(kept)


def learned(responses, what_of_cut):
    return [one for one in responses if what_of_cut == "learned" or one["finish_reason"] != "length"]


def choose(rule, sources, own):
    """The chosen responses by role, or the reason for which there are none. A prompt that has a record only with responses
    that were cut off is lost for these."""
    if rule.kind in ("best", "best-correct"):
        chosen = roles(rule, learned(sources, rule.cut_chosen), [], [], [])
    else:
        allowed = [learned(some, way) for way in (rule.cut_chosen, rule.cut_rejected) for some in (sources, own)]
        chosen = roles(rule, *allowed)
    if isinstance(chosen, str):
        anyhow = roles(rule, sources, own, sources, own)
        return anyhow if isinstance(anyhow, str) else "only_cut_off"
    return chosen


def roles(rule, sources, own, worse_sources, worse_own):
    """By role, where the preferred response is one of the first two lists, and the other one of the last two."""
    if rule.kind in ("math", "code", "best-correct"):
        return checked_roles(rule, sources, worse_sources)
    if rule.kind == "best":
        return {"best": sources[0]} if sources else "without_response"
    if rule.kind == "wrpo":
        if len(sources) < rule.rank or not own or not worse_own or (rule.source_worst and not worse_sources):
            return "without_response"
        found = {"source_best": sources[rule.rank - 1], "own_best": own[0], "own_worst": worse_own[-1]}
        return found | ({"source_worst": worse_sources[-1]} if rule.source_worst else {})
    if rule.kind == "on-policy":
        return {"own_best": own[0], "own_worst": worse_own[-1]} if own and worse_own else "without_response"
    if rule.kind == "hybrid":
        there = sources and worse_own
        return {"source_best": sources[0], "own_worst": worse_own[-1]} if there else "without_response"
    if not sources:
        return "without_response"
    owner = [one for one in worse_sources if one["source"] == sources[0]["source"]]
    return {"source_best": sources[0], "source_worst": owner[-1]} if owner else "without_response"


def checked_roles(rule, sources, worse_sources):
    correct = [one for one in sources if one["check"] == 1]
    incorrect = [one for one in worse_sources if one["check"] == 0]
    if not sources:
        return "without_response"
    if not correct:
        return "none_correct"
    if rule.kind == "best-correct":
        return {"best": correct[0]}
    if not incorrect:
        return "none_incorrect"
    if not rule.same_source:
        return {"source_best": correct[0], "source_worst": incorrect[-1]}
    for one in correct:
        wrong = [other for other in incorrect if other["source"] == one["source"]]
        if wrong:
            return {"source_best": one, "source_worst": wrong[-1]}
    return "no_source_with_both"


def stands_over(rule):
    """(better, worse) pairs of roles; the first has the gap."""
    if rule.kind == "wrpo":
        both = [("own_best", "own_worst"), ("source_best", "own_worst")]
        return both + ([("source_best", "source_worst")] if rule.source_worst else [])
    if rule.kind in ("best", "best-correct"):
        return []
    return {"on-policy": [("own_best", "own_worst")], "hybrid": [("source_best", "own_worst")]}.get(
        rule.kind, [("source_best", "source_worst")]
    )


def records(rule, prompts):
    """prompts: id -> (responses of the sources, own responses). Gives id -> roles, and the counts that are not zero."""
    counts, found = Counter(), {}
    for prompt, (sources, own) in prompts.items():
        allowed = [one for one in sources if not getattr(rule, "sources", ()) or one["source"] in rule.sources]
        if rule.kind == "on-policy":
            allowed = []
        ours = own if rule.reads_own else []
        chosen = choose(rule, taking_part(rule, allowed, counts), taking_part(rule, ours, counts))
        if isinstance(chosen, str):
            counts[f"dropped_{chosen}"] += 1
        elif any(chosen[better]["text"] == chosen[worse]["text"] for better, worse in stands_over(rule)):
            counts["dropped_equal_responses"] += 1
        else:
            found[prompt] = chosen
    return gap_fits(rule, found, counts), counts


def gap_fits(rule, found, counts):
    if not stands_over(rule):
        return found
    better, worse = stands_over(rule)[0]
    gap = {prompt: chosen[better]["score"] - chosen[worse]["score"] for prompt, chosen in found.items()}
    if rule.kind in ("wrpo", "on-policy", "hybrid"):
        kept = {prompt for prompt in found if gap[prompt] > rule.margin}
        counts["dropped_no_margin"] += len(found) - len(kept)
        return {prompt: found[prompt] for prompt in kept}
    if rule.kind == "same-source":
        flat = {prompt for prompt in found if gap[prompt] <= 0}
        counts["dropped_no_margin"] += len(flat)
        found = {prompt: chosen for prompt, chosen in found.items() if prompt not in flat}
    if rule.gap is None or not found:
        return found
    low, high = rule.gap.low, math.inf if rule.gap.high is None else rule.gap.high
    if rule.gap.unit == "quantile":
        ordered = sorted(gap[prompt] for prompt in found)
        low, high = ordered[math.floor(low * (len(ordered) - 1))], ordered[math.ceil(min(high, 1) * (len(ordered) - 1))]
    kept = {prompt: chosen for prompt, chosen in found.items() if low <= gap[prompt] <= high}
    counts["dropped_outside_gap"] += len(found) - len(kept)
    return kept
