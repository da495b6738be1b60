# Simulated students whose truth is known. Seeds are fixed; every bound is a property of the estimator.

a <- rep(c(0.7, 1, 1.3, 1.6), 10)
b <- seq(-2, 2, length.out = 40)[(7 * seq_len(40)) %% 40 + 1]

replicates <- lapply(1:8, function(seed) {
  cohort <- simulate_answers(1000, a, b, met = 0.4, seed = seed)
  fit <- calibrate(cohort$responses, "2PL")
  student <- as.integer(sub("s", "", fit$abilities$student_id))
  list(
    a = data.frame(error = fit$item_params$a - a, se = fit$item_params$se_a),
    b = data.frame(error = fit$item_params$b - b, se = fit$item_params$se_b),
    theta = data.frame(error = fit$abilities$theta - cohort$theta[student], se = fit$abilities$se),
    converged = fit$fit_meta$metrics$converged, reliability = fit$fit_meta$metrics$reliability,
    correlation = cor(fit$abilities$theta, cohort$theta[student])
  )
})
pooled <- function(name) do.call(rbind, lapply(replicates, `[[`, name))

test_that("every replicate converges", {
  expect_true(all(vapply(replicates, `[[`, NA, "converged")))
})

test_that("item parameters are as near to the truth as their standard errors say", {
  for (name in c("a", "b")) {
    estimates <- pooled(name)
    expect_lt(sqrt(mean(estimates$error^2)), 1.15 * mean(estimates$se))
    coverage <- mean(abs(estimates$error) < qnorm(0.975) * estimates$se)
    expect_gt(coverage, 0.90)
    expect_lt(coverage, 0.98)
  }
})

test_that("posterior standard deviations of students are calibrated", {
  theta <- pooled("theta")
  expect_equal(mean((theta$error / theta$se)^2), 1, tolerance = 0.05)
})

test_that("the reliability is the squared correlation of score and truth", {
  reliability <- mean(vapply(replicates, `[[`, 0, "reliability"))
  correlation <- mean(vapply(replicates, `[[`, 0, "correlation"))
  expect_equal(reliability, correlation^2, tolerance = 0.02)
})

test_that("a Rasch model recovers the spread of the students", {
  cohort <- simulate_answers(2000, rep(1, 40), b, met = 0.4, seed = 21, latent_sd = 1.4)
  fit <- calibrate(cohort$responses, "Rasch")
  metrics <- fit$fit_meta$metrics
  expect_lt(abs(metrics$latent_sd - 1.4), 3 * metrics$se_latent_sd)
  expect_lt(metrics$se_latent_sd, 0.05)
  # b is relative to the mean of the students who were drawn, which is not exactly 0.
  expect_lt(sd(fit$item_params$b - b), 1.15 * mean(fit$item_params$se_b))
})
