# What the statistics cannot be done on is refused before anything is computed. Types are the caller's affair;
# here it is asked whether the values make sense.

FAMILIES <- c("gaussian", "binomial")
ROUNDING <- 1e-9 # relative to the range of the scores

check_family <- function(family) {
  require_value(family %in% FAMILIES, "family", paste("must be", paste(FAMILIES, collapse = " or ")))
}

#' Refuse scores that have no trend
#' @param rows see [fit_progress()].
check_scores <- function(rows) {
  if (!is.null(rows$se)) require_rows(rows$se > 0, "rows.se", "must be above 0")
  check_trend(rows)
  require_value(length(unique(rows$score)) > 1L, "rows.score", "must not be all the same")
  off_line <- stats::lm.fit(cbind(1, rows$week), rows$score)$residuals
  require_value(
    max(abs(off_line)) > ROUNDING * diff(range(rows$score)), "rows.score", "must not all lie on one line"
  )
  effects <- 2L * length(unique(rows$student_id))
  require_value(
    nrow(rows) > effects, "rows",
    sprintf("must be more than the %d intercepts and slopes of the students, but are %d", effects, nrow(rows))
  )
}

#' Refuse answers that have no trend
#' @param rows see [fit_progress()].
check_items_answered <- function(rows) {
  check_correct(rows)
  require_rows(rows$a > 0, "rows.a", "must be above 0")
  check_trend(rows)
}

check_trend <- function(rows) {
  require_value(length(unique(rows$student_id)) > 1L, "rows.student_id", "must name at least 2 students")
  require_value(length(unique(rows$week)) > 1L, "rows.week", "must have at least 2 weeks: one has no trend")
}

check_correct <- function(rows) {
  require_rows(!is.na(rows$correct), "rows.correct", "must be 0 or 1")
  require_value(length(unique(rows$correct)) > 1L, "rows.correct", "must not be all the same")
}

#' Refuse random factors that there are not
#' @param random see [fit_answers()].
check_factors <- function(random) {
  require_value(length(random) > 0L, "random", "must name at least one factor")
  require_rows(random %in% FACTORS, "random", paste("must be of", toString(FACTORS)))
  require_rows(!duplicated(random), "random", "is given twice")
}

#' Refuse answers that no model can be fitted on
#' @param rows,random see [fit_answers()].
check_answers <- function(rows, random) {
  check_correct(rows)
  for (factor in random) {
    require_value(length(unique(rows[[factor]])) > 1L, paste0("rows.", factor), "must have at least 2 levels")
  }
}

#' Refuse a model that says a thing twice
#' @param model see [predict_answers()].
check_model <- function(model) {
  require_rows(!duplicated(model$fixed$term), "model.fixed.term", "is given twice")
  for (factor in names(model$effects)) {
    levels <- model$effects[[factor]]$level
    require_rows(!duplicated(levels), sprintf("model.effects.%s.level", factor), "is given twice")
  }
}
