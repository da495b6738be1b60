# The glmm engine without its service, in an environment of its own, and simulated scores and answers.

glmm <- local({
  root <- file.path("..", "..") # testthat runs in the folder of the tests
  engine <- new.env()
  files <- c(
    file.path(root, "common", "R", c("problem.R", "parse.R", "work.R")),
    list.files(file.path(root, "glmm", "R"), pattern = "[.]R$", full.names = TRUE)
  )
  for (file in files) sys.source(file, engine)
  engine
})

TREND_TRUTH <- c(
  intercept = 0.2, week = 0.03, sd_intercept = 0.8, sd_week = 0.05, correlation = 0.3, sd_topic = 0.3,
  residual = 1
)

# Lines of students over weeks, drawn from the model: columns intercept and week, fixed effects included
draw_trend_lines <- function(n_students, truth = TREND_TRUTH) {
  root <- matrix(c(1, truth[["correlation"]], 0, sqrt(1 - truth[["correlation"]]^2)), 2L)
  deviations <- matrix(rnorm(2 * n_students), ncol = 2L) %*% t(root)
  data.frame(
    intercept = truth[["intercept"]] + truth[["sd_intercept"]] * deviations[, 1],
    week = truth[["week"]] + truth[["sd_week"]] * deviations[, 2]
  )
}

# A score of each student in each topic and week, a fifth of them missing, with its own standard error. The
# students' lines are in the attribute "lines", by student_id.
simulate_topic_scores <- function(n_students, n_weeks, n_topics, truth = TREND_TRUTH, missing = 0.2) {
  lines <- draw_trend_lines(n_students, truth)
  rownames(lines) <- sprintf("s%06d", seq_len(n_students))
  topic <- rnorm(n_topics, sd = truth[["sd_topic"]])
  rows <- data.table::CJ(
    student = seq_len(n_students), week = 0.5 - seq_len(n_weeks), topic = seq_len(n_topics)
  )
  rows <- rows[runif(nrow(rows)) >= missing, ]
  se <- runif(nrow(rows), 0.25, 0.6)
  score <- lines$intercept[rows$student] + lines$week[rows$student] * rows$week + topic[rows$topic] +
    truth[["residual"]] * rnorm(nrow(rows), sd = se)
  table <- data.table::data.table(
    student_id = rownames(lines)[rows$student], topic_id = paste0("t", rows$topic), week = rows$week,
    score = score, se = se
  )
  attr(table, "lines") <- lines
  table
}

# Answers of each student in each week to items that are fixed
simulate_item_answers <- function(n_students, n_weeks, each, truth = TREND_TRUTH) {
  lines <- draw_trend_lines(n_students, truth)
  rownames(lines) <- sprintf("s%06d", seq_len(n_students))
  rows <- data.table::CJ(student = seq_len(n_students), week = 0.5 - seq_len(n_weeks), k = seq_len(each))
  a <- exp(rnorm(nrow(rows), sd = 0.3))
  b <- rnorm(nrow(rows))
  theta <- lines$intercept[rows$student] + lines$week[rows$student] * rows$week
  table <- data.table::data.table(
    student_id = rownames(lines)[rows$student], week = rows$week,
    correct = rbinom(nrow(rows), 1L, plogis(a * (theta - b))), a = a, b = b
  )
  attr(table, "lines") <- lines
  table
}

# Answers of each student to each item of four topics, with a covariate of effect .5
simulate_covariate_answers <- function(n_students, n_items) {
  rows <- data.table::CJ(student = seq_len(n_students), item = seq_len(n_items))
  rows$hints <- rpois(nrow(rows), 1)
  logit <- 0.3 + 0.5 * rows$hints + rnorm(n_students)[rows$student] + rnorm(n_items, sd = 0.7)[rows$item] +
    rnorm(4)[1 + rows$item %% 4]
  data.table::data.table(
    student_id = sprintf("s%04d", rows$student), item_id = sprintf("i%03d", rows$item),
    topic_id = sprintf("t%d", rows$item %% 4), hints = as.numeric(rows$hints),
    correct = rbinom(nrow(rows), 1L, plogis(logit))
  )
}

