# From the fields of a request to the arguments of fit_growth() and predict_growth(). Types are checked here;
# what values mean, and whether the statistics can be done, is checked there.

SCORE_COLUMNS <- c(student_id = "id", week = "number", score = "number", se = "number")
GOAL_COLUMNS <- c(student_id = "id", goal_week = "number", target = "number")
SETTINGS <- c(
  model = "text", chains = "whole", samples = "whole", warmup = "whole", seed = "whole",
  adapt_delta = "number", max_treedepth = "whole", max_seconds = "number", keep_draws = "whole"
)

#' Read the fields of POST /growth/fit
#'
#' @param fields Named list, see `read_body()`: scores, and optionally priors and SETTINGS.
#' @param limits The service's limits.
#' @return Named list of arguments for `fit_growth()`.
read_growth_fit <- function(fields, limits) {
  check_fields(fields, "scores", c("priors", names(SETTINGS)))
  c(
    list(
      scores = read_table(fields$scores, "scores", SCORE_COLUMNS, limits$max_rows),
      priors = read_priors(fields$priors), cores = limits$cores
    ),
    read_scalars(fields, SETTINGS)
  )
}

#' Read the priors that are given: one or two finite numbers each
read_priors <- function(priors) {
  if (is.null(priors) || length(priors) == 0L) return(list())
  check_fields(priors, character(), names(PRIORS), "priors")
  Map(function(numbers, name) {
    size <- length(PRIORS[[name]]$default)
    if (!(is.numeric(numbers) && length(numbers) == size && all(is.finite(numbers)))) {
      expected <- if (size == 1L) "be a finite number" else "be [mean, sd], two finite numbers"
      malformed_field(field_path("priors", name), paste("must", expected))
    }
    as.numeric(numbers)
  }, priors, names(priors))
}

#' Read the fields of POST /growth/predict
#' @inheritParams read_growth_fit
#' @return Named list of arguments for `predict_growth()`.
read_growth_predict <- function(fields, limits) {
  check_fields(fields, c("scores", "draws", "goals"))
  draw_columns <- stats::setNames(rep("number", length(PARAMETERS)), PARAMETERS)
  list(
    scores = read_table(fields$scores, "scores", SCORE_COLUMNS, limits$max_rows),
    draws = read_table(fields$draws, "draws", draw_columns, limits$max_rows),
    goals = read_table(fields$goals, "goals", GOAL_COLUMNS, limits$max_rows)
  )
}
