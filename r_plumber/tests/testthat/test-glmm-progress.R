# Trends of scores against lme4 itself, published estimates and dense algebra.

set.seed(1)
scores <- simulate_topic_scores(60, 8, 4)
found <- glmm$fit_progress(scores)

test_that("sleepstudy is fitted as published", {
  fit <- glmm$fit_progress(sleepstudy())
  # Bates et al. 2015, Journal of Statistical Software 67(1); degrees of freedom: Kuznetsova et al. 2017
  expect_equal(fit$fixed_effects$estimate, c(251.405, 10.467), tolerance = 1e-5)
  expect_equal(fit$fixed_effects$se, c(6.825, 1.546), tolerance = 1e-3)
  expect_equal(fit$fixed_effects$df, c(17, 17), tolerance = 1e-4)
  expect_equal(fit$fixed_effects$statistic, c(36.838, 6.771), tolerance = 1e-3)
  expect_equal(
    unlist(fit$random[c("sd_intercept", "sd_week", "correlation", "residual")], use.names = FALSE),
    c(24.740, 5.922, 0.066, 25.592), tolerance = 1e-3
  )
  expect_equal(-2 * fit$fit_meta$log_lik, 1743.628, tolerance = 1e-6)
  expect_identical(
    fit$fit_meta[c("converged", "singular", "reml", "n", "n_students", "n_weeks")],
    list(converged = TRUE, singular = FALSE, reml = TRUE, n = 180L, n_students = 18L, n_weeks = 10L)
  )
  expect_null(fit$random$sd_topic)
  expect_null(fit$fit_meta$n_topics)
  expect_identical(fit$fit_meta$formula, "score ~ week + (week | student)")
  expect_length(fit$topics$topic_id, 0L)
})

test_that("maximum likelihood is fitted when asked for", {
  fit <- glmm$fit_progress(sleepstudy(), reml = FALSE)
  expect_equal(-2 * fit$fit_meta$log_lik, 1751.939, tolerance = 1e-6) # Bates et al. 2015
  expect_equal(fit$random$sd_intercept, 23.78, tolerance = 1e-3)
  expect_false(fit$fit_meta$reml)
})

test_that("predicted deviations and their errors are those of ranef(condVar = TRUE)", {
  direct <- lme4::lmer(
    score ~ week + (week | student_id) + (1 | topic_id), scores, weights = 1 / scores$se^2,
    control = lme4::lmerControl(optimizer = "bobyqa")
  )
  expect_equal(found$fit_meta$log_lik, as.numeric(stats::logLik(direct)), tolerance = 1e-8)
  expect_equal(found$fit_meta$aic, stats::AIC(direct), tolerance = 1e-8)
  expect_equal(found$fit_meta$bic, stats::BIC(direct), tolerance = 1e-8)
  expect_equal(found$fixed_effects$estimate, unname(lme4::fixef(direct)), tolerance = 1e-5)
  expect_equal(found$fixed_covariance, unname(as.matrix(stats::vcov(direct))), tolerance = 1e-4)
  effects <- lme4::ranef(direct, condVar = TRUE)
  of_students <- effects$student_id
  errors <- attr(of_students, "postVar")
  expect_identical(found$students$student_id, rownames(of_students))
  expect_equal(found$students$intercept, of_students[["(Intercept)"]], tolerance = 1e-4)
  expect_equal(found$students$week, of_students$week, tolerance = 1e-4)
  expect_equal(found$students$se_intercept, sqrt(errors[1, 1, ]), tolerance = 1e-4)
  expect_equal(found$students$se_week, sqrt(errors[2, 2, ]), tolerance = 1e-4)
  expect_equal(found$students$covariance, errors[1, 2, ], tolerance = 1e-3)
  expect_identical(found$topics$topic_id, rownames(effects$topic_id))
  expect_equal(found$topics$effect, effects$topic_id[["(Intercept)"]], tolerance = 1e-4)
  expect_equal(found$topics$se, sqrt(attr(effects$topic_id, "postVar")[1, 1, ]), tolerance = 1e-4)
})

