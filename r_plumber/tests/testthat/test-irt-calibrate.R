a <- rep(c(0.8, 1.4), 6)
b <- seq(-1.5, 1.5, length.out = 12)
bank <- simulate_answers(300, a, b, met = 0.6, seed = 4)$responses

test_that("progress is told once per cycle", {
  seen <- list()
  fit <- calibrate(bank, priors = list(d = list(mean = 0, sd = 3)), progress = function(state) {
    seen <<- c(seen, list(state))
  })
  expect_identical(vapply(seen, `[[`, 0L, "iteration"), seq_len(fit$fit_meta$metrics$iterations))
  expect_lt(seen[[length(seen)]]$change, 1e-5)
  expect_equal(seen[[length(seen)]]$log_lik, fit$fit_meta$metrics$log_lik, tolerance = 1e-8)
})

test_that("a fit that was stopped says so", {
  few <- calibrate(bank, max_iterations = 4L, standard_errors = "none")$fit_meta$metrics
  expect_identical(few[c("iterations", "converged", "stopped_by")], list(
    iterations = 4L, converged = FALSE, stopped_by = "max_iterations"
  ))
  short <- calibrate(bank, max_seconds = 1e-9, standard_errors = "none")$fit_meta$metrics
  expect_identical(short$stopped_by, "max_seconds")
  expect_false(short$converged)
})

test_that("an item with a reversed key gets a negative slope", {
  reversed <- bank
  wrong_key <- reversed$item_id == "i0006"
  reversed$correct[wrong_key] <- !reversed$correct[wrong_key]
  right <- calibrate(bank)$item_params
  turned <- calibrate(reversed)$item_params
  expect_equal(turned$a[6], -right$a[6], tolerance = 1e-3)
  expect_equal(turned$b, right$b, tolerance = 1e-3)
  expect_equal(turned$se_b, right$se_b, tolerance = 1e-3)
})

test_that("all standard errors are unknown when none are asked for", {
  fit <- calibrate(bank, standard_errors = "none")
  expect_true(all(is.na(c(fit$item_params$se_a, fit$item_params$se_b))))
  expect_identical(fit$fit_meta$model_spec$standard_errors, "none")
  expect_identical(calibrate(bank)$fit_meta$model_spec$standard_errors, "full")
})

test_that("estimates do not depend on the number of nodes beyond the accuracy of the quadrature", {
  coarse <- calibrate(bank, tolerance = 1e-7)
  fine <- calibrate(bank, tolerance = 1e-7, quadrature = list(n = 241L, min = -8, max = 8))
  expect_equal(coarse$item_params, fine$item_params, tolerance = 1e-4)
  expect_equal(coarse$abilities, fine$abilities, tolerance = 1e-4)
})

test_that("answers that no ability explains end in a Rasch fit without spread, not in an error", {
  contradiction <- data.frame(
    student_id = c("s1", "s1", "s2", "s2"), item_id = c("i1", "i2", "i1", "i2"), correct = c(1, 0, 0, 1)
  )
  fit <- calibrate(contradiction, "Rasch")
  expect_equal(fit$item_params$b, c(0, 0), tolerance = 1e-6)
  expect_lt(fit$fit_meta$metrics$latent_sd, 0.05)
  expect_equal(fit$fit_meta$metrics$log_lik, 4 * log(0.5), tolerance = 1e-3)
})
