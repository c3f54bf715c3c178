"""Reads Prefect's records of finished steps only as plain JSON.

A record names its serializer, and Prefect would also accept pickle: anyone who can write to the store could then run code on
every machine that reads it. A record with a serializer other than `PLAIN` is ignored, and the step is looked up by manifest.
"""

import json

from prefect._internal.result_records import ResultRecord
from prefect.serializers import JSONSerializer, Serializer

PLAIN = JSONSerializer(object_encoder=None, object_decoder=None)  # a value must not choose a class to build either
_read = ResultRecord.deserialize.__func__


def deserialize(cls: type[ResultRecord], data: bytes, backup_serializer: Serializer | None = None) -> ResultRecord:
    try:
        record = json.loads(data)
        serializer = record["metadata"]["serializer"]
    except (ValueError, LookupError, TypeError, RecursionError) as problem:
        raise ValueError("not a record of a step") from problem
    if serializer != PLAIN.model_dump(mode="json"):
        raise ValueError("a record with a serializer other than plain JSON")
    return _read(cls, json.dumps(record).encode())


ResultRecord.deserialize = classmethod(deserialize)  # pyright: ignore[reportAttributeAccessIssue]
