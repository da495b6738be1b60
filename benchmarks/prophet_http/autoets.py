"""AutoETS of statsforecast on the series of measure.R: prints seconds, CPU seconds and peak MB.

python benchmarks/prophet_http/autoets.py POINTS.csv
"""

import resource
import sys
import time

import pandas as pd
from statsforecast import StatsForecast
from statsforecast.models import AutoETS

points = pd.read_csv(sys.argv[1], parse_dates=["ds"]).rename(columns={"series": "unique_id"})
engine = StatsForecast(models=[AutoETS(season_length=1)], freq="7D", n_jobs=1)
warm = points[points["unique_id"] == points["unique_id"].iloc[0]]
engine.forecast(df=warm, h=4, level=[80])  # compiles
began, cpu = time.perf_counter(), time.process_time()
engine.forecast(df=points, h=4, level=[80], fitted=True)
took = time.perf_counter() - began, time.process_time() - cpu
print(*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
