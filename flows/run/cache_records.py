"""Prefect's records of finished steps lie in the store; here they are read as plain JSON, and as nothing else.

A record says itself how it is to be read, by pickle too: whoever can write into a store could run code wherever it is read.
One that asks for anything but `PLAIN` counts as none, and its step is looked up by its manifest, as without a record.
"""

import json

from prefect._internal.result_records import ResultRecord
from prefect.serializers import JSONSerializer, Serializer

PLAIN = JSONSerializer(object_encoder=None, object_decoder=None)  # no class of a value's own choice either
_read = ResultRecord.deserialize.__func__


def deserialize(cls: type[ResultRecord], data: bytes, backup_serializer: Serializer | None = None) -> ResultRecord:
    try:
        record = json.loads(data)
        asked = record["metadata"]["serializer"]
    except (ValueError, LookupError, TypeError, RecursionError) as problem:
        raise ValueError("not a record of a step") from problem
    if asked != PLAIN.model_dump(mode="json"):
        raise ValueError("a record that is not to be read as plain JSON")
    return _read(cls, json.dumps(record).encode())


ResultRecord.deserialize = classmethod(deserialize)
