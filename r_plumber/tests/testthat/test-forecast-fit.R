# The published risk against general tools, and what cannot be estimated.

set.seed(1)
landmarks <- simulate_landmarks(300, 5, sd_student = 1)
design_of <- function(landmarks, horizon) {
  known <- which(!is.na(landmarks[[paste0("event_", horizon)]]) & 14 - landmarks$idle <= horizon)
  rows <- forecast$rows_of_horizon(landmarks, horizon, known)
  list(
    x = design_matrix(rows, forecast$describe_design(rows)), student = landmarks$student_id[known],
    y = landmarks[[paste0("event_", horizon)]][known]
  )
}
of_horizon <- function(fit, horizon) Filter(function(model) model$horizon == horizon, fit$risk_model)[[1]]
plain <- function(x) as.vector(unclass(x))
NO_PRIOR <- c(idle = Inf, others = Inf)
precision_of <- function(x) c(0, ifelse(grepl("^idle_", colnames(x)[-1]), 1 / 2.5^2, 1 / 0.1^2))

test_that("without a prior the coefficients are those of glm", {
  fit <- forecast$fit_survival(landmarks, prior_sd = NO_PRIOR)
  for (horizon in c(7, 14, 28)) {
    data <- design_of(landmarks, horizon)
    outside <- stats::glm.fit(data$x, data$y, family = stats::binomial(), control = list(epsilon = 1e-12))
    model <- of_horizon(fit, horizon)
    expect_identical(plain(model$terms), colnames(data$x))
    expect_equal(plain(model$coefficients), unname(outside$coefficients), tolerance = 1e-6)
    levels <- factor(landmarks$idle[14 - landmarks$idle <= horizon])
    alone <- stats::glm(data$y ~ levels, family = stats::binomial(), epsilon = 1e-12)
    expect_equal(plain(model$recency$coefficients), unname(stats::coef(alone)), tolerance = 1e-6)
    expect_identical(c(model$n, model$events, model$n_students), c(
      length(data$y), sum(data$y), length(unique(data$student))
    ))
  }
})

test_that("with the prior they are the maximum that a general optimiser finds", {
  data <- design_of(landmarks, 7)
  precision <- precision_of(data$x)
  negative <- function(beta) {
    logit <- drop(data$x %*% beta)
    -sum(stats::dbinom(data$y, 1, plogis(logit), log = TRUE)) + sum(precision * beta^2) / 2
  }
  gradient <- function(beta) {
    precision * beta - drop(crossprod(data$x, data$y - plogis(data$x %*% beta)))
  }
  found <- optim(
    numeric(ncol(data$x)), negative, gradient, method = "BFGS", control = list(reltol = 1e-15, maxit = 1000)
  )
  model <- of_horizon(forecast$fit_survival(landmarks), 7)
  expect_equal(plain(model$coefficients), found$par, tolerance = 1e-5)
  expect_lt(max(abs(gradient(plain(model$coefficients)))), 1e-8)
  expect_identical(model$status, "fitted")
})

test_that("the covariance is the sandwich of the students' scores", {
  data <- design_of(landmarks, 14)
  model <- of_horizon(forecast$fit_survival(landmarks), 14)
  direct <- function(x, beta) {
    p <- plogis(drop(x %*% beta))
    prior <- diag(precision_of(x))
    bread <- solve(t(x) %*% diag(p * (1 - p)) %*% x + prior)
    meat <- 0
    for (rows in split(seq_along(p), data$student)) {
      meat <- meat + tcrossprod(colSums(x[rows, , drop = FALSE] * (data$y - p)[rows]))
    }
    bread %*% (meat * 300 / 299 + prior) %*% bread
  }
  expect_equal(model$covariance, unname(direct(data$x, plain(model$coefficients))), tolerance = 1e-8)
  idle <- data$x[, plain(model$recency$terms)]
  alone <- unname(direct(idle, plain(model$recency$coefficients)))
  expect_equal(model$recency$covariance, alone, tolerance = 1e-8)
})

test_that("standard errors are the spread of fits on students drawn anew", {
  set.seed(2)
  clustered <- simulate_landmarks(400, 8, sd_student = 1.5, missing = 0)
  clustered$idle <- ifelse(clustered$idle < 7, 3, 10) # several rows of a student at each level
  model <- of_horizon(forecast$fit_survival(clustered, horizons = 14), 14)
  rows_of <- split(seq_len(nrow(clustered)), clustered$student_id)
  fits <- replicate(200, {
    drawn <- sample(rows_of, replace = TRUE)
    again <- clustered[unlist(drawn), ]
    again$student_id <- rep(sprintf("d%03d", seq_along(drawn)), lengths(drawn))
    recency <- of_horizon(forecast$fit_survival(again, horizons = 14), 14)$recency
    plain(recency$coefficients)
  })
  ratio <- sqrt(diag(model$recency$covariance)) / apply(fits, 1, sd)
  expect_gt(min(ratio), 0.8)
  expect_lt(max(ratio), 1.2)
  naive <- summary(stats::glm(event_14 ~ factor(idle), stats::binomial(), clustered))$coefficients[1, 2]
  expect_gt(sqrt(model$recency$covariance[1, 1]), 1.2 * naive) # what ignoring the students would say
})

