# What is told of a fit.

TAIL <- 0.025 # probability left out on each side of an interval

#' What was fitted, and how that went
#'
#' @param found what [fit_linear()] or [fit_logistic()] returns.
#' @param family "gaussian" or "binomial".
#' @return list of `formula`, `family`, `n` (rows), `log_lik`, `aic`, `bic`, `reml` and `n_agq` (`NULL` where
#'   they do not apply), `optimizer`, `iterations` (evaluations of the deviance), `converged`, `singular` (a
#'   variance is 0, or a correlation 1 or -1), `messages` (lme4's warnings) and `versions`.
describe_fit <- function(found, family) {
  fit <- found$fit
  linear <- lme4::isLMM(fit)
  list(
    formula = paste(deparse(stats::formula(fit), width.cutoff = 500L), collapse = " "), family = family,
    n = stats::nobs(fit), log_lik = as.numeric(stats::logLik(fit)), aic = stats::AIC(fit),
    bic = stats::BIC(fit), reml = if (linear) lme4::isREML(fit), n_agq = if (!linear) N_AGQ,
    optimizer = OPTIMISER, iterations = found$evaluations, converged = found$converged,
    singular = lme4::isSingular(fit), messages = I(found$messages),
    versions = list(
      lme4 = getNamespaceVersion("lme4")[[1]], Matrix = getNamespaceVersion("Matrix")[[1]],
      r = as.character(getRversion())
    )
  )
}

#' The fixed effects
#'
#' Intervals hold 95 %, by Student's t with Satterthwaite's degrees of freedom where there are some, by the
#' normal distribution otherwise.
#'
#' @param fit a merMod.
#' @param terms their names.
#' @param df degrees of freedom, or `NULL`.
#' @return columns `term`, `estimate`, `se`, `df`, `statistic`, `lower`, `upper`.
fixed_table <- function(fit, terms, df = NULL) {
  estimate <- unname(lme4::fixef(fit))
  se <- sqrt(diag(fixed_covariance(fit)))
  if (is.null(df)) df <- rep(NA_real_, length(terms))
  margin <- se * stats::qt(1 - TAIL, ifelse(is.na(df), Inf, df))
  list(
    term = terms, estimate = estimate, se = se, df = df, statistic = estimate / se,
    lower = estimate - margin, upper = estimate + margin
  )
}

#' Covariance matrix of the fixed effects, without names
fixed_covariance <- function(fit) unname(as.matrix(stats::vcov(fit)))

#' Predicted effects of a factor's levels, with their errors given the fixed effects
#'
#' @param fit a merMod.
#' @param absorbed what [absorb()] returns.
#' @param factor its name there; it has one effect for each level.
#' @param id name of the column of levels.
#' @return columns `id`, `effect`, `se`.
predict_levels <- function(fit, absorbed, factor, id) {
  positions <- effects_of(fit, factor)
  among_others <- match(positions, absorbed$others)
  size <- length(absorbed$others)
  if (anyNA(among_others)) {
    pull <- absorbed$pull[, seq_len(size), drop = FALSE]
    error <- Matrix::diag(absorbed$own) + quadratic(pull, absorbed$rest)
  } else {
    error <- absorbed$unit[among_others]^2 * diag(absorbed$rest)[among_others]
  }
  columns <- list(
    levels(fit@flist[[factor]]), lme4::getME(fit, "b")[positions], stats::sigma(fit) * sqrt(error)
  )
  stats::setNames(columns, c(id, "effect", "se"))
}
