"""Contamination: planted items are found, clean prompts are left alone, and the shares are those of plain sets."""

import pytest

from tasks.prompts.contamination import Item, contained, contamination, excerpt, is_short
from tasks.prompts.minhash import signatures
from tasks.prompts.words import hashed
from tests.prompts.texts import Writer

PLANTED = 200


def look(texts, items, containment=0.3, similarity=0.5):
    documents = [hashed(text) for text in texts]
    return contamination([[text] for text in texts], documents, signatures(documents), items, containment, similarity)


def eights(text: str, size: int = 8) -> set:
    parts = text.lower().translate(str.maketrans("", "", ".?!:")).split()
    return {tuple(parts[place : place + size]) for place in range(len(parts) - size + 1)}


@pytest.mark.parametrize("seed", [11, 12])
def test_planted_items_are_found_and_clean_prompts_are_not_flagged(seed):
    items = [Item("bench", str(number), text) for number, text in enumerate(Writer(seed).texts(7000))]
    writer = Writer(seed + 100)
    chosen = writer.source.sample(items, 4 * PLANTED)
    edits = [str, writer.wrapped, lambda text: writer.thinned(text, 0.05), writer.respelled]
    planted = [edits[place // PLANTED](item.text) for place, item in enumerate(chosen)]
    clean = writer.texts(10_000)
    found = look(clean + planted, items)
    guilty = set(found.loc[found["contaminated"], "prompt"])
    shares = [
        sum(number in guilty for number in range(start, start + PLANTED)) / PLANTED
        for start in range(len(clean), len(clean) + len(planted), PLANTED)
    ]
    print(f"verbatim, wrapped, 5% of words dropped, respelled: {shares}; clean: {sum(n < 10_000 for n in guilty)}")
    assert all(share >= least for share, least in zip(shares, (0.95, 0.9, 0.9, 0.95), strict=True))
    assert sum(number < len(clean) for number in guilty) <= 10
    named = found[found["contaminated"] & (found["prompt"] >= len(clean))]
    right = [row.item == chosen[row.prompt - len(clean)].id for row in named.itertuples()]
    assert sum(right) >= 0.99 * len(right)


def test_the_shared_grams_are_those_of_plain_sets():
    writer = Writer(5)
    items = [Item("bench", str(number), text) for number, text in enumerate(writer.texts(60))]
    texts = writer.texts(100) + [writer.wrapped(writer.thinned(item.text, 0.1)) for item in items]
    texts += [f"{item.text} {item.text}" for item in items[:5]]
    documents = [hashed(text) for text in texts]
    table = contained(documents, items, [hashed(item.text) for item in items])
    found = {(row.prompt, row.item): row.amount for row in table.itertuples()}
    expected = {
        (prompt, number): len(shared) / len(eights(item.text))
        for prompt, text in enumerate(texts)
        for number, item in enumerate(items)
        if (shared := eights(item.text) & eights(text))
    }
    assert found == pytest.approx(expected) and len(expected) > 30


def test_a_frame_that_many_items_share_does_not_make_them_alike():
    frame = "which of the following answers to the question below is the correct one"
    items = [Item("bench", str(number), f"{frame} {' '.join(Writer(number).draw(12))}") for number in range(60)]
    text = f"{frame} {' '.join(Writer(99).draw(30))}"
    assert not look([text], items)["contaminated"].any()
    assert look([text], items[:3])["contaminated"].any()  # of few items it is half the text


def test_chinese_items_are_compared_by_thirteen_characters():
    item = "请根据下面的材料回答问题,并说明长江三角洲地区经济发展的主要优势是什么。"
    polite = (
        "请根据下面的材料回答问题,谢谢你的帮助,我想知道如何学习做菜和照顾花园里的植物。"  # a common opening of eleven
    )
    found = look([f"你好。{item}用三句话回答。", polite], [Item("align", "7", item)])
    assert found["prompt"].unique().tolist() == [0] and set(found["method"]) == {"13-gram", "minhash"}
    assert found.set_index("method").loc["13-gram", "amount"] == 1


def test_a_short_item_inside_of_something_longer_is_for_review():
    items = [Item("bench", "six", "Name all rivers of northern Spain!"), Item("bench", "four", "Name rivers of Spain")]
    polite = (
        "Please be so kind: name all rivers of Northern Spain. Then name rivers of Spain, and draw a map of them all."
    )
    (only,) = look([polite], items).itertuples()
    assert (only.item, only.method, only.contaminated, only.amount) == ("six", "all-words", False, 1.0)
    assert only.excerpt == "name all rivers of Northern Spain"
    assert [is_short(item) for item in (*items, Item("bench", "long", "one two three four five six seven eight"))] == [
        True,
        True,
        False,
    ]


def test_a_benchmark_that_lists_an_item_many_times_is_no_frame():
    """As files do that have a row per model or per annotator."""
    item = " ".join(Writer(3).draw(30))
    text = Writer(4).wrapped(item)
    for copies in (1, 51, 200):
        assert look([text], [Item("bench", str(number), item) for number in range(copies)])["contaminated"].any()


def test_short_items_are_found_by_equality_alone():
    items = [Item("bench", "1", "Name three colours.")]
    found = look(["name THREE colours", "Please name three colours and some animals for me", "Name two colours"], items)
    assert found[found["contaminated"]]["prompt"].unique().tolist() == [0]
    assert "exact" in set(found["method"])


def test_one_turn_of_a_talk_is_enough():
    item = Item("bench", "1", "Who wrote the play about the prince of Denmark?")
    turns = [["Hello!", "Hi.", "who wrote the play about the Prince of Denmark"]]
    documents = [hashed("\n".join(turns[0]))]
    found = contamination(turns, documents, signatures(documents), [item], 0.3, 0.5)
    assert found[found["method"] == "exact"]["item"].tolist() == ["1"]


def test_the_excerpt_is_the_longest_common_run_as_it_stands_in_the_prompt():
    item = "one two three four five six seven eight nine"
    text = "Zero. ONE, two three; four\nfive six seven eight! ten. one two three four five six seven"
    assert excerpt(text, item, "8-gram") == "ONE, two three; four\nfive six seven eight"
    again = "two three four five six seven eight nine - two three four five six seven eight nine"
    assert excerpt(f"{again} ONE {again}", item, "8-gram") == "ONE two three four five six seven eight nine"
    assert excerpt("one two three four", item, "minhash") == "one two three four"


def test_the_best_item_is_named_and_a_lone_gram_is_for_review():
    run = "the quick brown fox jumps over the lazy dog"
    items = [
        Item("bench", "long", f"{run} {' '.join(Writer(1).draw(60))}"),
        Item("bench", "near", f"{run} today"),
    ]
    text = f"{' '.join(Writer(2).draw(40))} {run} {' '.join(Writer(3).draw(40))}"
    (only,) = look([text], items).itertuples()
    assert (only.item, only.contaminated, only.method) == ("near", True, "8-gram") and only.excerpt == run
    (only,) = look([text], items[:1]).itertuples()
    assert not only.contaminated and only.amount == pytest.approx(2 / 62)
