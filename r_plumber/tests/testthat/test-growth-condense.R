# Two scores of a student say what all of them say.

scores <- data.frame( # three weeks, two, one, and one week with two scores beside others
  student = c(1, 1, 1, 2, 2, 3, 4, 4, 4, 4, 5, 5),
  week = c(-2.5, -1.5, -0.5, -1.5, -0.5, -0.5, -0.5, -0.5, -3.5, -1.5, -0.5, -0.5),
  score = c(0.1, -0.4, 0.8, 1.2, 0.3, -2, 0.4, 0.6, -0.3, 0.2, 1, 1.5),
  se = c(0.3, 0.5, 0.4, 0.6, 0.3, 0.9, 0.5, 0.2, 0.7, 0.4, 0.3, 0.4)
)

test_that("the likelihood of lines and of kappa is kept, up to a constant", {
  for (with_week in c(TRUE, FALSE)) {
    condensed <- growth$condense(scores, with_week)
    rows <- if (with_week) c(2L, 2L, 1L, 2L, 1L) else rep(1L, 5)
    expect_identical(tabulate(condensed$rows$student), rows)
    set.seed(5)
    differences <- replicate(20, {
      lines <- cbind(rnorm(5), if (with_week) rnorm(5) else 0)
      kappa <- exp(rnorm(1))
      log_likelihood <- function(rows) {
        line <- lines[rows$student, 1] + lines[rows$student, 2] * rows$week
        sum(dnorm(rows$score, line, kappa * rows$se, log = TRUE))
      }
      residuals <- condensed$residual_n * log(kappa) + condensed$residual_ss / (2 * kappa^2)
      log_likelihood(scores) - (log_likelihood(condensed$rows) - residuals)
    })
    expect_lt(diff(range(differences)), 1e-9)
  }
})

test_that("the Stan code's posterior is the same, up to a constant", {
  model <- readRDS(growth$compiled_files(compiled_models())[["trend"]])
  priors <- growth$default_priors("trend")
  log_posterior <- function(condensed) {
    data <- do.call(brms::make_standata, growth$model_definition("trend", condensed, priors))
    utils::capture.output(fit <- suppressWarnings(rstan::sampling(model, data, chains = 0)))
    function(unconstrained) rstan::log_prob(fit, unconstrained)
  }
  whole <- log_posterior(list(rows = scores, residual_n = 0, residual_ss = 0))
  condensed <- log_posterior(growth$condense(scores, TRUE))
  set.seed(6)
  differences <- replicate(20, {
    at <- rnorm(2 + 1 + 2 + 10 + 1, sd = 0.7) # b, log kappa, log sds, z, correlation
    whole(at) - condensed(at)
  })
  expect_lt(diff(range(differences)), 1e-8)
})
