"""Records that somebody has put into a store: none of them is unpickled, or makes an object, or runs anything."""

import base64
import json
import pickle

import pytest
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer, PickleSerializer

from flows.run.cache_records import PLAIN

FOUND = {"stage": "model", "fingerprint": "aa", "content": "bb"}
CLASS = {"__class__": "subprocess.Popen", "data": {}}


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def record(serializer, result=FOUND) -> dict:
    return json.loads(ResultRecord(result=result, metadata=ResultRecordMetadata(serializer=serializer)).serialize())


def pickled(mark) -> str:
    return base64.encodebytes(pickle.dumps(Bomb(mark))).decode()


def asking(mark, **serializer) -> dict:
    return record(PLAIN) | {"metadata": {"serializer": serializer}, "result": pickled(mark)}


RECORDS = {
    "pickle": lambda mark: asking(mark, type="pickle"),
    "packed pickle": lambda mark: asking(mark, type="compressed/pickle"),
    "another library": lambda mark: asking(mark, type="json", jsonlib="pickle"),
    "another decoder": lambda mark: asking(mark, type="json", object_decoder="os.system"),
    "Prefect's own JSON": lambda mark: record(JSONSerializer(), FOUND),
    "a pickle of Prefect's own": lambda mark: record(PickleSerializer(), FOUND),
    "no serializer, for which pickle stands": lambda mark: {"metadata": {}, "result": pickled(mark)},
    "no metadata": lambda mark: {"result": pickled(mark)},
    "a list": lambda mark: [],
    "a number": lambda mark: 1,
}


def test_our_own_record_comes_back():
    raw = json.dumps(record(PLAIN)).encode()
    assert ResultRecord.deserialize(raw).result == FOUND


@pytest.mark.parametrize("name", RECORDS)
def test_another_record_is_none(name, tmp_path):
    raw = json.dumps(RECORDS[name](tmp_path / "mark")).encode()
    for backup in (None, PLAIN, PickleSerializer()):
        with pytest.raises(ValueError, match="record"):
            ResultRecord.deserialize(raw, backup_serializer=backup)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"[" * 100_000, b"null"], ids=["nothing", "half", "no text", "deep", "null"]
)
def test_what_is_no_json_is_none(raw):
    with pytest.raises(ValueError, match="not a record"):
        ResultRecord.deserialize(raw, backup_serializer=PickleSerializer())


def test_a_key_twice_is_read_by_one_reader_alone(tmp_path):
    """The first wins for one, the last for another: what was looked at is what is used."""
    raw = json.dumps(record(PLAIN)).replace(
        '"metadata"', '"metadata": {"serializer": {"type": "pickle"}}, "metadata"', 1
    )
    assert ResultRecord.deserialize(raw.encode()).result == FOUND


def test_a_value_names_no_class_of_its_own_choice():
    raw = json.dumps(record(PLAIN, CLASS)).encode()
    assert ResultRecord.deserialize(raw).result == CLASS
