# From the fields of a request to the arguments of fit_survival(), fit_return() and predict_survival(). Types
# are checked here; what values mean, and whether the statistics can be done, is checked there.

COVARIATE_COLUMNS <- stats::setNames(rep("number or null", length(COVARIATES)), COVARIATES)
POSITION_COLUMNS <- c(student_id = "id", idle = "number", weekday = "number", COVARIATE_COLUMNS)
DUE <- c(due = "number")
GAP_COLUMNS <- c(
  student_id = "id", start = "number", stop = "number", returned = "binary", COVARIATE_COLUMNS
)

#' Read the fields of POST /survival/fit
#'
#' @param fields Named list, see `read_body()`: landmarks, and optionally gaps and horizons.
#' @param limits The service's limits.
#' @return Named list of arguments for `fit_survival()`.
read_survival_fit <- function(fields, limits) {
  check_fields(fields, "landmarks", c("gaps", "horizons"))
  horizons <- if (is.null(fields$horizons)) HORIZONS else read_numbers_array(fields$horizons, "horizons")
  check_horizons(horizons, "horizons")
  others <- setdiff(HORIZONS, horizons)
  landmarks <- read_table(
    fields$landmarks, "landmarks",
    c(POSITION_COLUMNS, columns_of("holidays", horizons, "number"), columns_of("event", horizons, "binary")),
    limits$max_rows,
    optional = c(DUE, columns_of("holidays", others, "number"), columns_of("event", others, "binary"))
  )
  given(landmarks = landmarks, gaps = read_gaps(fields$gaps, limits), horizons = horizons)
}

#' Read the fields of POST /survival/cox
#' @inheritParams read_survival_fit
#' @return Named list of arguments for `fit_return()`.
read_cox <- function(fields, limits) {
  check_fields(fields, "gaps")
  list(gaps = read_gaps(fields$gaps, limits))
}

#' Read the fields of POST /survival/predict
#' @inheritParams read_survival_fit
#' @return Named list of arguments for `predict_survival()`.
read_survival_predict <- function(fields, limits) {
  check_fields(fields, c("rows", "risk_model"))
  risk_model <- read_risk_model(fields$risk_model)
  horizons <- horizons_of(risk_model)
  check_horizons(horizons, "risk_model.horizon")
  rows <- read_table(
    fields$rows, "rows", c(POSITION_COLUMNS, columns_of("holidays", horizons, "number")), limits$max_rows,
    optional = c(DUE, columns_of("holidays", setdiff(HORIZONS, horizons), "number"))
  )
  list(rows = rows, risk_model = risk_model)
}

columns_of <- function(name, horizons, type) {
  stats::setNames(rep(type, length(horizons)), sprintf("%s_%.0f", name, horizons))
}

read_gaps <- function(gaps, limits) {
  if (!is.null(gaps)) read_table(gaps, "gaps", GAP_COLUMNS, limits$max_rows)
}

#' Read a risk model as `fit_survival()` has written it
#'
#' @param risk_model Array of objects.
#' @return The same, covariances as matrices.
read_risk_model <- function(risk_model) {
  if (!is.list(risk_model) || !is.null(names(risk_model)) || !length(risk_model)) {
    malformed_field("risk_model", "must be an array with an object for each horizon")
  }
  Map(read_horizon, unname(risk_model), sprintf("risk_model[%d]", seq_along(risk_model)))
}

PARAMETER_FIELDS <- c("terms", "coefficients", "covariance")
HORIZON_FIELDS <- c(
  "horizon", "idle_levels", "covariates", "holidays", "weekdays", PARAMETER_FIELDS, "recency"
)
TOLD_FIELDS <- c("n", "n_students", "events", "status", "iterations", "dropped") # not needed to predict

read_horizon <- function(model, within) {
  check_fields(model, HORIZON_FIELDS, TOLD_FIELDS, within)
  field <- function(name) field_path(within, name)
  horizon <- read_scalar(model$horizon, field("horizon"), "number")
  if (is.null(horizon)) malformed_field(field("horizon"), "must be a finite number")
  recency <- model$recency
  if (!is.null(recency)) check_fields(recency, PARAMETER_FIELDS, within = field("recency"))
  c(
    list(
      horizon = horizon,
      idle_levels = read_numbers_array(model$idle_levels, field("idle_levels")),
      covariates = read_scales(model$covariates, field("covariates")),
      holidays = read_record(model$holidays, field("holidays"), c(mean = "number", sd = "number")),
      weekdays = read_numbers_array(model$weekdays, field("weekdays"))
    ),
    read_parameters(model, within),
    list(recency = if (!is.null(recency)) read_parameters(recency, field("recency")))
  )
}

read_parameters <- function(parameters, within) {
  field <- function(name) field_path(within, name)
  terms <- parameters$terms
  if (!is.null(terms) && !(is.character(terms) && !anyNA(terms))) {
    malformed_field(field("terms"), "must be an array of names")
  }
  coefficients <- read_numbers_array(parameters$coefficients, field("coefficients"))
  covariance <- parameters$covariance
  if (!is.null(covariance)) {
    rows <- lapply(as.list(covariance), read_numbers_array, field("covariance"))
    if (any(lengths(rows) != length(rows))) malformed_field(field("covariance"), "must be square")
    covariance <- matrix(unlist(rows), length(rows), byrow = TRUE)
  }
  list(terms = terms, coefficients = coefficients, covariance = covariance)
}

read_scales <- function(scales, within) {
  if (length(scales) == 0L) return(list())
  check_fields(scales, character(), COVARIATES, within)
  numbers <- c(median = "number", mean = "number", sd = "number")
  Map(function(scale, name) {
    field <- field_path(within, name)
    check_fields(scale, c(names(numbers), "missing"), within = field)
    if (!isTRUE(scale$missing) && !isFALSE(scale$missing)) {
      malformed_field(field_path(field, "missing"), "must be true or false")
    }
    c(read_record(scale[names(numbers)], field, numbers), scale["missing"])
  }, scales, names(scales))
}

#' Read an array of finite numbers; `[]` has no type in R
read_numbers_array <- function(values, field) {
  if (is.null(values)) return(NULL)
  if (is.list(values) && length(values) == 0L) return(numeric())
  finite <- is.numeric(values) && all(is.finite(values))
  if (!finite) malformed_field(field, "must be an array of finite numbers")
  as.numeric(values)
}
