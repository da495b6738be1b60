# The small form of benchmarks/glmm_recovery.

recovered <- t(vapply(
  1:40, recovered_trend, numeric(16), n_students = 150, n_weeks = 8, n_topics = 12, missing = 0.8
))

test_that("sds, correlation and fixed effects are estimated without bias", {
  expect_lt(max(abs(bias_in_errors(recovered))), 2.5)
})

test_that("95 % intervals hold 95 %, of fixed effects and of students", {
  holds <- mean(recovered[, c("holds_intercept", "holds_week")])
  expect_gt(holds, 0.89)
  expect_lte(holds, 1)
  for (name in c("deviations_intercept", "deviations_week", "totals_intercept", "totals_week")) {
    expect_gt(mean(recovered[, name]), 0.92)
    expect_lt(mean(recovered[, name]), 0.98)
  }
})
