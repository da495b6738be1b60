# A small bank with missing answers, on which the definitions themselves can be maximised.
small <- simulate_answers(
  150, a = c(0.8, 1.5, 1.1, 0.6, 1.3), b = c(-1, 0.5, 0, 1, -0.5), met = 0.7, seed = 5
)$responses
items <- 1:5
priors <- list(a = list(meanlog = 0.1, sdlog = 0.5), d = list(mean = 0.2, sd = 2))

minimise <- function(start, objective) {
  optim(start, objective, method = "BFGS", hessian = TRUE, control = list(reltol = 1e-12, maxit = 500))
}

test_that("2PL estimates and standard errors with priors are those of a general optimiser", {
  truth <- minimise(rep(c(0, 1), each = 5), function(p) {
    d <- p[items]
    a <- p[-items]
    -marginal_log_lik(small, a, d) - sum(dnorm(d, 0.2, 2, log = TRUE)) - sum(dlnorm(a, 0.1, 0.5, log = TRUE))
  })
  fit <- calibrate(small, "2PL", priors, standard_errors = "full", tolerance = 1e-8)
  a <- truth$par[-items]
  b <- -truth$par[items] / a
  expect_equal(fit$item_params$a, a, tolerance = 1e-4)
  expect_equal(fit$item_params$b, b, tolerance = 1e-3)
  estimated <- fit$item_params
  expect_equal(fit$fit_meta$metrics$log_lik, marginal_log_lik(small, estimated$a, -estimated$a * estimated$b))

  covariance <- solve(truth$hessian)
  to_b <- cbind(diag(-1 / a), diag(-b / a)) # derivatives of b with respect to d and a
  expect_equal(fit$item_params$se_a, sqrt(diag(covariance))[-items], tolerance = 1e-3)
  expect_equal(fit$item_params$se_b, sqrt(diag(to_b %*% covariance %*% t(to_b))), tolerance = 1e-3)
})

test_that("Rasch estimates and standard errors are those of a general optimiser", {
  truth <- minimise(numeric(6), function(p) -marginal_log_lik(small, rep(1, 5), p[items], exp(p[6])))
  fit <- calibrate(small, "Rasch", standard_errors = "full", tolerance = 1e-8)
  errors <- sqrt(diag(solve(truth$hessian)))
  expect_equal(fit$item_params$b, -truth$par[items], tolerance = 1e-3)
  expect_equal(fit$fit_meta$metrics$latent_sd, exp(truth$par[6]), tolerance = 1e-4)
  expect_equal(fit$item_params$se_b, errors[items], tolerance = 1e-3)
  expect_equal(fit$fit_meta$metrics$se_latent_sd, exp(truth$par[6]) * errors[6], tolerance = 1e-3)
  expect_identical(fit$item_params$se_a, rep(NA_real_, 5))
})

test_that("a Rasch model ignores a prior on slopes", {
  expect_identical(calibrate(small, "Rasch", priors["a"])$item_params, calibrate(small, "Rasch")$item_params)
})

test_that("block standard errors lack only the information shared between items", {
  bank <- simulate_answers(800, rep(c(0.8, 1.4), 15), seq(-2, 2, length.out = 30), met = 0.5, seed = 8)
  full <- calibrate(bank$responses, standard_errors = "full")$item_params
  block <- calibrate(bank$responses, standard_errors = "block")$item_params
  for (column in c("se_a", "se_b")) {
    expect_true(all(block[[column]] <= full[[column]]))
    expect_equal(block[[column]], full[[column]], tolerance = 0.1)
  }
})

