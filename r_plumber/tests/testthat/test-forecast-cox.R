# The hazard of coming back, against survival::coxph called directly and a likelihood written by hand.

set.seed(6)
gaps <- simulate_gaps(150, 6)

test_that("coefficients, errors, concordance and the test of proportional hazards are survival's own", {
  data <- as.data.frame(gaps)
  for (name in forecast$COVARIATES) {
    x <- data[[name]]
    known <- x[!is.na(x)]
    x[is.na(x)] <- median(known)
    data[[name]] <- (x - mean(known)) / sqrt(mean((known - mean(known))^2))
  }
  direct <- survival::coxph(
    survival::Surv(start, stop, returned) ~ a_t + e_t + r_t + mean_gap + session_rate, data, ties = "efron",
    cluster = student_id
  )
  outside <- summary(direct)
  fit <- forecast$fit_cox(gaps)
  expect_identical(fit$status, "fitted")
  expect_identical(c(fit$names), forecast$COVARIATES)
  expect_equal(c(fit$coef), unname(outside$coefficients[, "coef"]), tolerance = 1e-8)
  expect_equal(c(fit$hr), exp(c(fit$coef)))
  expect_equal(c(fit$se), unname(outside$coefficients[, "robust se"]), tolerance = 1e-8)
  expect_equal(c(fit$p), unname(outside$coefficients[, "Pr(>|z|)"]), tolerance = 1e-8)
  expect_equal(fit$concordance, outside$concordance[["C"]], tolerance = 1e-8)
  test <- survival::cox.zph(direct)$table
  expect_identical(fit$ph_test$name, c(forecast$COVARIATES, "GLOBAL"))
  expect_equal(fit$ph_test$chisq, unname(test[, "chisq"]), tolerance = 1e-6)
  expect_equal(fit$ph_test$p, unname(test[, "p"]), tolerance = 1e-6)
  expect_identical(c(fit$n, fit$n_students, fit$events), c(900L, 150L, sum(gaps$returned)))
})

test_that("the estimate is the maximum of the partial likelihood, and the error its sandwich", {
  small <- data.table::data.table(
    student_id = sprintf("s%02d", rep(1:14, 2)), start = c(rep(0, 26), 2, 3),
    stop = 4.5 + ((1:28) * 7) %% 29 / 3, returned = rep(c(1, 1, 1, 0), 7), a_t = sin(1:28),
    e_t = 1, r_t = 1, mean_gap = 1, session_rate = NA_real_
  )
  x <- (small$a_t - mean(small$a_t)) / sqrt(mean((small$a_t - mean(small$a_t))^2))
  log_partial <- function(beta) {
    of_event <- function(i) {
      at_risk <- small$start < small$stop[i] & small$stop >= small$stop[i]
      beta * x[i] - log(sum(exp(beta * x[at_risk])))
    }
    sum(vapply(which(small$returned == 1), of_event, 0))
  }
  found <- optimize(log_partial, c(-5, 5), maximum = TRUE, tol = 1e-10)$maximum
  fit <- forecast$fit_cox(small)
  expect_equal(c(fit$coef), found, tolerance = 1e-5)
  expect_identical(c(fit$names), "a_t")
  expect_identical(c(fit$dropped), forecast$COVARIATES[-1])

  events <- which(small$returned == 1)
  risk_sets <- lapply(events, function(i) small$start < small$stop[i] & small$stop >= small$stop[i])
  means <- vapply(risk_sets, function(at_risk) weighted.mean(x[at_risk], exp(found * x[at_risk])), 0)
  information <- sum(mapply(function(at_risk, mean) {
    weighted.mean((x[at_risk] - mean)^2, exp(found * x[at_risk]))
  }, risk_sets, means))
  residual <- vapply(seq_along(x), function(i) {
    of_event <- function(at_risk, mean) {
      at_risk[i] * (x[i] - mean) * exp(found * x[i]) / sum(exp(found * x[at_risk]))
    }
    sum((x[i] - means)[events == i]) - sum(mapply(of_event, risk_sets, means))
  }, 0)
  expect_equal(c(fit$se), sqrt(sum(rowsum(residual, small$student_id)^2)) / information, tolerance = 1e-4)
})

test_that("the hazards that gaps were drawn with are found", {
  set.seed(7)
  fit <- forecast$fit_cox(simulate_gaps(2000, 6))
  raw <- c(fit$coef) / vapply(fit$covariates, `[[`, 0, "sd")
  error <- c(fit$se) / vapply(fit$covariates, `[[`, 0, "sd")
  truth <- c(a_t = 0.25, e_t = 0, r_t = 0, mean_gap = -0.12, session_rate = 0)
  expect_lt(max(abs(raw - truth) / error), 3.5)
})

test_that("the order of rows does not matter", {
  set.seed(8)
  expect_equal(forecast$fit_cox(gaps[sample(nrow(gaps)), ]), forecast$fit_cox(gaps), tolerance = 1e-8)
})

test_that("what cannot be fitted is said, without numbers", {
  status <- function(...) {
    values <- list(...)
    data <- data.table::copy(gaps)
    for (name in names(values)) data[[name]] <- values[[name]]
    fit <- forecast$fit_cox(data)
    expect_null(fit$coef)
    expect_null(fit$ph_test)
    fit$status
  }
  expect_identical(status(returned = 0L), "too few events")
  expect_identical(status(student_id = "s"), "too few events")
  expect_identical(status(a_t = 1, e_t = NaN, r_t = 0, mean_gap = 2, session_rate = NA_real_), "no covariate")
  one <- function(...) status(e_t = 1, r_t = 1, mean_gap = 1, session_rate = 1, ...)
  expect_identical(one(a_t = gaps$returned), "not converged")
  expect_identical(forecast$fit_cox(gaps[0, ])$status, "too few events")
})

test_that("impossible gaps are refused with field and row", {
  refused <- function(name, value) {
    data <- data.table::copy(gaps)
    data[[name]][3] <- value
    error <- tryCatch(forecast$fit_cox(data), problem = identity)$errors[[1]]
    expect_identical(error[c("field", "row")], list(field = paste0("gaps.", name), row = 3L))
  }
  refused("start", -1)
  refused("stop", 0)
  refused("returned", NA_integer_)
})