sleepstudy <- function() {
  data <- lme4::sleepstudy
  data.table::data.table(
    student_id = as.character(data$Subject), week = as.numeric(data$Days), score = data$Reaction
  )
}

# Mixed model equations of a trend, whole and dense: effects and the covariance of their errors, fixed ones
# first, then the students' intercepts, their slopes, and topics (Henderson 1975)
dense_equations <- function(rows, random, weight = rep(1, nrow(rows))) {
  students <- sort(unique(rows$student_id), method = "radix")
  topics <- sort(unique(rows$topic_id), method = "radix")
  of_student <- outer(rows$student_id, students, `==`) * 1
  x <- cbind(1, rows$week)
  z <- cbind(of_student, of_student * rows$week, outer(rows$topic_id, topics, `==`) * 1)
  off <- random$correlation * random$sd_intercept * random$sd_week
  g <- matrix(c(random$sd_intercept^2, off, off, random$sd_week^2), 2L)
  precision <- diag(ncol(z))
  of_lines <- seq_len(2L * length(students))
  precision[of_lines, of_lines] <- kronecker(solve(g), diag(length(students)))
  precision[-of_lines, -of_lines] <- diag(1 / random$sd_topic^2, length(topics))
  design <- cbind(x, z)
  information <- crossprod(design * sqrt(weight)) / random$residual^2
  information[-(1:2), -(1:2)] <- information[-(1:2), -(1:2)] + precision
  covariance <- solve(information)
  effects <- covariance %*% crossprod(design, weight * rows$score) / random$residual^2
  list(effects = drop(effects), covariance = covariance, students = students, topics = topics)
}

# How one simulated cohort is recovered: estimates, whether their intervals hold the truth, and which share of
# the intervals of the students' deviations and totals does
recovered_trend <- function(seed, n_students, n_weeks, n_topics, missing) {
  set.seed(seed)
  rows <- simulate_topic_scores(n_students, n_weeks, n_topics, missing = missing)
  found <- glmm$fit_progress(rows)
  stopifnot(found$fit_meta$converged)
  fixed <- found$fixed_effects
  truth <- TREND_TRUTH[fixed$term]
  students <- found$students
  lines <- attr(rows, "lines")[students$student_id, ]
  holds <- function(error, se) mean(abs(error) < qnorm(0.975) * se)
  deviations <- function(name) {
    holds(students[[name]] - (lines[[name]] - TREND_TRUTH[[name]]), students[[paste0("se_", name)]])
  }
  totals <- function(name) {
    holds(students[[paste0(name, "_total")]] - lines[[name]], students[[paste0("se_", name, "_total")]])
  }
  c(
    unlist(found$random), stats::setNames(fixed$estimate, fixed$term),
    stats::setNames(fixed$se, paste0("se_", fixed$term)),
    stats::setNames(fixed$lower < truth & truth < fixed$upper, paste0("holds_", fixed$term)),
    log_lik = found$fit_meta$log_lik,
    deviations_intercept = deviations("intercept"), deviations_week = deviations("week"),
    totals_intercept = totals("intercept"), totals_week = totals("week")
  )
}

# Bias of estimates over simulated cohorts in Monte Carlo standard errors. The variance of topics is what REML
# estimates without bias: of three topics, its root is a tenth too small on average.
bias_in_errors <- function(recovered) {
  of <- c("sd_intercept", "sd_week", "correlation", "residual", "intercept", "week")
  difference <- sweep(recovered[, of], 2L, TREND_TRUTH[of])
  difference <- cbind(difference, var_topic = recovered[, "sd_topic"]^2 - TREND_TRUTH[["sd_topic"]]^2)
  colMeans(difference) / (apply(difference, 2L, sd) / sqrt(nrow(recovered)))
}