test_that("totals and their errors solve Henderson's equations", {
  dense <- dense_equations(scores, found$random, 1 / scores$se^2)
  n <- length(dense$students)
  expect_equal(found$fixed_effects$estimate, dense$effects[1:2], tolerance = 1e-8)
  expect_equal(found$fixed_covariance, dense$covariance[1:2, 1:2], tolerance = 1e-8)
  total <- matrix(0, 2L * n, length(dense$effects)) # intercepts, then slopes
  total[seq_len(n), 1] <- total[n + seq_len(n), 2] <- 1
  total[, 2L + seq_len(2L * n)] <- diag(2L * n)
  predicted <- c(found$students$intercept_total, found$students$week_total)
  expect_equal(predicted, drop(total %*% dense$effects), tolerance = 1e-8)
  errors <- total %*% dense$covariance %*% t(total)
  expect_equal(
    c(found$students$se_intercept_total, found$students$se_week_total), sqrt(diag(errors)), tolerance = 1e-8
  )
  expect_equal(
    found$students$covariance_total, errors[cbind(seq_len(n), n + seq_len(n))], tolerance = 1e-8
  )
  topics <- 2L + 2L * n + seq_along(dense$topics)
  expect_equal(found$topics$effect, dense$effects[topics], tolerance = 1e-7)
})

test_that("the minimum is found where lme4's optimisers stop early or take long", {
  set.seed(1) # many students, three topics: nloptwrap stops .11 below
  rows <- simulate_topic_scores(300, 12, 3, missing = 0)
  by_lme4 <- function(optimizer) {
    control <- lme4::lmerControl(optimizer = optimizer)
    fit <- suppressWarnings(lme4::lmer(
      score ~ week + (week | student_id) + (1 | topic_id), rows, weights = 1 / rows$se^2, control = control
    ))
    as.numeric(stats::logLik(fit))
  }
  fit <- glmm$fit_progress(rows)
  expect_gte(fit$fit_meta$log_lik, by_lme4("nloptwrap") - 1e-6)
  expect_equal(fit$fit_meta$log_lik, by_lme4("bobyqa"), tolerance = 1e-9)
  expect_true(fit$fit_meta$converged)
  expect_length(fit$fit_meta$messages, 0L)
})

test_that("standard errors weigh, up to a factor", {
  doubled <- data.table::copy(scores)
  doubled$se <- 2 * doubled$se
  fit <- glmm$fit_progress(doubled)
  expect_equal(fit$random$residual, found$random$residual / 2, tolerance = 1e-4)
  for (name in c("estimate", "se")) {
    expect_equal(fit$fixed_effects[[name]], found$fixed_effects[[name]], tolerance = 1e-5)
  }
  # curvatures come from finite differences, whose steps are others here
  expect_equal(fit$fixed_effects$df, found$fixed_effects$df, tolerance = 1e-2)
  vague <- data.table::copy(scores)
  vague$score[1] <- 100
  vague$se[1] <- 1e6
  without <- glmm$fit_progress(scores[-1, ])$fixed_effects
  expect_equal(glmm$fit_progress(vague)$fixed_effects$estimate, without$estimate, tolerance = 1e-3)
  unweighted <- glmm$fit_progress(scores[, c("student_id", "topic_id", "week", "score")])
  same <- data.table::copy(scores)
  same$se <- 1
  expect_identical(glmm$fit_progress(same)$random, unweighted$random)
})

test_that("the order of rows changes nothing", {
  expect_identical(glmm$fit_progress(scores[rev(seq_len(nrow(scores))), ]), found)
  expect_identical(glmm$fit_progress(scores[sample(nrow(scores)), ]), found)
})

test_that("another unit or origin of the week changes only what it should", {
  later <- data.table::copy(scores)
  later$week <- 7 * (later$week + 20)
  fit <- glmm$fit_progress(later)
  expect_equal(fit$random$sd_week, found$random$sd_week / 7, tolerance = 1e-4)
  expect_equal(fit$students$week_total, found$students$week_total / 7, tolerance = 1e-4)
  expect_equal(fit$students$se_week_total, found$students$se_week_total / 7, tolerance = 1e-4)
  earlier <- found$students$intercept_total - 20 * found$students$week_total
  expect_equal(fit$students$intercept_total, earlier, tolerance = 1e-4)
  expect_equal(fit$metrics$reliability_week, found$metrics$reliability_week, tolerance = 1e-4)
})

test_that("where a first fit of some students begins, the whole ends in the same place", {
  set.seed(3)
  rows <- simulate_topic_scores(1200, 3, 2)
  fit <- glmm$fit_progress(rows)
  reset <- glmm$SAMPLE
  on.exit(assign("SAMPLE", reset, glmm))
  assign("SAMPLE", 1e6L, glmm)
  cold <- glmm$fit_progress(rows)
  expect_equal(fit$fit_meta$log_lik, cold$fit_meta$log_lik, tolerance = 1e-9)
  expect_equal(fit$random, cold$random, tolerance = 1e-3)
})

test_that("where some students alone have no trend, the whole is fitted without them", {
  set.seed(3)
  rows <- simulate_topic_scores(1200, 4, 2)
  apart <- as.integer(sub("s", "", rows$student_id)) %% 2 == 0 # those of the first fit: one topic only
  rows <- rows[rows$topic_id == "t1" | !apart, ]
  expect_true(glmm$fit_progress(rows)$fit_meta$converged)
})

