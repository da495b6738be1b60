# Coming back: a Cox model of the time from the last active day to the next.

#' Fit the hazard of coming back, alone
#'
#' @param gaps data frame of `student_id`, `start` (days of silence already behind when the gap comes into
#'   view, 0 or more), `stop`, `returned` (1 when the student came back at `stop`, 0 when the gap was still
#'   open) and the covariates (`NA`: unknown).
#' @return list of `engine` and `cox`, what [fit_cox()] returns.
fit_return <- function(gaps) list(engine = ENGINE, cox = fit_cox(gaps))

#' Fit the Cox model
#'
#' Efron's ties, standard errors robust to the gaps of one student (Lin and Wei 1989). Covariates get the
#' median where they are missing, and are standardised. Proportional hazards are tested with the score test of
#' Grambsch and Therneau (1994), which takes gaps as independent.
#'
#' @inheritParams fit_return
#' @return list of `status` ("fitted", "too few events", "no covariate": all are constant, or "not
#'   converged"), `n` (gaps), `n_students`, `events`, `dropped` (constant covariates), and, `NULL` unless
#'   fitted, `names`, `coef`, `hr`, `se`, `p`, `covariates` (their `median`, `mean`, `sd`), `concordance`, and
#'   `ph_test`: columns `name`, `chisq`, `df`, `p`, the last row "GLOBAL"; see [test_proportionality()].
#' @section Errors: `unprocessable` when a gap is impossible.
fit_cox <- function(gaps) {
  check_gaps(gaps)
  scales <- covariate_scales(gaps)
  students <- unique(gaps$student_id)
  summary <- list(
    n = nrow(gaps), n_students = length(students), events = sum(gaps$returned),
    dropped = I(setdiff(COVARIATES, names(scales)))
  )
  if (min(summary$events, length(students)) < FEWEST) return(c(status = "too few events", summary, NO_COX))
  if (length(scales) == 0L) return(c(status = "no covariate", summary, NO_COX))

  columns <- as.list(gaps)
  data <- c(
    columns[c("start", "stop", "returned")], Map(standardise, columns[names(scales)], scales),
    list(student = match(gaps$student_id, students))
  )
  fit <- run_cox(data.table::setDF(data), names(scales))
  if (is.null(fit)) return(c(status = "not converged", summary, NO_COX))
  test <- test_proportionality(fit)
  se <- sqrt(diag(fit$var))
  c(
    status = "fitted", summary,
    list(
      names = I(names(scales)), coef = I(unname(fit$coefficients)), hr = I(unname(exp(fit$coefficients))),
      se = I(se), p = I(2 * stats::pnorm(-abs(unname(fit$coefficients)) / se)),
      covariates = scales, concordance = fit$concordance[["concordance"]],
      ph_test = c(list(name = rownames(test)), as.list(as.data.frame(test)))
    )
  )
}

#' Test proportional hazards
#'
#' The test needs events at several times: where it cannot be done, survival::cox.zph stops at a singular
#' matrix.
#'
#' @param fit what [run_cox()] returns.
#' @return matrix of `chisq`, `df` and `p`, a row for each covariate and "GLOBAL"; `NA` where it cannot be
#'   done.
test_proportionality <- function(fit) {
  covariates <- names(fit$coefficients)
  tryCatch(survival::cox.zph(fit, terms = FALSE)$table, error = function(e) {
    if (!grepl("singular", conditionMessage(e), fixed = TRUE)) stop(e)
    df <- c(rep(1, length(covariates)), length(covariates))
    matrix(
      c(rep(NA, length(df)), df, rep(NA, length(df))), ncol = 3L,
      dimnames = list(c(covariates, "GLOBAL"), c("chisq", "df", "p"))
    )
  })
}

NO_COX <- list(
  names = NULL, coef = NULL, hr = NULL, se = NULL, p = NULL, covariates = NULL, concordance = NULL,
  ph_test = NULL
)

#' Run survival::coxph
#'
#' It warns when an estimate is infinite or not reached, and has none for a covariate that others determine.
#'
#' @param data data frame of `start`, `stop`, `returned`, `student` and the covariates.
#' @param covariates their names.
#' @return The fit, or `NULL` when it warned or an estimate is missing.
run_cox <- function(data, covariates) {
  gap <- survival::Surv(data$start, data$stop, data$returned)
  formula <- stats::reformulate(covariates, "gap")
  fit <- tryCatch(
    survival::coxph(formula, data, cluster = data$student, ties = "efron", robust = TRUE, model = TRUE),
    warning = function(w) NULL
  )
  if (!anyNA(fit$coefficients)) fit
}
