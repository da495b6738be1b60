# 3PL, anchors, groups, weights and repeated answers: estimates and standard errors against the maximum of the
# posterior from its definition, and against simulated truth.

guessing <- list(a = list(meanlog = 0.1, sdlog = 0.4), c = list(mean = qlogis(0.2), sd = 0.5))

# The posterior's gradient and curvature at the estimates, by numerical differentiation of its definition.
posterior_at <- function(estimates, log_posterior) {
  list(
    gradient = vapply(seq_along(estimates), function(k) {
      step <- replace(numeric(length(estimates)), k, 1e-4)
      (log_posterior(estimates + step) - log_posterior(estimates - step)) / 2e-4
    }, 0),
    covariance = solve(-optimHess(
      estimates, log_posterior, control = list(ndeps = rep(1e-3, length(estimates)))
    ))
  )
}

test_that("a 3PL's estimates are the posterior's mode, its standard errors come from the curvature there", {
  bank <- simulate_answers(150, c(1, 1.6, 0.8, 1.3), c(-0.5, 0.2, 0.8, 0), 0.9, seed = 3, c = rep(0.2, 4))
  fit <- calibrate(bank$responses, "3PL", guessing, tolerance = 1e-9, max_iterations = 5000L)
  log_posterior <- function(x) {
    items <- list(d = x[1:4], a = x[5:8], c = plogis(x[9:12]))
    marginal_log_lik(bank$responses, items$a, items$d, c = items$c) +
      sum(dlnorm(items$a, 0.1, 0.4, log = TRUE) + dnorm(x[9:12], qlogis(0.2), 0.5, log = TRUE))
  }
  items <- fit$item_params
  mode <- posterior_at(c(-items$a * items$b, items$a, qlogis(items$c)), log_posterior)
  expect_lt(max(abs(mode$gradient)), 1e-4)
  expect_equal(items$se_a, sqrt(diag(mode$covariance)[5:8]), tolerance = 1e-3)
  expect_equal(items$se_c, sqrt(diag(mode$covariance)[9:12]) * items$c * (1 - items$c), tolerance = 1e-3)
  # the delta method by its own Jacobian: (a, b, c) from (d, a, g)
  for (j in 1:4) {
    jacobian <- rbind(
      c(0, 1, 0), c(-1 / items$a[j], -items$b[j] / items$a[j], 0), c(0, 0, items$c[j] * (1 - items$c[j]))
    )
    expected <- jacobian %*% mode$covariance[c(j, j + 4, j + 8), c(j, j + 4, j + 8)] %*% t(jacobian)
    expect_equal(items$se_b[j], sqrt(expected[2, 2]), tolerance = 1e-3)
    found <- c(items$cov_ab[j], items$cov_ac[j], items$cov_bc[j])
    expect_equal(found, expected[cbind(c(1, 1, 2), c(2, 3, 3))], tolerance = 1e-2)
  }
})

test_that("weighted students in groups beside an anchor: mode and standard errors", {
  first <- simulate_answers(120, c(1, 1.5, 0.7, 1.2), c(-0.5, 0.3, 0.9, 0), met = 0.9, seed = 5)$responses
  second <- simulate_answers(80, c(1, 1.5, 0.7, 1.2), c(-0.5, 0.3, 0.9, 0), 0.9, 6, latent_mean = 1)$responses
  second$student_id <- paste0("t", second$student_id)
  responses <- rbind(first, second)
  students <- sort(unique(responses$student_id))
  group <- substr(students, 1, 1)
  weight <- rep(c(1, 2, 0.5), length.out = length(students))
  fit <- calibrate(
    responses, priors = guessing["a"], anchors = data.frame(item_id = "i0002", a = 1.5, b = 0.3),
    groups = data.frame(student_id = students, group = group),
    weights = data.frame(student_id = students, weight = weight), tolerance = 1e-9, max_iterations = 5000L
  )
  log_posterior <- function(x) {
    a <- c(x[4], 1.5, x[5:6])
    d <- c(x[1], -1.5 * 0.3, x[2:3])
    of_group <- function(name, mean, sd) {
      own <- responses$student_id %in% students[group == name]
      sum(weight[group == name] * marginal_log_liks(responses[own, ], a, d, sd, mean))
    }
    of_group("s", x[7], exp(x[9])) + of_group("t", x[8], exp(x[10])) +
      sum(dlnorm(x[4:6], 0.1, 0.4, log = TRUE))
  }
  items <- lapply(fit$item_params, `[`, c(1, 3, 4))
  groups <- fit$fit_meta$metrics$groups
  mode <- posterior_at(c(-items$a * items$b, items$a, groups$mean, log(groups$sd)), log_posterior)
  expect_lt(max(abs(mode$gradient)), 1e-4)
  variance <- diag(mode$covariance)
  expect_equal(items$se_a, sqrt(variance[4:6]), tolerance = 1e-3)
  expect_equal(groups$se_mean, sqrt(variance[7:8]), tolerance = 1e-3)
  expect_equal(groups$se_sd, sqrt(variance[9:10]) * groups$sd, tolerance = 1e-3)
  expect_identical(fit$item_params$is_anchor, c(FALSE, TRUE, FALSE, FALSE))
  expect_identical(fit$item_params$se_a[2], NA_real_)
  expect_identical(groups$group, c("s", "t"))
  expect_gt(diff(groups$mean), 0.4)
})

