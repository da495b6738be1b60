"""The teacher's report on the item bank: what it is, how well it measures, and which questions need a look."""

from seedtest_assets.reports import charts, cohort_charts
from seedtest_assets.reports.bank_facts import BankFacts, DifFacts, DriftFacts, HealthFacts, MisfitFacts
from seedtest_assets.reports.cohort_pieces import Pieces, share, written
from seedtest_assets.reports.facts import Estimate
from seedtest_assets.reports.language import UNKNOWN, plain, shown, signed
from seedtest_assets.reports.markdown import figure, table


class BankPieces(Pieces):
    """Pieces on the newest calibration; each says so where there is none."""

    @property
    def scale(self) -> str:
        """Which calibration it is, and whether weeks can be compared by it."""
        bank = self.facts.bank
        if bank is None:
            return self.say("bank.none")
        parts = [
            self.say("bank.calibrated", bank.n_items, model=shown(bank.model), day=self.language.date(bank.calibrated)),
            self.say("bank.older") if bank.calibrated < self.facts.week_start else "",
            self.say("bank.unlinked") if bank.anchors is None else self.say("bank.linked", bank.anchors),
        ]
        return " ".join(part for part in parts if part)

    @property
    def summary(self) -> str:
        """How many questions need a look, on the first page."""
        bank = self.facts.bank
        if bank is None:
            return self.say("bank.none")
        not_compared = self.say("bank.not_compared")
        return self.say(
            "bank.summary",
            misfits=f"{bank.n_misfits:,}",
            items=f"{bank.n_items:,}",
            drifted=f"{bank.n_drifted:,}" if bank.n_anchors_compared else not_compared,
            dif=f"{bank.n_dif:,}" if bank.n_dif_compared else not_compared,
        )

    @property
    def health(self) -> str:
        """How the bank is used, and how well it measures."""
        bank = self.facts.bank
        if bank is None:
            return ""
        if bank.health is None:
            return self.say("bank.not_judged")
        return table(self.say("bank.columns"), self._health_rows(bank, bank.health), "lr")

    @property
    def map(self) -> str:
        """Students and questions on the same scale; nothing where the bank was not judged."""
        health = None if self.facts.bank is None else self.facts.bank.health
        if health is None:
            return ""
        axis = charts.Axis(self.say("bank.map.axis"), charts.DAYS[self.facts.lang])
        titles = self.say("bank.map.students"), self.say("bank.map.questions")
        bands = zip(cohort_charts.bands_of(health.band_edges), health.students, health.items, strict=True)
        counts = "; ".join(
            self.say("bank.map.band", band=band, students=students, questions=questions)
            for band, students, questions in bands
        )
        drawing = cohort_charts.wright_map(health, *titles, axis)
        return figure(
            self.folder, "map", drawing, self.say("bank.map.caption"), self.say("bank.map.alt") + f" {counts}"
        )

    @property
    def misfits(self) -> str:
        """Questions whose answers do not fit their curve."""
        bank = self.facts.bank
        if bank is None:
            return self.say("bank.none")
        if not bank.misfits:
            return self.say("bank.misfit.none", bank.n_items)
        rows = [self._misfit_row(misfit) for misfit in bank.misfits]
        return f"{self.say('bank.misfit.lead')}\n\n{self.rows('bank.misfit.columns', rows, 'llrrrr', bank.n_misfits)}"

    @property
    def drift(self) -> str:
        """Known questions that have moved."""
        bank = self.facts.bank
        if bank is None or not bank.n_anchors_compared:
            return self.say("bank.drift.not_compared")
        if not bank.drifted:
            return self.say("bank.drift.none", bank.n_anchors_compared)
        rows = [self._drift_row(drift) for drift in bank.drifted]
        return f"{self.say('bank.drift.lead')}\n\n{self.rows('bank.drift.columns', rows, 'llrrr', bank.n_drifted)}"

    @property
    def dif(self) -> str:
        """Questions that are harder for one group than for others who are equally able."""
        bank = self.facts.bank
        if bank is None or not bank.n_dif_compared:
            return self.say("bank.dif.not_compared")
        if not bank.dif:
            return self.say("bank.dif.none", bank.n_dif_compared)
        rows = [self._dif_row(dif) for dif in bank.dif]
        return f"{self.say('bank.dif.lead')}\n\n{self.rows('bank.dif.columns', rows, 'lllrrr', bank.n_dif)}"

    def _health_rows(self, bank: BankFacts, health: HealthFacts) -> list[tuple[str, ...]]:
        values = {
            "known": f"{bank.n_items:,} / {health.n_known:,}",
            "never_used": share(health.never_used_share),
            "exposure": share(health.max_exposure),
            "effective": written(health.effective_size, 0),
            "information": " / ".join(written(each) for each in health.information),
            "well": share(health.share_well_measured),
        }
        return [
            (f"{self.say(f'bank.{name}')}: {self.say(f'bank.{name}_means', lookback=self.facts.lookback_days)}", value)
            for name, value in values.items()
        ]

    def _misfit_row(self, misfit: MisfitFacts) -> tuple[str, ...]:
        return (
            plain(shown(misfit.question)),
            plain(self.named("bank.misfit.flag", misfit.flag)),
            f"{misfit.n:,}",
            written(misfit.infit),
            written(misfit.outfit),
            written(misfit.rmsd, 3),
        )

    def _drift_row(self, drift: DriftFacts) -> tuple[str, ...]:
        return (
            plain(shown(drift.question)),
            plain(self.named("bank.drift.severity", drift.severity)),
            *self._moved(drift.difficulty),
            _moved_by(drift.slope),
        )

    def _dif_row(self, dif: DifFacts) -> tuple[str, ...]:
        return (
            plain(shown(dif.question)),
            plain(f"{shown(dif.attribute)}: {shown(dif.focal)}"),
            plain(shown(dif.reference)),
            dif.ets_class or UNKNOWN,
            *self._moved(dif.delta),
        )

    def _moved(self, by: Estimate | None) -> tuple[str, str]:
        return _moved_by(by), UNKNOWN if by is None else self.language.interval(by)


def _moved_by(by: Estimate | None) -> str:
    return UNKNOWN if by is None else signed(by.value)
