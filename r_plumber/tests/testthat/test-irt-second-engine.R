# A second engine on the same answers: OpenMx's item factor analysis with rpf's response functions, which
# maximises the same marginal likelihood by a general-purpose optimiser with numerical gradients.

openmx_estimates <- function(responses, model, anchors = no_anchors) {
  items <- sort(unique(responses$item_id))
  wide <- reshape(responses, idvar = "student_id", timevar = "item_id", direction = "wide")
  wide <- wide[paste0("correct.", items)]
  names(wide) <- items
  wide[] <- lapply(wide, function(column) OpenMx::mxFactor(as.integer(column), levels = 0:1))
  n <- length(items)
  # rows: slope, intercept, logit of the lower and of the upper asymptote
  values <- matrix(c(1, 0, if (model == "3PL") qlogis(0.2) else -Inf, Inf), 4, n)
  free <- matrix(c(model != "Rasch", TRUE, model == "3PL", FALSE), 4, n)
  at <- match(anchors$item_id, items)
  free[, at] <- FALSE
  values[1, at] <- anchors$a
  values[2, at] <- -anchors$a * anchors$b
  anchored <- length(at) > 0L
  one <- function(name, kind, ...) {
    OpenMx::mxMatrix(kind, 1, 1, name = name, dimnames = list("theta", "theta"), ...)
  }
  bank <- OpenMx::mxModel(
    "bank",
    OpenMx::mxMatrix(
      "Full", 4, n, free = free, values = values, name = "item",
      dimnames = list(c("theta", "b", "g", "u"), items)
    ),
    one("mean", "Full", free = anchored, values = 0),
    one("cov", "Symm", free = anchored || model == "Rasch", values = 1, lbound = 0.01),
    OpenMx::mxData(wide, type = "raw"),
    OpenMx::mxExpectationBA81(
      rep(list(rpf::rpf.drm(factors = 1)), n), mean = "mean", cov = "cov", qwidth = 6, qpoints = 61
    ),
    OpenMx::mxFitFunctionML(),
    OpenMx::mxComputeGradientDescent(tolerance = 1e-12)
  )
  fit <- OpenMx::mxRun(bank, silent = TRUE, suppressWarnings = TRUE)
  found <- fit$item$values
  list(
    a = unname(found[1, ]), b = unname(-found[2, ] / found[1, ]), c = unname(plogis(found[3, ])),
    mean = fit$mean$values[1], sd = sqrt(fit$cov$values[1])
  )
}

expect_agreement <- function(responses, model, anchors = no_anchors) {
  other <- openmx_estimates(responses, model, anchors)
  fit <- calibrate(
    responses, model, anchors = if (nrow(anchors)) anchors, standard_errors = "none", tolerance = 1e-7,
    max_iterations = 2000L
  )
  expect_true(fit$fit_meta$metrics$converged)
  for (name in c("a", "b", "c")) expect_lt(max(abs(fit$item_params[[name]] - other[[name]])), 1e-3)
  expect_lt(abs(fit$fit_meta$metrics$latent_mean - other$mean), 1e-3)
  expect_lt(abs(fit$fit_meta$metrics$latent_sd - other$sd), 1e-3)
}

a <- c(0.8, 1.2, 1.6, 1, 1.4, 0.9, 1.8, 1.1)
b <- seq(-1.5, 1.5, length.out = 8)

test_that("a second engine finds the same Rasch and 2PL estimates", {
  expect_agreement(simulate_answers(1000, rep(1, 8), b, 0.7, seed = 1, latent_sd = 1.3)$responses, "Rasch")
  expect_agreement(simulate_answers(1000, a, b, 0.7, seed = 2)$responses, "2PL")
})

test_that("a second engine finds the same latent distribution and items beside anchors", {
  later <- simulate_answers(1000, a, b, 0.7, seed = 2, latent_mean = 0.5, latent_sd = 1.2)$responses
  anchors <- data.frame(item_id = sprintf("i%04d", 1:4), a = a[1:4], b = b[1:4])
  expect_agreement(later, "2PL", anchors)
})

test_that("a second engine finds the same 3PL estimates, without priors", {
  # many students and no easy items: elsewhere the likelihood is so flat that the optimisers stop far apart
  slopes <- rep(c(1, 1.3, 1.6), length.out = 10)
  guessed <- simulate_answers(
    6000, slopes, seq(-0.3, 1.5, length.out = 10), 1, seed = 2, c = rep(c(0.15, 0.25), 5)
  )
  expect_agreement(guessed$responses, "3PL")
})