test_that("with one topic its term is left out", {
  one <- scores[scores$topic_id == "t1", ]
  fit <- glmm$fit_progress(one)
  expect_identical(fit$fit_meta$formula, "score ~ week + (week | student)")
  expect_identical(fit$fit_meta$n_topics, 1L)
  one$topic_id <- NULL
  without <- glmm$fit_progress(one)
  expect_identical(fit$students, without$students)
})

test_that("a slope that does not vary is a singular fit, not an error", {
  set.seed(2)
  truth <- TREND_TRUTH
  truth[["sd_week"]] <- 0
  rows <- simulate_topic_scores(40, 4, 2, truth)
  fit <- glmm$fit_progress(rows)
  expect_true(fit$fit_meta$singular)
  expect_true(fit$fit_meta$converged)
  expect_match(fit$fit_meta$messages, "singular", all = FALSE)
  expect_equal(fit$random$correlation, 1)
  expect_true(all(is.finite(unlist(fit$students[-1]))))
})

test_that("no variance at all between students is a singular fit with sds of 0", {
  set.seed(5)
  rows <- data.table::CJ(student_id = sprintf("s%02d", 1:20), week = -(1:5))
  own <- lm(rnorm(nrow(rows)) ~ student_id * week, rows)
  rows$score <- residuals(own) # every student has the same line
  fit <- glmm$fit_progress(rows)
  expect_true(fit$fit_meta$singular)
  expect_lt(fit$random$sd_intercept, 1e-3)
  expect_null(fit$random$correlation)
  expect_null(fit$metrics$reliability_intercept)
  expect_equal(fit$students$se_intercept_total, rep(fit$fixed_effects$se[1], 20), tolerance = 1e-3)
})

test_that("reliability is the share of the variance that the predictions have", {
  set.seed(6)
  truth <- TREND_TRUTH
  rows <- simulate_topic_scores(800, 6, 2, truth)
  fit <- glmm$fit_progress(rows)
  lines <- attr(rows, "lines")[fit$students$student_id, ]
  shared <- function(name) cor(fit$students[[name]], lines[[name]])^2
  expect_equal(fit$metrics$reliability_intercept, shared("intercept"), tolerance = 0.03)
  expect_equal(fit$metrics$reliability_week, shared("week"), tolerance = 0.15)
  expect_equal(fit$metrics$icc, 0.8^2 / (0.8^2 + fit$random$sd_topic^2 + mean(rows$se^2)), tolerance = 0.1)
  expect_gt(fit$metrics$r2_conditional, fit$metrics$r2_marginal)
  expect_equal(
    fit$metrics$r2_conditional, 1 - mean(rows$se^2) / (mean(rows$se^2) + 0.8^2 + fit$random$sd_topic^2),
    tolerance = 0.1
  )
})

test_that("what has no trend is refused, with the field", {
  refused <- function(rows, field, pattern, ...) {
    error <- tryCatch(glmm$fit_progress(rows, ...), problem = identity)
    expect_identical(error$status, 422L)
    expect_identical(error$errors[[1]]$field, field)
    expect_match(error$detail, pattern)
  }
  refused(scores[scores$student_id == "s000001", ], "rows.student_id", "at least 2 students")
  refused(scores[scores$week == -0.5, ], "rows.week", "at least 2 weeks")
  refused(replace(data.frame(scores), "score", 1), "rows.score", "all the same")
  refused(replace(data.frame(scores), "score", scores$week / 3), "rows.score", "on one line")
  refused(replace(data.frame(scores), "se", 0), "rows.se", "above 0")
  two <- scores[scores$topic_id == "t1" & scores$week > -2, ]
  refused(two, "rows", "more than the")
  refused(scores[0, ], "rows.student_id", "at least 2 students")
})

test_that("what lme4 itself refuses is unprocessable, with its sentence", {
  rows <- data.table::copy(scores)
  rows$topic_id <- paste0("t", seq_len(nrow(rows)))
  error <- tryCatch(glmm$fit_progress(rows), problem = identity)
  expect_identical(error$status, 422L)
  expect_match(error$detail, "number of levels of each grouping factor")
})

test_that("progress counts evaluations of the deviance", {
  seen <- list()
  glmm$fit_progress(scores, progress = function(state) seen <<- c(seen, list(state)))
  expect_identical(vapply(seen, `[[`, 0L, "evaluations"), seq_along(seen))
  expect_equal(min(vapply(seen, `[[`, 0, "deviance")), -2 * found$fit_meta$log_lik, tolerance = 1e-6)
})
