# Logistic models: trends on answers to fixed items, and answers by students, items and topics, against lme4
# itself and against simulated truth.

set.seed(11)
answers <- simulate_item_answers(60, 6, 6)
trend <- glmm$fit_progress(answers, "binomial")
rows <- simulate_covariate_answers(80, 25)
fitted <- glmm$fit_answers(rows, "hints", c("student_id", "item_id", "topic_id"))

as_lme4 <- function(formula, data) {
  control <- lme4::glmerControl(optimizer = "bobyqa", tolPwrss = 1e-10)
  suppressMessages(lme4::glmer(formula, data, stats::binomial, control))
}

test_that("a trend on answers is what glmer fits", {
  direct <- as_lme4(
    correct ~ 0 + a + a:week + offset(-a * b) + (0 + a + a:week | student_id), answers
  )
  expect_equal(trend$fit_meta$log_lik, as.numeric(stats::logLik(direct)), tolerance = 1e-8)
  expect_equal(trend$fixed_effects$estimate, unname(lme4::fixef(direct)), tolerance = 1e-3)
  expect_equal(trend$fixed_effects$se, unname(sqrt(diag(as.matrix(stats::vcov(direct))))), tolerance = 1e-2)
  sds <- attr(lme4::VarCorr(direct)$student_id, "stddev")
  expect_equal(c(trend$random$sd_intercept, trend$random$sd_week), unname(sds), tolerance = 1e-3)
  effects <- lme4::ranef(direct, condVar = TRUE)$student_id
  errors <- attr(effects, "postVar")
  expect_identical(trend$students$student_id, rownames(effects))
  expect_equal(trend$students$intercept, effects$a, tolerance = 1e-3)
  expect_equal(trend$students$week, effects[["a:week"]], tolerance = 1e-3)
  expect_equal(trend$students$se_intercept, sqrt(errors[1, 1, ]), tolerance = 1e-3)
  expect_equal(trend$students$se_week, sqrt(errors[2, 2, ]), tolerance = 1e-3)
  expect_true(all(trend$students$se_intercept_total > trend$students$se_intercept))
})

test_that("what is told of a trend on answers", {
  expect_identical(
    trend$fit_meta[c("family", "n", "n_students", "n_weeks", "n_agq", "converged")],
    list(family = "binomial", n = 2160L, n_students = 60L, n_weeks = 6L, n_agq = 1L, converged = TRUE)
  )
  expect_null(trend$fit_meta$reml)
  expect_null(trend$random$residual)
  expect_identical(trend$fixed_effects$term, c("intercept", "week"))
  expect_match(trend$fit_meta$formula, "offset(-a * b)", fixed = TRUE)
})

test_that("a simulated cohort's trend is recovered from its answers", {
  set.seed(12)
  cohort <- simulate_item_answers(600, 8, 10)
  fit <- glmm$fit_progress(cohort, "binomial")
  truth <- TREND_TRUTH[c("intercept", "week")]
  expect_true(all(fit$fixed_effects$lower < truth & truth < fit$fixed_effects$upper))
  expect_equal(fit$random$sd_intercept, TREND_TRUTH[["sd_intercept"]], tolerance = 0.1)
  expect_equal(fit$random$sd_week, TREND_TRUTH[["sd_week"]], tolerance = 0.2)
  lines <- attr(cohort, "lines")[fit$students$student_id, ]
  z <- (fit$students$intercept_total - lines$intercept) / fit$students$se_intercept_total
  expect_lt(abs(mean(z)), 0.15)
  expect_lt(abs(mean(abs(z) < qnorm(0.95)) - 0.9), 0.04)
})

test_that("small cohorts converge wherever lme4's deviance jumps", {
  for (seed in c(12, 21, 35, 48, 94, 149)) { # each met a jump, at one tolerance or another
    set.seed(seed)
    students <- sample(c(5, 10, 30, 100), 1)
    cohort <- simulate_item_answers(students, sample(3:6, 1), sample(2:8, 1))
    fit <- suppressWarnings(glmm$fit_progress(cohort, "binomial"))
    expect_true(fit$fit_meta$converged)
  }
})

