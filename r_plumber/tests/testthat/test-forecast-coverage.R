# The small form of benchmarks/survival_coverage.

test_that("90 % intervals of coefficients hold 90 %, and their errors are standard", {
  z <- unlist(lapply(1:30, function(seed) standardised_coefficients(400, 6, seed)))
  held <- mean(abs(z) < qnorm(0.95))
  expect_gt(held, 0.87)
  expect_lt(held, 0.93)
  expect_lt(abs(mean(z)), 0.15)
})
