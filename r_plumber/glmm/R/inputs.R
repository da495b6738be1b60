# From the fields of a request to the arguments of fit_progress(), fit_answers() and predict_answers(). Types
# are checked here; what values mean, and whether the statistics can be done, is checked there.

SCORE_COLUMNS <- c(student_id = "id", week = "number", score = "number")
ITEM_COLUMNS <- c(student_id = "id", week = "number", correct = "binary", a = "number", b = "number")

#' Read the fields of POST /glmm/fit_progress
#'
#' @param fields Named list, see `read_body()`: rows, and optionally family and, gaussian, reml.
#' @param limits The service's limits.
#' @return Named list of arguments for `fit_progress()`.
read_progress <- function(fields, limits) {
  check_fields(fields, "rows", c("family", "reml"))
  family <- c(read_scalar(fields$family, "family", "text"), "gaussian")[[1]]
  check_family(family)
  if (family == "binomial") {
    check_fields(fields, "rows", "family")
    rows <- read_table(fields$rows, "rows", ITEM_COLUMNS, limits$max_rows)
  } else {
    rows <- read_table(
      fields$rows, "rows", SCORE_COLUMNS, limits$max_rows, optional = c(se = "number", topic_id = "id")
    )
  }
  given(rows = rows, family = family, reml = read_flag(fields$reml, "reml"))
}

read_flag <- function(value, field) {
  if (!(is.null(value) || isTRUE(value) || isFALSE(value))) malformed_field(field, "must be true or false")
  value
}

#' Read the fields of POST /glmm/fit
#' @inheritParams read_progress
#' @return Named list of arguments for `fit_answers()`.
read_answers <- function(fields, limits) {
  check_fields(fields, "rows", c("fixed", "random"))
  fixed <- read_covariates(read_names(fields$fixed, "fixed"), "fixed")
  random <- read_names(fields$random, "random")
  used <- intersect(FACTORS, if (is.null(random)) c("student_id", "item_id") else random)
  types <- c(
    correct = "binary", columns_of_type(used, "id"), columns_of_type(fixed, "number")
  )
  others <- columns_of_type(setdiff(FACTORS, used), "id")
  rows <- read_table(fields$rows, "rows", types, limits$max_rows, optional = others)
  given(rows = rows, fixed = fixed, random = random)
}

#' Read the fields of POST /glmm/predict
#' @inheritParams read_progress
#' @return Named list of arguments for `predict_answers()`.
read_answers_to_predict <- function(fields, limits) {
  check_fields(fields, c("rows", "model"))
  model <- read_model(fields$model, limits)
  covariates <- read_covariates(setdiff(model$fixed$term, "intercept"), "model.fixed.term")
  factors <- names(model$effects)
  rows <- read_table(
    fields$rows, "rows", c(columns_of_type(factors, "id"), columns_of_type(covariates, "number")),
    limits$max_rows, optional = columns_of_type(setdiff(FACTORS, factors), "id")
  )
  list(rows = rows, model = model)
}

#' Read a model as `fit_answers()` has written it
#' @param model Object.
#' @inheritParams read_progress
#' @return list of `fixed` and `effects`.
read_model <- function(model, limits) {
  check_fields(model, c("fixed", "effects"), c("formula", "fixed_covariance", "random"), "model")
  told <- columns_of_type(c("se", "df", "statistic", "lower", "upper"), "number or null")
  fixed <- read_table(
    model$fixed, "model.fixed", c(term = "id", estimate = "number"), limits$max_rows, optional = told
  )
  check_fields(model$effects, character(), FACTORS, "model.effects")
  effects <- Map(
    read_table, model$effects, field_path("model.effects", names(model$effects)),
    MoreArgs = list(
      types = c(level = "id", effect = "number"), max_rows = limits$max_rows, optional = told["se"]
    )
  )
  list(fixed = fixed, effects = effects)
}

columns_of_type <- function(names, type) stats::setNames(rep(type, length(names)), names)

read_names <- function(values, field) {
  if (is.list(values) && length(values) == 0L) return(character())
  if (!(is.null(values) || (is.character(values) && !anyNA(values)))) {
    malformed_field(field, "must be an array of names")
  }
  values
}

#' Read names of covariates: plain ones that no other column has
read_covariates <- function(names, field) {
  plain <- grepl("^[A-Za-z][A-Za-z0-9_]*$", names)
  if (!all(plain)) malformed_field(field, "must be plain names: a letter, then letters, digits or _")
  if (any(names %in% c("correct", "intercept", FACTORS))) {
    malformed_field(field, sprintf("cannot be correct, intercept, %s", toString(FACTORS)))
  }
  if (anyDuplicated(names)) malformed_field(field, "names a covariate twice")
  names
}