test_that("the order of rows and the size of chunks do not matter", {
  fit <- forecast$fit_survival(landmarks)
  set.seed(3)
  permuted <- forecast$fit_survival(landmarks[sample(nrow(landmarks)), ])
  expect_equal(permuted, fit, tolerance = 1e-9)
  whole <- forecast$CHUNK_ROWS
  assign("CHUNK_ROWS", 100L, envir = forecast)
  withr::defer(assign("CHUNK_ROWS", whole, envir = forecast))
  expect_equal(forecast$fit_survival(landmarks)$risk_model[[3]]$covariance, fit$risk_model[[3]]$covariance,
               tolerance = 1e-9)
})

test_that("outcomes not known yet have no part in the fit", {
  later <- landmarks
  later$event_28[1:200] <- NA
  fit <- forecast$fit_survival(later)
  expect_equal(fit$risk_model[1:2], forecast$fit_survival(landmarks)$risk_model[1:2])
  expect_equal(
    fit$risk_model[[3]], forecast$fit_survival(landmarks[-(1:200), ])$risk_model[[3]]
  )
})

test_that("where days off do not count as idle, rows whose silence needs longer have no part in the fit", {
  later <- data.table::copy(landmarks)
  later$due <- 14 - later$idle
  fit <- forecast$fit_survival(landmarks)
  expect_equal(forecast$fit_survival(later), fit)
  late <- seq_len(nrow(later)) %% 3 == 0
  later$due[late] <- later$due[late] + 7
  for (horizon in c(7, 14, 28)) later[[paste0("event_", horizon)]][later$due > horizon] <- 0L
  for (horizon in c(7, 14, 28)) {
    can <- later[later$due <= horizon, ]
    can$due <- NULL
    expect_equal(of_horizon(forecast$fit_survival(later), horizon),
                 of_horizon(forecast$fit_survival(can, horizons = horizon), horizon))
  }
  expect_lt(of_horizon(forecast$fit_survival(later), 14)$n, of_horizon(fit, 14)$n)
})

test_that("separation stays finite with the prior, and is said without it", {
  separated <- landmarks
  separated$a_t <- separated$event_28 * 10 + seq(0, 1, length.out = nrow(separated))
  with_prior <- of_horizon(forecast$fit_survival(separated), 28)
  expect_identical(with_prior$status, "fitted")
  expect_true(all(abs(with_prior$coefficients) < 15))
  expect_true(all(is.finite(with_prior$covariance)))
  without <- of_horizon(suppressWarnings(forecast$fit_survival(separated, prior_sd = NO_PRIOR)), 28)
  expect_identical(without$status, "not converged")
  expect_null(without$coefficients)
  expect_false(is.null(without$recency$coefficients))
})

test_that("what cannot be estimated is said at each horizon, without coefficients", {
  statuses <- function(data) vapply(forecast$fit_survival(data)$risk_model, `[[`, "", "status")
  changed <- function(...) {
    values <- list(...)
    data <- data.table::copy(landmarks)
    for (name in names(values)) data[[name]] <- values[[name]]
    data
  }
  none <- changed(event_7 = 0L, event_14 = 0L, event_28 = 0L)
  expect_identical(statuses(none), rep("too few events", 3))
  expect_null(forecast$fit_survival(none)$risk_model[[1]]$coefficients)
  expect_null(forecast$fit_survival(none)$risk_model[[1]]$recency)
  all_churned <- changed(event_14 = 1L, event_28 = 1L)
  expect_identical(statuses(all_churned), c("fitted", "too few events", "too few events"))
  expect_identical(statuses(changed(student_id = "s")), rep("too few events", 3))
  expect_identical(statuses(landmarks[0, ]), rep("too few events", 3))
  expect_identical(statuses(changed(event_28 = NA_integer_))[3], "too few events")
  nine <- changed(event_7 = 0L, event_14 = as.integer(seq_len(nrow(landmarks)) <= 9))
  nine$event_28 <- pmax(nine$event_14, nine$event_28)
  expect_identical(statuses(nine), c("too few events", "too few events", "fitted"))

  bare <- changed(a_t = NaN, e_t = 1, r_t = NA_real_, mean_gap = 2, session_rate = NaN, holidays_14 = 3)
  model <- of_horizon(forecast$fit_survival(bare), 14)
  expect_identical(model$status, "fitted")
  expect_identical(plain(model$dropped), c(forecast$COVARIATES, "holidays"))
  expect_false(any(plain(model$terms) %in% forecast$COVARIATES))
})

test_that("impossible landmarks are refused with field and row", {
  refused <- function(...) {
    values <- list(...)
    data <- data.table::copy(landmarks)
    for (name in names(values)) data[[name]][2] <- values[[name]]
    problem <- tryCatch(forecast$fit_survival(data), problem = identity)
    expect_identical(problem$status, 422L)
    expect_identical(problem$errors[[1]]$row, 2L)
    problem$errors[[1]]$field
  }
  expect_identical(refused(idle = 14), "landmarks.idle")
  expect_identical(refused(idle = 3.5), "landmarks.idle")
  expect_identical(refused(weekday = 0), "landmarks.weekday")
  expect_identical(refused(idle = 6, event_7 = 1L), "landmarks.event_7")
  expect_identical(refused(idle = 8, event_7 = 1L, event_14 = 0L), "landmarks.event_14")
  landmarks$due <- 14 - landmarks$idle
  expect_identical(refused(idle = 6, due = 7), "landmarks.due")
  expect_identical(refused(due = 20.5), "landmarks.due")
  expect_identical(refused(idle = 8, due = 8, event_7 = 1L), "landmarks.event_7")
  for (horizons in list(10, c(7, 7), numeric())) {
    problem <- tryCatch(forecast$fit_survival(landmarks, horizons = horizons), problem = identity)
    expect_identical(problem$errors[[1]]$field, "horizons")
  }
})