test_that("a student of weight two is two students, a repeated answer one more answer", {
  bank <- simulate_answers(60, rep(1.2, 6), seq(-1, 1, length.out = 6), met = 0.8, seed = 4)$responses
  twin <- bank[bank$student_id <= "s00030", ]
  twin$student_id <- paste0("twin", twin$student_id)
  students <- unique(bank$student_id)
  weights <- data.frame(student_id = students, weight = ifelse(students <= "s00030", 2, 1))
  for (errors in c("full", "block")) {
    fitted <- function(...) calibrate(..., priors = guessing["a"], standard_errors = errors, tolerance = 1e-8)
    one <- fitted(bank, weights = weights)
    two <- fitted(rbind(bank, twin))
    expect_equal(one$item_params[2:7], two$item_params[2:7], tolerance = 1e-6)
    expect_equal(one$fit_meta$metrics$log_lik, two$fit_meta$metrics$log_lik)
    expect_equal(one$fit_meta$metrics$reliability, two$fit_meta$metrics$reliability, tolerance = 1e-6)
  }
  narrow <- simulate_answers(60, rep(0.6, 6), seq(-1, 1, length.out = 6), met = 0.8, seed = 4)$responses
  again <- rbind(narrow, narrow[seq(1, nrow(narrow), 3), ])
  fit <- calibrate(again, "Rasch", repeated = "keep", tolerance = 1e-9)
  items <- fit$item_params
  of_fit <- function(x) marginal_log_lik(again, rep(1, 6), x[1:6], exp(x[7]))
  mode <- posterior_at(c(-items$b, log(fit$fit_meta$metrics$latent_sd)), of_fit)
  expect_lt(max(abs(mode$gradient)), 1e-4)
  expect_equal(items$se_b, sqrt(diag(mode$covariance)[1:6]), tolerance = 1e-3)
})

test_that("anchors carry the scale: the students' mean and sd are found, other items are where they are", {
  a <- rep(c(0.8, 1.2, 1.6), 10)
  b <- seq(-2, 2, length.out = 30)
  later <- simulate_answers(4000, a, b, met = 0.5, seed = 9, latent_mean = 0.8, latent_sd = 1.2)
  anchors <- data.frame(item_id = sprintf("i%04d", seq(1, 30, 2)), a = a[seq(1, 30, 2)], b = b[seq(1, 30, 2)])
  fit <- calibrate(later$responses, anchors = anchors)
  metrics <- fit$fit_meta$metrics
  expect_lt(abs(metrics$latent_mean - mean(later$theta)), 3 * metrics$se_latent_mean)
  expect_lt(abs(metrics$latent_sd - sd(later$theta)), 3 * metrics$se_latent_sd)
  expect_lt(metrics$se_latent_mean, 0.03)
  free <- !fit$item_params$is_anchor
  z <- (fit$item_params$b - b)[free] / fit$item_params$se_b[free]
  expect_lt(mean(z^2), 2)
  expect_identical(fit$item_params$a[!free], anchors$a)
  expect_equal(fit$item_params$b[!free], anchors$b)
})

