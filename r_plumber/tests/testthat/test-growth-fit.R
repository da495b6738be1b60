# The sampler against posteriors that are known, and against simulated truth.

compiled_models()
fit <- function(scores, ...) growth$fit_growth(scores, ..., cores = 2)
of <- function(fit, parameter) as.list(fit$posterior_summary[match(parameter, growth$PARAMETERS), ])
# Standard errors that a posterior mean is away from a known one
away <- function(fit, parameter, mean) {
  found <- of(fit, parameter)
  abs(found$mean - mean) / (found$sd / sqrt(found$ess_bulk))
}
nothing_known <- data.frame(student_id = "a", week = 0, score = 0, se = 1e6)

test_that("where scores say nothing the posterior is the prior, default or given", {
  # The density of one score is proportional to 1 / kappa, which moves the mean of log kappa by -sd^2.
  quantiles <- function(fit, parameter, distribution, ...) {
    found <- of(fit, parameter)
    share <- c(0.05, 0.5, 0.95)
    error <- sqrt(share * (1 - share) / min(found$ess_bulk, found$ess_tail))
    z <- (distribution(unlist(found[c("q5", "q50", "q95")]), ...) - share) / error
    expect_lt(max(abs(z)), 4, label = paste(parameter, "away from its prior, standard errors:"))
    expect_gt(min(found$ess_bulk, found$ess_tail), 500)
  }
  half_cauchy <- function(q, scale) 2 * pcauchy(q, scale = scale) - 1
  default <- fit(nothing_known, samples = 2500L, warmup = 500L)
  expect_lt(away(default, "intercept", 0), 4)
  expect_equal(of(default, "intercept")$sd, 1, tolerance = 0.08)
  expect_equal(of(default, "week")$sd, 0.5, tolerance = 0.08)
  quantiles(default, "sd_week", half_cauchy, 1)
  quantiles(default, "kappa", plnorm, -0.5^2, 0.5)
  expect_equal(of(default, "correlation")$sd, sqrt(1 / 5), tolerance = 0.08) # density 1 - r^2
  priors <- list(
    intercept = c(2, 0.3), week = c(-1, 0.1), sd_intercept = 0.2, sd_week = 3, lkj = 10, log_kappa = c(1, 0.1)
  )
  given <- fit(nothing_known, priors = priors, samples = 2500L, warmup = 500L)
  expect_lt(away(given, "intercept", 2), 4)
  expect_equal(of(given, "intercept")$sd, 0.3, tolerance = 0.08)
  expect_lt(away(given, "week", -1), 4)
  quantiles(given, "sd_intercept", half_cauchy, 0.2)
  quantiles(given, "sd_week", half_cauchy, 3)
  expect_equal(of(given, "correlation")$sd, sqrt(1 / 21), tolerance = 0.08)
  quantiles(given, "kappa", plnorm, 1 - 0.1^2, 0.1)
  expect_identical(lapply(given$priors, as.numeric), priors)
})

test_that("with all other parameters known the line is that of Bayesian regression", {
  scores <- simulate_scores(10, 6, seed = 1, truth = replace(GROWTH_TRUTH, c(3:4, 6), c(0, 0, 1)))
  known <- list(sd_intercept = 1e-3, sd_week = 1e-4, log_kappa = c(0, 1e-3), intercept = c(0.5, 0.2))
  found <- fit(scores, priors = known, samples = 1000L, warmup = 1000L)
  x <- cbind(1, scores$week)
  prior <- diag(1 / c(0.2, 0.5)^2)
  covariance <- solve(t(x) %*% (x / scores$se^2) + prior)
  mean <- covariance %*% (t(x) %*% (scores$score / scores$se^2) + prior %*% c(0.5, 0))
  for (i in 1:2) {
    expect_lt(away(found, growth$PARAMETERS[i], mean[i]), 4)
    expect_equal(found$posterior_summary$sd[i], sqrt(covariance[i, i]), tolerance = 0.1)
  }
})

