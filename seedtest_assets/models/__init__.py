"""Pure statistics: arrays in, dataclasses out; no Dagster, no SQL, no HTTP."""
