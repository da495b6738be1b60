# The parameters of a calibration: which are given and which are estimated.
#
# What is estimated travels as a list of vectors, `d`, `a` and `g` = logit c of the items that are no anchors,
# and `mean` and `log_sd` of the groups where those are free. What is absent is fixed, and stands in `known`.

#' What is known before anything is estimated
#'
#' Without anchors the largest group (the first of equals) is the origin: its mean is 0 and, where slopes are
#' free, its sd 1. Anchors fix origin and unit, so that every group's mean and sd are free: holding N(0, 1)
#' would push what the students have learnt into the other items' difficulties.
#'
#' @param sample what [gather_sample()] returns.
#' @param model "Rasch", "2PL" or "3PL".
#' @param anchors data frame of `item_id`, `a`, `b`, `c`; no rows without any.
#' @return list of `free` (names, see [score_ratios()]), `estimated` (logical over items), `items` (`a`, `d`,
#'   `c` of the anchors, `NA` where `estimated`), `latent` (`mean`, `sd` of each group, `NA` where estimated)
#'   and `reference`, the group at the origin.
known_parameters <- function(sample, model, anchors) {
  anchor <- match(sample$items, anchors$item_id)
  reference <- which.max(sample$n_students)
  fixed <- function(value) {
    values <- rep(NA_real_, length(sample$groups))
    if (nrow(anchors) == 0L) values[reference] <- value
    values
  }
  list(
    free = FREE_PARAMETERS[[model]],
    estimated = is.na(anchor),
    items = list(a = anchors$a[anchor], d = -anchors$a[anchor] * anchors$b[anchor], c = anchors$c[anchor]),
    latent = list(mean = fixed(0), sd = fixed(if (model == "Rasch") NA else 1)),
    reference = reference
  )
}

#' Where the estimation starts
#'
#' @inheritParams known_parameters
#' @param known what [known_parameters()] returns.
#' @param priors see [log_prior()].
#' @return list of estimates, see the head of this file.
starting_values <- function(sample, known, priors) {
  n_items <- sum(known$estimated)
  share <- (sample$n_correct[known$estimated] + 0.5) / (sample$n_responses[known$estimated] + 1)
  estimates <- list(d = qlogis(share))
  if ("a" %in% known$free) estimates$a <- rep(1, n_items)
  if ("g" %in% known$free) {
    g <- if (is.null(priors$c)) qlogis(0.2) else priors$c$mean
    estimates$d <- qlogis(pmax((share - plogis(g)) / (1 - plogis(g)), 0.05))
    estimates$g <- rep(g, n_items)
  }
  estimates$mean <- numeric(sum(is.na(known$latent$mean)))
  estimates$log_sd <- numeric(sum(is.na(known$latent$sd)))
  estimates
}

items_at <- function(estimates, known) {
  items <- known$items
  items$d[known$estimated] <- estimates$d
  items$a[known$estimated] <- if (is.null(estimates$a)) 1 else estimates$a
  items$c[known$estimated] <- if (is.null(estimates$g)) 0 else plogis(estimates$g)
  items
}

latent_at <- function(estimates, known) {
  latent <- known$latent
  latent$mean[is.na(latent$mean)] <- estimates$mean
  latent$sd[is.na(latent$sd)] <- exp(estimates$log_sd)
  latent
}

estimates_of <- function(items, latent, known) {
  of_items <- list(d = items$d, a = items$a, g = qlogis(items$c))[known$free]
  c(
    lapply(of_items, `[`, known$estimated),
    list(mean = latent$mean[is.na(known$latent$mean)], log_sd = log(latent$sd[is.na(known$latent$sd)]))
  )
}

at_items <- function(items, chosen) lapply(items, `[`, chosen)
