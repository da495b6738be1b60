# A logistic mixed model of answers, and predictions from its parameters alone.

FACTORS <- c("student_id", "item_id", "topic_id")

#' Fit a logistic mixed model of answers
#'
#' logit P(correct) = intercept + covariates + a normal intercept of each level of the random factors.
#'
#' @param rows data frame of `correct` (0 or 1), a column of ids for each factor in `random`, and a number in
#'   each column that `fixed` names.
#' @param fixed names of covariates.
#' @param random some of "student_id", "item_id", "topic_id".
#' @param progress see [newton()].
#' @return list of
#'   * `engine`;
#'   * `model`: `formula`, `fixed` (see [fixed_table()]; the first term is "intercept"), `fixed_covariance`,
#'     `random` (columns `factor`, `sd`) and `effects` (for each factor, sorted: `level`, `effect`, `se` given
#'     the fixed effects): all that a prediction needs;
#'   * `fit_meta`: see [describe_fit()], and `n_students`, `n_items`, `n_topics` (`NULL` where not random).
#' @section Errors: `unprocessable` when all answers are equal, a factor has one level, a covariate is
#'   constant or a combination of others, or lme4 says that the model cannot be fitted.
fit_answers <- function(rows, fixed = character(), random = c("student_id", "item_id"),
                        progress = function(state) NULL) {
  check_factors(random)
  check_answers(rows, random)
  data <- answers_data(rows, fixed, random)
  units <- rep(1, length(random))
  found <- fit_logistic(answers_formula(fixed, random), data, start = units, units, progress)
  fit <- found$fit
  levels <- lapply(data[random], nlevels)
  absorbed <- absorb(fit, random[[which.max(unlist(levels))]])
  sds <- vapply(lme4::VarCorr(fit)[random], function(of) attr(of, "stddev")[[1]], 0)
  list(
    engine = ENGINE,
    model = list(
      formula = paste(deparse(stats::formula(fit), width.cutoff = 500L), collapse = " "),
      fixed = fixed_table(fit, c("intercept", fixed)), fixed_covariance = fixed_covariance(fit),
      random = list(factor = random, sd = unname(sds)),
      effects = lapply(stats::setNames(nm = random), function(factor) {
        predict_levels(fit, absorbed, factor, "level")
      })
    ),
    fit_meta = c(
      describe_fit(found, "binomial"),
      list(n_students = levels$student_id, n_items = levels$item_id, n_topics = levels$topic_id)
    )
  )
}

#' Rows in an order of their own, with factors
#' @inheritParams fit_answers
answers_data <- function(rows, fixed, random) {
  columns <- as.list(rows)
  data <- data.table::setDF(c(lapply(columns[random], sorted_factor), columns[c(fixed, "correct")]))
  data[do.call(order, unname(data)), ]
}

#' The formula, made of names
#' @inheritParams fit_answers
answers_formula <- function(fixed, random) {
  terms <- c(
    1, lapply(fixed, as.name), lapply(random, function(factor) call("(", call("|", 1, as.name(factor))))
  )
  stats::as.formula(call("~", quote(correct), Reduce(function(left, right) call("+", left, right), terms)))
}

#' Probabilities of right answers
#'
#' A level that the model has not seen has effect 0, the mean of its factor.
#'
#' @param rows data frame of the model's factors and covariates.
#' @param model of [fit_answers()]; `fixed` with `term` and `estimate` and `effects` with `level` and `effect`
#'   are used.
#' @return list of `predictions`, columns `probability` and `linear_predictor`, in the order of the rows.
#' @section Errors: `unprocessable` when the model names a term or a level twice.
predict_answers <- function(rows, model) {
  check_model(model)
  rows <- as.list(rows)
  terms <- c(list(intercept = 1), rows)[model$fixed$term]
  fixed <- Reduce(`+`, Map(`*`, model$fixed$estimate, terms))
  effects <- Map(function(effects, factor) {
    effect <- effects$effect[match(rows[[factor]], effects$level)]
    ifelse(is.na(effect), 0, effect)
  }, model$effects, names(model$effects))
  linear_predictor <- Reduce(`+`, effects, fixed)
  list(predictions = list(probability = stats::plogis(linear_predictor), linear_predictor = linear_predictor))
}
