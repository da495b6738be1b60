"""Nightly learning analytics as Dagster assets: from answered questions to each student's weekly KPI."""

import warnings

# dagster is pinned to one version: that some of its parameters may change in another one is known.
warnings.filterwarnings("ignore", message=".* is currently in (beta|preview)", module="dagster")