test_that("answers by students, items and topics are what glmer fits", {
  direct <- as_lme4(correct ~ hints + (1 | student_id) + (1 | item_id) + (1 | topic_id), rows)
  expect_equal(fitted$fit_meta$log_lik, as.numeric(stats::logLik(direct)), tolerance = 1e-8)
  expect_identical(fitted$model$fixed$term, c("intercept", "hints"))
  expect_equal(fitted$model$fixed$estimate, unname(lme4::fixef(direct)), tolerance = 1e-3)
  expect_equal(fitted$model$fixed_covariance, unname(as.matrix(stats::vcov(direct))), tolerance = 1e-2)
  effects <- lme4::ranef(direct, condVar = TRUE)
  for (factor in names(fitted$model$effects)) {
    sd <- attr(lme4::VarCorr(direct)[[factor]], "stddev")[[1]]
    expect_equal(fitted$model$random$sd[fitted$model$random$factor == factor], sd, tolerance = 1e-3)
    expect_identical(fitted$model$effects[[factor]]$level, rownames(effects[[factor]]))
    expect_equal(fitted$model$effects[[factor]]$effect, effects[[factor]][[1]], tolerance = 1e-3)
    errors <- sqrt(attr(effects[[factor]], "postVar")[1, 1, ])
    expect_equal(fitted$model$effects[[factor]]$se, errors, tolerance = 1e-3)
  }
  levels <- fitted$fit_meta[c("n_students", "n_items", "n_topics")]
  expect_identical(levels, list(n_students = 80L, n_items = 25L, n_topics = 4L))
  fixed <- fitted$model$fixed
  expect_true(fixed$lower[2] < 0.5 && 0.5 < fixed$upper[2])
})

test_that("predictions are glmer's, and unseen levels count as 0", {
  direct <- as_lme4(correct ~ hints + (1 | student_id) + (1 | item_id) + (1 | topic_id), rows)
  new <- data.frame(rows)[sample(nrow(rows), 30), ]
  new$student_id[1:10] <- "nobody"
  new$item_id[6:15] <- "nothing"
  found <- glmm$predict_answers(new, fitted$model)$predictions
  expect_equal(
    found$probability,
    unname(stats::predict(direct, new, type = "response", allow.new.levels = TRUE)), tolerance = 1e-3
  )
  expect_equal(found$linear_predictor, qlogis(found$probability))
  unknown <- data.frame(student_id = "x", item_id = "y", topic_id = "z", hints = 2)
  expect_equal(
    glmm$predict_answers(unknown, fitted$model)$predictions$linear_predictor,
    sum(fitted$model$fixed$estimate * c(1, 2))
  )
})

test_that("the order of rows changes nothing", {
  expect_identical(glmm$fit_progress(answers[sample(nrow(answers)), ], "binomial"), trend)
  again <- glmm$fit_answers(rows[sample(nrow(rows)), ], "hints", c("student_id", "item_id", "topic_id"))
  expect_identical(again, fitted)
})

test_that("the formula is made of names, whatever they are", {
  odd <- data.table::copy(rows)
  data.table::setnames(odd, "hints", "T")
  fit <- glmm$fit_answers(odd, "T", "student_id")
  expect_identical(fit$model$formula, "correct ~ 1 + T + (1 | student_id)")
  data.table::setnames(odd, "T", "if")
  expect_equal(glmm$fit_answers(odd, "if", "student_id")$model$fixed$estimate, fit$model$fixed$estimate)
})

test_that("what no model can be fitted on is refused, with the field", {
  refused <- function(expression, field, pattern) {
    error <- tryCatch(expression, problem = identity)
    expect_identical(error$status, 422L)
    if (!is.null(field)) expect_identical(error$errors[[1]]$field, field)
    expect_match(error$detail, pattern)
  }
  change <- function(table, name, value) replace(data.frame(table), name, value)
  refused(glmm$fit_answers(change(rows, "correct", 1L)), "rows.correct", "all the same")
  refused(glmm$fit_answers(change(rows, "correct", NA_integer_)), "rows.correct", "0 or 1")
  refused(glmm$fit_answers(change(rows, "item_id", "i")), "rows.item_id", "2 levels")
  refused(glmm$fit_answers(rows, random = "school"), "random", "must be of")
  refused(glmm$fit_answers(rows, random = character()), "random", "at least one")
  refused(glmm$fit_answers(rows, random = rep("item_id", 2)), "random", "twice")
  refused(glmm$fit_answers(change(rows, "hints", 2), "hints"), NULL, "rank deficient")
  refused(glmm$fit_progress(change(answers, "a", 0), "binomial"), "rows.a", "above 0")
  refused(glmm$fit_progress(change(answers, "week", 0), "binomial"), "rows.week", "2 weeks")
  twice <- fitted$model
  twice$effects$item_id$level[2] <- twice$effects$item_id$level[1]
  refused(glmm$predict_answers(rows, twice), "model.effects.item_id.level", "twice")
})
