"""Before anything is imported: no test reaches a hub, or tells anyone that it ran."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", PREFECT_LOGGING_LEVEL="CRITICAL")