test_that("a simulated cohort's parameters are found again, and what is told of them is right", {
  scores <- simulate_scores(60, 8, seed = 1)
  found <- fit(scores, chains = 4L, samples = 500L, warmup = 500L, keep_draws = 400L)
  expect_identical(found$posterior_summary$parameter, names(GROWTH_TRUTH))
  z <- (found$posterior_summary$mean - GROWTH_TRUTH) / found$posterior_summary$sd
  expect_lt(max(abs(z)), 3)
  expect_lt(mean(z^2), 2.5)
  expect_lt(max(found$posterior_summary$sd[1:2]), 0.15)
  expect_lt(found$diagnostics$rhat, 1.05)
  expect_gt(found$diagnostics$ess_bulk, 100)
  expect_identical(found$diagnostics$rhat, max(found$posterior_summary$rhat))
  expect_identical(found$diagnostics$ess_tail, min(found$posterior_summary$ess_tail))
  expect_lte(found$diagnostics$divergences, 2)
  expect_gt(found$diagnostics$ebfmi, 0.2)
  expect_identical(c(found$n, found$n_students), c(480L, 60L))
  expect_identical(found$formula, "score ~ week + (week | student), sigma ~ 1 + offset(log(se))")
  expect_identical(names(found$draws), growth$PARAMETERS)
  expect_identical(nrow(found$draws), 400L)
  expect_equal(unname(colMeans(found$draws)), found$posterior_summary$mean, tolerance = 0.1)
})

test_that("the same seed gives the same draws, on one core or two; another does not", {
  scores <- simulate_scores(5, 4, seed = 2)
  short <- function(seed, cores) {
    found <- growth$fit_growth(
      scores, chains = 3L, samples = 50L, warmup = 50L, seed = seed, keep_draws = 150L, cores = cores
    )
    found$diagnostics$seconds <- NULL
    found
  }
  first <- short(1L, cores = 1)
  expect_identical(short(1L, cores = 2), first)
  expect_false(identical(short(2L, cores = 2)$draws, first$draws))
  chains <- split(first$draws$intercept, rep(1:3, each = 50))
  expect_false(identical(chains[[1]], chains[[2]]))
})

test_that("students without a trend have the model without one", {
  scores <- simulate_scores(80, 5, seed = 3, truth = replace(GROWTH_TRUTH, c(2, 4), 0))
  found <- fit(scores, model = "level", samples = 500L, warmup = 500L)
  shared <- c("intercept", "sd_intercept", "kappa")
  z <- vapply(shared, function(name) (of(found, name)$mean - GROWTH_TRUTH[[name]]) / of(found, name)$sd, 0)
  expect_lt(max(abs(z)), 3)
  expect_identical(unique(unlist(found$draws[c("week", "sd_week", "correlation")])), 0)
  expect_identical(found$diagnostics$ess_bulk, min(found$posterior_summary$ess_bulk[c(1, 3, 6)]))
  expect_identical(found$formula, "score ~ 1 + (1 | student), sigma ~ 1 + offset(log(se))")
  expect_named(found$priors, c("intercept", "sd_intercept", "log_kappa"))
})

test_that("few data are no error: the posterior knows little", {
  one_week <- simulate_scores(30, 1, seed = 4)
  one_week$week <- 0
  found <- fit(one_week, samples = 1000L, warmup = 500L)
  expect_lt(away(found, "week", 0), 4) # nothing is known of it but the prior
  expect_equal(of(found, "week")$sd, 0.5, tolerance = 0.1)
  expect_lt(abs(of(found, "intercept")$mean - mean(one_week$score)), 2 * of(found, "intercept")$sd)
})

test_that("what cannot be fitted is refused", {
  refused <- function(field, ..., scores = nothing_known) {
    problem <- tryCatch(growth$fit_growth(scores, ...), unprocessable = identity)
    expect_identical(problem$errors[[1]]$field, field)
  }
  refused("scores", scores = nothing_known[0, ])
  refused("scores.se", scores = transform(nothing_known, se = 0))
  refused("scores.score", scores = nothing_known[c(1, 1, 1), ])
  refused("model", model = "spline")
  refused("priors.week", priors = list(week = c(0, 0)))
  refused("priors.lkj", priors = list(lkj = -1))
  refused("priors.week", priors = list(week = c(0, 1)), model = "level")
  refused("chains", chains = 0L)
  refused("samples", samples = 5L)
  refused("warmup", warmup = 0L)
  refused("seed", seed = -1L)
  refused("adapt_delta", adapt_delta = 1)
  refused("max_treedepth", max_treedepth = 0L)
  refused("max_seconds", max_seconds = 0)
  refused("keep_draws", keep_draws = 0L)
  beyond <- transform(nothing_known, score = 1e200, se = 1)
  expect_error(
    growth$fit_growth(beyond, samples = 10L, warmup = 10L, chains = 1L), "no place to start",
    class = "unprocessable"
  )
})
