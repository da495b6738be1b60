"""Which items of a calibration set the reference scale: the rule by which anchors are chosen, once."""

from collections import Counter

import numpy as np
import pandas as pd

B_BANDS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""Difficulties within which anchors are taken, in bands that get an equal share; items beyond are poorly estimated."""
LEAST_A = 0.5
"""An item that hardly discriminates says little about the scale."""
LEAST_FIT_P = 0.01
MOST_RMSD = 0.10


def choose_anchors(items: pd.DataFrame, *, min_responses: int, most: int, least: int) -> list[int]:
    """The items to which later weeks will be linked, in ascending order; none when fewer than `least` qualify.

    An item qualifies with `min_responses` answers, a >= 0.5, b within [-2, 2] and a standard error, without which drift
    could not be told from chance, and answers that fit its curve: no flag, p >= .01, RMSD <= .10. Of those, one after
    the other is taken from the band of difficulty with the fewest so far, there of the topic with the fewest, there the
    one with the most answers; ties go to the lower item_id, so that the order of rows does not matter.

    Args:
        items: columns item_id, a, b, se_b, n_responses, fit_p, rmsd, flag (missing = nothing found), topic_id.
        min_responses: answers an item needs.
        most: largest number of anchors.
        least: smallest number that sets a scale.
    """
    good = items[
        (items["n_responses"] >= min_responses)
        & (items["a"] >= LEAST_A)
        & items["b"].between(B_BANDS[0], B_BANDS[-1])
        & items["se_b"].notna()
        & items["flag"].isna()
        & ~(items["fit_p"] < LEAST_FIT_P)
        & ~(items["rmsd"] > MOST_RMSD)
    ]
    if len(good) < least:
        return []
    band = np.searchsorted(B_BANDS[1:-1], good["b"], side="right")
    topic = good["topic_id"].astype(object).where(good["topic_id"].notna(), None)
    left = set(zip(band, topic, -good["n_responses"], good["item_id"], strict=True))
    chosen: list[int] = []
    of_band: Counter[int] = Counter()
    of_topic: Counter[str | None] = Counter()
    while left and len(chosen) < most:
        best = min(left, key=lambda item: (of_band[item[0]], of_topic[item[1]], *item[2:]))
        left.remove(best)
        chosen.append(int(best[3]))
        of_band[best[0]] += 1
        of_topic[best[1]] += 1
    return sorted(chosen)
