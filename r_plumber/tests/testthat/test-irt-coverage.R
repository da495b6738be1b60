# The small form of benchmarks/irt_coverage.

expect_coverage <- function(case, seeds, lowest, highest) {
  for (z in standardised_errors(case, seeds)) {
    held <- mean(abs(z) < qnorm(0.975))
    expect_gt(held, lowest)
    expect_lt(held, highest)
  }
}

test_that("95 % intervals of a 2PL hold 95 %", {
  expect_coverage(COVERAGE_CASES[[2]], 1:6, 0.935, 0.965)
})

test_that("95 % intervals of a 3PL hold 95 %, with truth from the priors", {
  expect_coverage(COVERAGE_CASES[[5]], 1:15, 0.92, 0.97)
})
