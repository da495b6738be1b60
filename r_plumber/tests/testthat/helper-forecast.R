# The forecast engine without its service, in an environment of its own, and simulated landmarks and gaps.

forecast <- local({
  root <- file.path("..", "..") # testthat runs in the folder of the tests
  engine <- new.env()
  files <- c(
    file.path(root, "common", "R", c("problem.R", "parse.R", "work.R")),
    list.files(file.path(root, "forecast", "R"), pattern = "[.]R$", full.names = TRUE)
  )
  for (file in files) sys.source(file, engine)
  engine
})

# The columns of the design by row
design_matrix <- function(rows, design) {
  x <- matrix(NA_real_, nrow(rows), length(design$terms), dimnames = list(NULL, design$terms))
  for (at in forecast$row_chunks(rows$idle)) {
    piece <- forecast$design_piece(rows[at, ], design, design$terms)
    x[at, ] <- piece$x %*% piece$map
  }
  x
}

# Landmarks of students who are looked at `each` times; `missing` is the share of a_t that is not known.
simulate_positions <- function(n_students, each, missing = 0.1) {
  n <- n_students * each
  positions <- data.table::data.table(
    student_id = sprintf("s%06d", rep(seq_len(n_students), each = each)),
    idle = sample(0:13, n, TRUE, prob = 14:1), weekday = sample(1:7, n, TRUE),
    a_t = rnorm(n, 0.2, 0.7), e_t = rbeta(n, 4, 2), r_t = runif(n), mean_gap = rexp(n, 0.4),
    session_rate = rpois(n, 8) / 28, holidays_7 = rpois(n, 0.5), holidays_14 = rpois(n, 1),
    holidays_28 = rpois(n, 2)
  )
  positions$a_t[runif(n) < missing] <- NA
  positions
}

# Outcomes drawn from the fitted family. Coefficients are those of the standardised columns, the truth that
# describe_design() sees. `sd_student` gives students a risk of their own, which makes their rows depend on
# each other.
simulate_landmarks <- function(n_students, each = 5, sd_student = 0, ...) {
  landmarks <- simulate_positions(n_students, each, ...)
  own <- rep(rnorm(n_students, sd = sd_student), each = each)
  event <- 0
  for (horizon in c(7, 14, 28)) {
    rows <- forecast$rows_of_horizon(landmarks, horizon)
    design <- forecast$describe_design(rows)
    truth <- true_coefficients(design$terms)
    logit <- drop(design_matrix(rows, design) %*% truth) + own + log(horizon / 14)
    happens <- forecast$can_happen(landmarks, horizon) & runif(nrow(landmarks)) < plogis(logit)
    event <- pmax(event, as.integer(happens))
    landmarks[[paste0("event_", horizon)]] <- as.integer(event)
  }
  landmarks
}

true_coefficients <- function(terms) {
  truth <- stats::setNames(rep(0.1, length(terms)), terms)
  idle <- grep("^idle_", terms)
  truth[idle] <- as.numeric(sub("idle_", "", terms[idle])) / 10
  truth[terms == "intercept"] <- -1.5
  truth[terms == "a_t"] <- -0.5
  truth[terms == "mean_gap"] <- 0.4
  truth[terms == "a_t_missing"] <- 0.3
  truth
}

# (estimate - truth) / standard error of every coefficient, when outcomes come from the fitted model.
# Coefficients that the prior holds near 0 come from it, or, `beyond` it, stay as large as true_coefficients()
# makes them.
standardised_coefficients <- function(n_students, each, seed, beyond = FALSE) {
  set.seed(seed)
  landmarks <- simulate_landmarks(n_students, each)
  rows <- forecast$rows_of_horizon(landmarks, 14)
  design <- forecast$describe_design(rows)
  truth <- true_coefficients(design$terms)
  near_zero <- !beyond & !design$terms %in% forecast$recency_terms(design)
  truth[near_zero] <- rnorm(sum(near_zero), sd = forecast$PRIOR_SD[["others"]])
  landmarks$event_14 <- as.integer(runif(nrow(rows)) < plogis(design_matrix(rows, design) %*% truth))
  fit <- forecast$fit_horizon(landmarks, 14, forecast$PRIOR_SD)
  stopifnot(fit$status == "fitted")
  stats::setNames((fit$coefficients - truth) / sqrt(diag(fit$covariance)), fit$terms)
}

# Gaps between active days whose hazard of ending depends on two covariates; every tenth begins before it is
# seen.
simulate_gaps <- function(n_students, each) {
  n <- n_students * each
  gaps <- data.table::data.table(
    student_id = sprintf("s%06d", rep(seq_len(n_students), each = each)),
    start = ifelse(runif(n) < 0.1, sample(1:3, n, TRUE), 0),
    a_t = rnorm(n, 1, 2), e_t = rbeta(n, 4, 2), r_t = runif(n), mean_gap = rexp(n, 0.4),
    session_rate = rpois(n, 8) / 28
  )
  rate <- 0.3 * exp(0.25 * (gaps$a_t - 1) - 0.3 * (gaps$mean_gap - 2.5) / 2.5)
  gaps$stop <- gaps$start + ceiling(rexp(n, rate))
  gaps$returned <- as.integer(gaps$stop <= 20)
  gaps$stop <- pmin(gaps$stop, 20)
  gaps$r_t[runif(n) < 0.1] <- NA
  gaps
}