test_that("the posterior covariance of scores is that of a sum over nodes", {
  answers <- index_responses(small)
  outcomes <- outcome_matrix(answers)
  nodes <- seq(-6, 6, length.out = 61)
  items <- list(d = c(1, -0.5, 0, -0.7, 0.6), a = c(0.8, 1.5, 1.1, 0.6, 2.3), c = numeric(5))
  latent <- list(mean = 0, sd = 1)
  known <- list(free = c("d", "a"), estimated = rep(TRUE, 5), latent = latent)
  n_students <- length(answers$students)
  group <- rep(1L, n_students)
  weight <- seq(0.5, 2, length.out = n_students)
  posterior <- posterior_distribution(outcomes, items, latent, nodes)$posterior
  scores <- score_tables(items, latent, known, nodes)

  direct <- matrix(0, 10, 10)
  p <- plogis(outer(nodes, items$a) + rep(items$d, each = 61))
  for (student in seq_along(answers$students)) {
    residual <- matrix(0, 61, 5)
    for (k in which(answers$student == student)) {
      residual[, answers$item[k]] <- answers$correct[k] - p[, answers$item[k]]
    }
    covariance <- cov.wt(cbind(residual, nodes * residual), posterior[student, ], method = "ML")$cov
    direct <- direct + weight[student] * covariance
  }
  approached <- missing_information(answers, posterior, scores, group, weight, nodes)
  expect_lt(max(abs(approached - direct)), 1e-5 * max(direct))
  moments <- score_moments(scores, expected_counts(outcomes, weight * posterior), t(colSums(posterior)))
  blocks <- moments$items - explained_blocks(answers, posterior, scores, group, weight)$items
  expect_equal(blocks[, 1, 1], diag(direct)[1:5])
  expect_equal(blocks[, 2, 2], diag(direct)[6:10])
  expect_equal(blocks[, 1, 2], direct[cbind(1:5, 6:10)])
})

test_that("sparse and dense crossproducts are the same", {
  set.seed(6)
  for (density in c(0.02, 0.5)) {
    x <- Matrix::rsparsematrix(200, 30, density)
    expect_equal(crossproduct(x), crossprod(as.matrix(x)))
  }
})

test_that("no item's expected log posterior falls in the M-step, however bad the start", {
  nodes <- seq(-6, 6, length.out = 61)
  set.seed(3)
  counts <- list(right = matrix(rexp(200 * 61), 200), wrong = matrix(rexp(200 * 61), 200))
  counts$right <- counts$right * plogis(outer(rnorm(200, 1), nodes))
  start <- list(a = rexp(200, 0.3), d = rnorm(200, sd = 6), c = numeric(200))
  guessed <- utils::modifyList(start, list(c = runif(200)))
  priors$c <- list(mean = -1.4, sd = 0.5)
  for (case in list(list(start, priors[c("a", "d")], c("d", "a")), list(guessed, priors, c("d", "a", "g")))) {
    before <- expected_log_posterior(case[[1]], counts, nodes, case[[2]])
    maximised <- maximise_items(case[[1]], counts, nodes, case[[3]], case[[2]])
    expect_true(all(expected_log_posterior(maximised, counts, nodes, case[[2]]) > before))
  }
})

test_that("squared extrapolation finds the fixed point of a slow map in few cycles", {
  rates <- c(0.5, 0.9, 0.99)
  target <- c(1, -2, 3)
  em <- function(x) list(parameters = target + rates * (x - target), objective = -sum((x - target)^2))
  fit <- squarem(
    c(0, 0, 0), em, list(tolerance = 1e-8, max_iterations = 200, max_seconds = Inf), function(cycle) NULL
  )
  expect_identical(fit$stopped_by, "tolerance")
  expect_equal(fit$parameters, target, tolerance = 1e-5) # plain cycles need about 2,000 for this
})

test_that("an extrapolation that lowers the objective is refused", {
  # From 0 the map creeps towards 1, the maximum; beyond 2, where the first jump lands, it runs to 10.
  em <- function(x) {
    list(parameters = if (x < 2) x + 0.1 * min(1 - x, 0.5) else x + (10 - x) / 2, objective = -(x - 1)^2)
  }
  fit <- squarem(
    0, em, list(tolerance = 1e-6, max_iterations = 1000, max_seconds = Inf), function(cycle) NULL
  )
  expect_equal(fit$parameters, 1, tolerance = 1e-4)
})

test_that("a jump to where the objective is undefined is refused and not reported", {
  em <- function(x) {
    list(parameters = x + 0.05 * min(1 - x, 0.5), objective = if (x > 1.05) -Inf else -(x - 1)^2)
  }
  seen <- numeric(0)
  fit <- squarem(
    0, em, list(tolerance = 1e-6, max_iterations = 1000, max_seconds = Inf),
    function(cycle) seen <<- c(seen, cycle$objective)
  )
  expect_equal(fit$parameters, 1, tolerance = 1e-4)
  expect_true(all(is.finite(seen)))
  expect_lt(length(seen), fit$iterations)
})