test_that("answers in parts and in chunks of students give what one table gives", {
  bank <- simulate_answers(300, rep(1.2, 20), seq(-1, 1, length.out = 20), met = 0.4, seed = 4)$responses
  whole <- calibrate(bank)
  part <- function(students) function() bank[bank$student_id %in% students, ]
  students <- unique(bank$student_id)
  parts <- calibrate(unname(lapply(split(students, seq_along(students) %% 3), part)))
  expect_equal(parts, whole, tolerance = 1e-7)
  chunked <- gather_sample(bank, 1L, "refuse", character(), NULL, NULL, chunk_size = 70L)
  sizes <- vapply(chunked$chunks, function(chunk) length(chunk$students), 0L)
  expect_identical(sizes, c(70L, 70L, 70L, 70L, 20L))
  nodes <- seq(-6, 6, length.out = 61)
  items <- with(whole$item_params, list(a = a, d = -a * b, c = c))
  at <- function(sample) expectation(sample, items, list(mean = 0, sd = 1), nodes)
  expect_equal(at(chunked), at(gather_sample(bank, 1L, "refuse", character(), NULL, NULL)))
  twice <- expect_error(calibrate(list(part(students[1:20]), part(students[20:40]))), class = "unprocessable")
  expect_match(conditionMessage(twice), students[20])
})

test_that("the order of the rows, the locale and the number of BLAS threads change nothing", {
  bank <- simulate_answers(200, rep(1.2, 12), seq(-1, 1, length.out = 12), met = 0.6, seed = 14)$responses
  letter <- c("\u00e4", "B", "b")[match(bank$item_id, unique(bank$item_id)) %% 3 + 1]
  bank$item_id <- paste0(letter, bank$item_id)
  expected <- calibrate(bank, "3PL", guessing)
  set.seed(1)
  expect_identical(calibrate(bank[sample(nrow(bank)), ], "3PL", guessing), expected)

  script <- tempfile(fileext = ".R")
  data <- tempfile(fileext = ".rds")
  locales <- tempfile("locales-")
  dir.create(locales)
  on.exit(unlink(c(script, data, locales), recursive = TRUE))
  sources <- c(file.path(service_root, "common", "R", "problem.R"), engine_files)
  writeLines(c(
    sprintf("for (file in %s) source(file)", deparse1(normalizePath(sources))),
    sprintf("bank <- readRDS(%s); guessing <- %s", deparse1(data), deparse1(guessing)),
    sprintf("saveRDS(calibrate(bank, \"3PL\", guessing), %s)", deparse1(data))
  ), script)
  made <- system2("localedef", c("-i", "en_US", "-f", "UTF-8", file.path(locales, "en_US.UTF-8")))
  expect_identical(made, 0L)
  for (setting in list(
    c(paste0("LOCPATH=", locales), "LC_ALL=en_US.UTF-8", "OPENBLAS_NUM_THREADS=1"),
    c("LC_ALL=C", "OPENBLAS_NUM_THREADS=2")
  )) {
    saveRDS(bank, data)
    expect_identical(system2("Rscript", shQuote(script), env = setting), 0L)
    expect_equal(readRDS(data), expected, tolerance = 1e-9)
  }
})

test_that("what anchors, groups and weights cannot be is refused, with the row", {
  bank <- simulate_answers(40, rep(1, 5), seq(-1, 1, length.out = 5), met = 0.9, seed = 5)$responses
  refused <- function(...) expect_error(calibrate(bank, ...), class = "unprocessable")$errors[[1]]
  expect_row <- function(error, field, row) {
    expect_identical(error[c("field", "row")], list(field = field, row = row))
  }
  anchors <- data.frame(item_id = c("i0001", "i0002"), a = 1, b = 0, c = c(0.2, 0))
  expect_row(refused(model = "3PL", anchors = anchors), "anchors.c", 2L)
  expect_row(refused(model = "2PL", anchors = anchors), "anchors.c", 1L)
  flat <- data.frame(item_id = c("i0001", "i0002"), a = c(1, 0), b = 0)
  expect_row(refused(anchors = flat), "anchors.a", 2L)
  steep <- data.frame(item_id = c("i0001", "i0002"), a = c(1, 2), b = 0)
  expect_identical(refused(model = "Rasch", anchors = steep)$field, "anchors.a")
  expect_identical(refused(anchors = data.frame(item_id = "elsewhere", a = 1, b = 0))$field, "anchors")
  students <- unique(bank$student_id)
  expect_identical(refused(groups = data.frame(student_id = students[-1], group = "g"))$field, "groups")
  expect_identical(refused(weights = data.frame(student_id = students, weight = 0))$field, "weights.weight")
  expect_identical(refused(groups = data.frame(student_id = c("x", "x"), group = "g"))$row, 2L)
})

test_that("fifty answers do not make a 3PL without priors converge, and it says so", {
  bank <- simulate_answers(50, rep(1, 6), seq(-1, 1, length.out = 6), met = 1, seed = 2)$responses
  fit <- calibrate(bank, "3PL", max_iterations = 200L)
  expect_false(fit$fit_meta$metrics$converged)
  expect_identical(fit$fit_meta$metrics$stopped_by, "max_iterations")
})
