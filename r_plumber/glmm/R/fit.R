# Fits by lme4, in its own steps, with our optimiser between them.

#' Fit a linear mixed model
#'
#' @param formula see [lme4::lmer()].
#' @param data data frame with `weight`, 1 over the variance of a row's score up to a factor.
#' @param reml whether to maximise the restricted likelihood.
#' @param start,units theta to begin with, and the size of each.
#' @param progress see [newton()].
#' @return list of `fit` (a merMod), `evaluations`, `converged`, `messages` (lme4's) and `df`, what
#'   [satterthwaite()] returns.
fit_linear <- function(formula, data, reml, start, units, progress) {
  heed(function() {
    control <- lme4::lmerControl(check.rankX = "stop.deficient")
    parts <- lme4::lFormula(formula, data, REML = reml, weights = weight, control = control)
    deviance <- do.call(lme4::mkLmerDevfun, parts)
    optimum <- lme4::optimizeLmer(
      deviance, newton(units, progress), restart_edge = FALSE, start = start, calc.derivs = FALSE
    )
    df <- satterthwaite(deviance, optimum, units)
    deviance(optimum$par) # lme4 reads the fit from where the deviance was last asked for
    finish(deviance, optimum, parts, control, df)
  })
}

#' Fit a logistic mixed model
#'
#' By Laplace's approximation (nAGQ = 1), begun where the coefficients are estimated with the random effects
#' (nAGQ = 0).
#'
#' @inheritParams fit_linear
#' @param data data frame.
#' @return see [fit_linear()]; `df` is `NULL`.
fit_logistic <- function(formula, data, start, units, progress) {
  heed(function() {
    control <- lme4::glmerControl(check.rankX = "stop.deficient", tolPwrss = TOLERANCE)
    parts <- lme4::glFormula(formula, data, family = stats::binomial, control = control)
    # what lme4 makes looks for lme4's functions from where it was called
    deviance <- do.call(
      lme4::mkGlmerDevfun, c(parts, list(nAGQ = 0L, control = control)), envir = asNamespace("lme4")
    )
    optimizer <- newton(units, progress, laplace)
    first <- lme4::optimizeGlmer(
      deviance, optimizer, boundary.tol = 0, start = start, nAGQ = 0L, calc.derivs = FALSE
    )
    deviance <- lme4::updateGlmerDevfun(deviance, parts$reTrms, nAGQ = N_AGQ)
    optimum <- lme4::optimizeGlmer(
      deviance, optimizer, start = list(theta = away_from_zero(first$par, start)), nAGQ = N_AGQ, stage = 2L,
      calc.derivs = FALSE
    )
    optimum$feval <- first$feval + optimum$feval
    finish(deviance, optimum, parts, control)
  })
}

N_AGQ <- 1L # points of the quadrature: Laplace's approximation
TOLERANCE <- 1e-11 # relative, of the random effects' mode

#' Laplace's approximation of the deviance at the random effects' mode
#'
#' lme4 takes the determinant from one iteration before, so that its deviance jumps where one iteration more
#' begins; difference quotients would take that for a slope.
#'
#' @param deviance lme4's function of theta, and of coefficients.
#' @param x where.
#' @return the deviance there.
laplace <- function(deviance, x) {
  deviance(x)
  state <- environment(deviance)
  state$pp$updateXwts(state$resp$sqrtWrkWt())
  state$pp$updateDecomp()
  state$resp$aic() + state$pp$sqrL(1) + state$pp$ldL2()
}

finish <- function(deviance, optimum, parts, control, df = NULL) {
  attr(optimum, "derivs") <- optimum$derivs
  checked <- lme4::checkConv(
    in_standard_errors(optimum$derivs), optimum$par, control$checkConv, lbound = environment(deviance)$lower
  )
  fit <- lme4::mkMerMod(environment(deviance), optimum, parts$reTrms, parts$fr, lme4conv = checked)
  list(
    fit = fit, evaluations = optimum$feval, converged = optimum$conv == 0L && all(checked$code >= 0L), df = df
  )
}

#' Derivatives by parameters of one size: lme4's checks of the Hessian depend on it
in_standard_errors <- function(derivs) {
  curvature <- diag(derivs$Hessian)
  errors <- ifelse(curvature > 0, 1 / sqrt(abs(curvature)), 1)
  list(gradient = derivs$gradient * errors, Hessian = derivs$Hessian * outer(errors, errors))
}

#' Do what may warn or refuse
#'
#' @param work function without arguments that returns a list.
#' @return what it returns, and `messages`: the warnings and messages on the way.
#' @section Errors: `unprocessable` with lme4's own sentence when it says that the model cannot be fitted.
heed <- function(work) {
  messages <- character()
  keep <- function(restart) {
    function(condition) {
      messages <<- c(messages, trimws(conditionMessage(condition)))
      invokeRestart(restart)
    }
  }
  result <- tryCatch(
    withCallingHandlers(work(), warning = keep("muffleWarning"), message = keep("muffleMessage")),
    error = function(e) {
      if (!grepl(REFUSALS, conditionMessage(e))) stop(e)
      stop(unprocessable(paste("lme4 cannot fit this model:", conditionMessage(e))))
    }
  )
  c(result, list(messages = unique(messages)))
}

# What lme4 says of data, not of a fault
REFUSALS <- paste(
  "^number of (observations|levels)", "grouping factors must have", "rank deficient",
  "not positive definite", "is constant", "PIRLS", "pwrssUpdate", sep = "|"
)

#' Theta to begin with, away from 0, where the deviance is flat whatever the data say
#' @param theta from an earlier fit.
#' @param start theta to begin with when nothing is known.
away_from_zero <- function(theta, start) {
  is_near <- abs(theta) < abs(start) / 100
  theta[is_near] <- start[is_near] / 10
  theta
}

#' Degrees of freedom of the fixed effects' t statistics
#'
#' Satterthwaite's: 2 V^2 / Var(V) for the variance V of a coefficient, by the delta method. In theta and the
#' residual variance relative to its estimate at theta, the information matrix has two blocks.
#'
#' @param deviance lme4's function of theta.
#' @param optimum of [lme4::optimizeLmer()] with [newton()].
#' @param units the size of each theta.
#' @return a number for each coefficient; `NA` where the deviance has no proper minimum.
#' @source Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical Software 82(13), section 4.
satterthwaite <- function(deviance, optimum, units) {
  state <- environment(deviance)
  residual_df <- nrow(state$pp$V) - state$resp$REML
  variances <- function(theta) {
    deviance(theta)
    diag(state$pp$unsc()) * (state$resp$wrss() + state$pp$sqrL(1)) / residual_df
  }
  theta <- optimum$par
  steps <- diag(WIDEST * units, length(theta))
  slopes <- apply(steps, 2L, function(by) variances(theta + by) - variances(theta - by))
  slopes <- slopes %*% diag(1 / (2 * WIDEST * units), length(theta))
  root <- tryCatch(chol(optimum$derivs$Hessian), error = function(e) NULL)
  if (is.null(root)) return(rep(NA_real_, nrow(slopes)))
  of_theta <- 2 * colSums(backsolve(root, t(slopes), transpose = TRUE)^2)
  squared <- variances(theta)^2
  2 * squared / (of_theta + 2 * squared / residual_df)
}
