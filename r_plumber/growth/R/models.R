# The models, their priors, and where their compiled code is. brms writes the Stan code; it is compiled before
# the service starts (compile.R), so that no compiler is needed while it runs. The numbers of the priors are
# data of that code: a request may change them.

PARAMETERS <- c("intercept", "week", "sd_intercept", "sd_week", "correlation", "kappa")

# `stan` names what is estimated in the Stan code, `priors` what it needs of PRIORS.
MODELS <- list(
  trend = list(
    mean = score ~ week + (week | student),
    stan = c(
      intercept = "b[1]", week = "b[2]", sd_intercept = "sd_1[1]", sd_week = "sd_1[2]",
      correlation = "cor_1[1]", log_kappa = "Intercept_sigma"
    ),
    priors = c("intercept", "week", "sd_intercept", "sd_week", "lkj", "log_kappa")
  ),
  level = list(
    mean = score ~ 1 + (1 | student),
    stan = c(intercept = "b[1]", sd_intercept = "sd_1[1]", log_kappa = "Intercept_sigma"),
    priors = c("intercept", "sd_intercept", "log_kappa")
  )
)

# log sigma = log kappa + log se
SPREAD <- sigma ~ 1 + offset(log(se))

# What condense() leaves out; Intercept_sigma is log kappa
RESIDUALS <- "target += -residual_n * Intercept_sigma - 0.5 * residual_ss * exp(-2 * Intercept_sigma);"

# `prior` and `of` are brms's; `data` names the prior's numbers in the Stan code.
PRIORS <- list(
  intercept = list(
    prior = "normal(prior_intercept_mean, prior_intercept_sd)", of = list(class = "b", coef = "Intercept"),
    data = c("prior_intercept_mean", "prior_intercept_sd"), default = c(0, 1)
  ),
  week = list(
    prior = "normal(prior_week_mean, prior_week_sd)", of = list(class = "b", coef = "week"),
    data = c("prior_week_mean", "prior_week_sd"), default = c(0, 0.5)
  ),
  sd_intercept = list(
    prior = "cauchy(0, prior_sd_intercept)", of = list(class = "sd", coef = "Intercept", group = "student"),
    data = "prior_sd_intercept", default = 1
  ),
  sd_week = list(
    prior = "cauchy(0, prior_sd_week)", of = list(class = "sd", coef = "week", group = "student"),
    data = "prior_sd_week", default = 1
  ),
  lkj = list(
    prior = "lkj(prior_lkj)", of = list(class = "cor", group = "student"), data = "prior_lkj", default = 2
  ),
  log_kappa = list(
    prior = "normal(prior_log_kappa_mean, prior_log_kappa_sd)",
    of = list(class = "Intercept", dpar = "sigma"),
    data = c("prior_log_kappa_mean", "prior_log_kappa_sd"), default = c(0, 0.5)
  )
)

#' Default priors of a model
#' @param model A name of `MODELS`.
#' @return Named list: the numbers of each prior.
default_priors <- function(model) lapply(PRIORS[MODELS[[model]]$priors], `[[`, "default")

#' A model's formula as brms takes it, uncentred: the intercept is the mean in week 0
#' @inheritParams default_priors
model_formula <- function(model) brms::bf(MODELS[[model]]$mean, SPREAD, center = FALSE)

#' What brms needs to write a model's code or its data
#'
#' @inheritParams default_priors
#' @param condensed What `condense()` returns.
#' @param priors Named list like `default_priors()`.
#' @return Arguments of `brms::make_stancode()` and `brms::make_standata()`.
model_definition <- function(model, condensed, priors) {
  specifications <- PRIORS[MODELS[[model]]$priors]
  numbers <- unlist(priors[names(specifications)])
  names(numbers) <- unlist(lapply(specifications, `[[`, "data"))
  numbers <- c(numbers, unlist(condensed[c("residual_n", "residual_ss")]))
  stanvars <- Map(function(value, name) {
    brms::stanvar(value, name, scode = sprintf("real %s;", name), block = "data")
  }, numbers, names(numbers))
  stanvars$residuals <- brms::stanvar(scode = RESIDUALS, block = "model")
  list(
    formula = model_formula(model), data = condensed$rows,
    prior = do.call(c, unname(lapply(specifications, function(specification) {
      do.call(brms::set_prior, c(specification["prior"], specification$of))
    }))),
    stanvars = Reduce(`+`, unname(stanvars))
  )
}

#' A model's Stan code
#' @inheritParams default_priors
stan_code <- function(model) {
  rows <- data.frame(student = c(1, 1, 2), week = c(-1, 0, 0), score = c(0, 1, 2), se = 1)
  any_scores <- list(rows = rows, residual_n = 0, residual_ss = 0)
  unclass(do.call(brms::make_stancode, model_definition(model, any_scores, default_priors(model))))
}

#' File name of a compiled model; another for other code or other versions of what reads it
#' @inheritParams default_priors
compiled_name <- function(model) {
  versions <- vapply(c("brms", "rstan", "StanHeaders", "base"), getNamespaceVersion, "")
  hash <- sodium::hash(charToRaw(paste(c(stan_code(model), versions), collapse = "\n")))
  sprintf("%s-%s.rds", model, substr(sodium::bin2hex(hash), 1L, 16L))
}

#' Files of the compiled models in a folder
#' @param folder The folder that compile.R filled.
#' @return Named character: a path for each model.
compiled_files <- function(folder) {
  vapply(names(MODELS), function(model) file.path(folder, compiled_name(model)), "")
}

#' The folder of the compiled models; without the variable, a text that says so where a file is missed
models_folder <- function() Sys.getenv("R_BRMS_MODELS_DIR", "$R_BRMS_MODELS_DIR")

#' What the service waits for, see `load_code()` in common/R/worker.R
awaited_files <- function() {
  list(
    files = unname(compiled_files(models_folder())),
    made_by = sprintf("Rscript r_plumber/growth/compile.R %s", models_folder())
  )
}
